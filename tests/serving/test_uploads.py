"""Uploads through the item tower: the same vectors as `embed_files`, refusals with reasons, nothing kept."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from avrec.serving.served import Served
from avrec.serving.settings import ServerSettings
from tests.export.media_world import MediaWorld
from tests.export.world import ID_DIM
from tests.serving.asking import Asker, form


@pytest.fixture(scope="module")
def media_served(media_world: MediaWorld) -> Served:
    return Served.open(media_world.folder)


@pytest.fixture
def taker(media_served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asker]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Asker(ServerSettings(media_served.bundle.folder), media_served) as asker:
        yield asker


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)


def test_a_film_is_listed_beside_what_it_resembles(
    taker: Asker, media_served: Served, media_world: MediaWorld, tmp_path: Path
) -> None:
    bundle, film = media_served.bundle, media_world.media_root / "2.mp4"
    found = media_served.recommender.embed_files({"audio": ["2.mp4"], "video": ["2.mp4"]}, media_world.media_root)
    content = unit(found.history_vectors[:, ID_DIM:]) @ unit(bundle.content_vectors).T
    lent = unit(found.history_vectors[:, :ID_DIM]) @ unit(bundle.history_vectors[:, :ID_DIM]).T
    for mode, wanted in (("content", content[0]), ("hybrid", (content + lent)[0] / 2)):
        reply = taker.post("/upload", **form(file=film, k="6", mode=mode))
        assert reply.status == 200, reply.body
        best = np.argsort(-wanted)[:6]
        assert [item["item"] for item in reply.json["items"]] == [f"item {item}" for item in best]
        np.testing.assert_allclose([item["score"] for item in reply.json["items"]], wanted[best], atol=1e-4)
        assert reply.json["answered_by"] == "upload" and reply.json["problems"] == []
        assert reply.json["shares"] == pytest.approx(
            dict(zip(bundle.manifest.modalities, found.shares[0], strict=True))
        )
    assert list(tmp_path.iterdir()) == [], "nothing of an upload is kept"


@pytest.mark.slow
def test_sound_alone_and_sound_from_elsewhere(taker: Asker, media_served: Served, media_world: MediaWorld) -> None:
    one, two = (media_world.media_root / name for name in ("1.mp4", "2.mp4"))
    shares = taker.post("/upload", **form(audio=one)).json["shares"]
    assert shares["audio"] > 0 and shares["video"] == shares["text"] == 0
    mixed = taker.post("/upload", **form(file=two, audio=one, mode="content")).json
    root = media_world.media_root
    found = media_served.recommender.embed_files({"audio": ["1.mp4"], "video": ["2.mp4"]}, root).history_vectors
    wanted = unit(found[:, ID_DIM:]) @ unit(media_served.bundle.content_vectors).T
    assert mixed["items"][0]["score"] == pytest.approx(wanted.max(), abs=1e-4)


def test_what_cannot_be_read_is_said(taker: Asker, media_world: MediaWorld, tmp_path: Path) -> None:
    reply = taker.post("/upload", **form(file=b"#EXTM3U\nhttp://other.example/film.mp4\n"))
    assert reply.status == 422 and "nothing of it could be read" in reply.json["error"]
    film = media_world.media_root / "2.mp4"
    partly = taker.post("/upload", **form(file=film, audio=b"no sound at all")).json
    assert len(partly["problems"]) == 1 and "audio: unreadable" in partly["problems"][0]
    assert partly["shares"]["audio"] == 0 and partly["shares"]["video"] > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (form(k="3"), "form: no file; send one as `file`"),
        (form(file=b"x", k="0"), "k: Input should be greater than or equal to 1."),
        (form(file=b"x", k="many"), "k: Input should be a valid integer"),
        (form(file=b"x", mode="collaborative"), "mode: nobody has met an upload yet"),
        (form(file=b"x", other="1"), "other: Extra inputs are not permitted"),
        (form(film=b"x"), "form: no file is expected in 'film'; use ['file', 'audio', 'video']."),
        (form(text=b"x"), "form: no file is expected in 'text'"),
        (form(file="x"), "form: 'file' is text; send it as a file."),
        (form(file=b"x", audio=b"x", video=b"x", more=b"x"), "Too many files"),
        (form(file=b"x", a="1", b="2", c="3"), "Too many fields"),
        ({"body": b"{}"}, "form: no file"),
        ({"body": b"x", "headers": {"content-type": "multipart/form-data"}}, "Missing boundary"),
        ({"body": b"\0" * 100, "headers": {"content-type": "multipart/form-data; boundary=b"}}, ""),
    ],
)
def test_forms_that_will_not_do(taker: Asker, options: dict[str, object], text: str) -> None:
    reply = taker.post("/upload", **options)
    assert 400 <= reply.status < 500 and text in reply.json["error"], reply.body


def test_a_field_given_twice(taker: Asker) -> None:
    options = form(file=b"x", k="1")
    options["body"] = options["body"].replace(b'name="k"', b'name="file"; filename="b"')
    assert taker.post("/upload", **options).json["error"] == "form: a field is given twice."


@pytest.mark.slow
def test_who_comes_while_others_are_read_is_told_to_come_back(taker: Asker, media_world: MediaWorld) -> None:
    options = form(file=media_world.media_root / "2.mp4")

    async def three() -> list[int]:
        replies = await asyncio.gather(*(taker.send("POST", "/upload", **options) for _ in range(3)))
        busy = next(reply for reply in replies if reply.status == 429)
        assert busy.headers["retry-after"] == "1" and "come back in a moment" in busy.json["error"]
        return sorted(reply.status for reply in replies)

    assert taker.run(three()) == [200, 200, 429]
    assert taker.post("/upload", **options).status == 200
