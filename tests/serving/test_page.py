"""The first page's routes: the page itself, cards, users, histories and media, without a browser."""

import base64
import hashlib
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pyarrow as pa
import pytest

from avrec.bundle.display import Display
from avrec.core.errors import ArtefactError, ConfigError
from avrec.serving import player
from avrec.serving.player import Player, media_type
from avrec.serving.routes.page import FOLDER, SCRIPTS, STYLE, assembled
from avrec.serving.served import Served
from avrec.serving.settings import ServerSettings
from tests.export.media_world import MediaWorld
from tests.export.world import NUM_USERS
from tests.serving.asking import Asker
from tests.serving.page_world import FIRST_FILE, HOSTILE, KEY, columns, media_folder, showing

FILM = f"item {FIRST_FILE}"


@pytest.fixture(scope="module")
def folder(media_world: MediaWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    showing(media_world.folder, folder / "bundle", columns())
    media_folder(media_world, folder)
    return folder


@pytest.fixture(scope="module")
def shown(folder: Path) -> Served:
    return Served.open(folder / "bundle")


@pytest.fixture
def viewer(folder: Path, shown: Served) -> Iterator[Asker]:
    with Asker(ServerSettings(folder / "bundle", media_root=folder / "media"), shown) as asker:
        yield asker


@pytest.fixture
def locked(folder: Path, shown: Served) -> Iterator[Asker]:
    with Asker(ServerSettings(folder / "bundle", media_root=folder / "media", api_key=KEY), shown) as asker:
        yield asker


def media(item: str, kind: str = "video", **more: str) -> str:
    return "/media?" + urlencode({"item": item, "kind": kind} | more)


def cards(asker: Asker, *items: str, **options: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = asker.post("/cards", {"items": list(items)}, **options).json["cards"]
    return found


def test_the_page_is_whole_and_its_policy_lets_nothing_else_run(viewer: Asker) -> None:
    reply = viewer.get("/")
    html, policy = reply.body.decode(), reply.headers["content-security-policy"]
    assert reply.status == 200 and reply.headers["content-type"] == "text/html; charset=utf-8"
    assert reply.headers["x-content-type-options"] == "nosniff" and reply.headers["cache-control"] == "no-store"
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == rules["frame-ancestors"] == "'none'"
    assert rules["connect-src"] == rules["media-src"] == "'self'" and "unsafe" not in policy
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        parts = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'" for part in parts]
        assert rules[rule].split() == hashes and len(parts) == html.count(f"<{tag}")
    assert len(rules["script-src"].split()) == len(SCRIPTS)


def test_nothing_on_the_page_loads_or_becomes_markup() -> None:
    html = (FOLDER / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"\s(on[a-z]+|style|srcdoc)=", html)
    for text in (html, *((FOLDER / name).read_text(encoding="utf-8") for name in (STYLE, *SCRIPTS))):
        assert not re.search(r"\w://|url\(|@import|\bimport\b|href=\"//", text)
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|Storage|cookie", text
        )
        assert len(text.splitlines()) <= 300
    assert len(assembled()[0]) < 80_000


def test_the_page_is_open_but_what_it_shows_is_not(locked: Asker) -> None:
    assert locked.get("/").status == 200
    for path in ("/about", "/users", "/history?user=user%203", "/recommend", "/cards"):
        assert locked.get(path).status == 401, path
        assert locked.get(path, headers={"x-api-key": KEY}).status in (200, 405)
    assert KEY not in locked.get("/").body.decode()


def test_what_the_bundle_can_do(viewer: Asker, shown: Served, asker: Asker) -> None:
    about = viewer.get("/about").json
    assert about["bundle"] == shown.version and (about["num_users"], about["num_items"]) == (20, 30)
    assert (
        about["modalities"] == ["text", "audio", "video"] and about["uploads"] == ["audio", "video"] and about["plays"]
    )
    assert about["modes"] == ["hybrid", "content", "collaborative"]
    assert {"content", "taste", "sound", "picture"} <= set(about["ways"])
    without = asker.get("/about").json
    assert without["uploads"] == [] and not without["plays"]


def test_users_are_listed_by_how_their_ids_begin(viewer: Asker, shown: Served) -> None:
    every = viewer.get("/users?limit=100").json
    assert [one["user"] for one in every["users"]] == sorted(f"user {index}" for index in range(NUM_USERS))
    assert not every["more"]
    for one in every["users"]:
        assert one["num_events"] == len(viewer.get(f"/history?user={quote(one['user'])}&limit=200").json["items"])
    some = viewer.get("/users?prefix=user%201&limit=3").json
    assert [one["user"] for one in some["users"]] == ["user 1", "user 10", "user 11"] and some["more"]
    assert viewer.get("/users?prefix=user%2019").json == {
        "users": [{"user": "user 19", "num_events": 0}],
        "more": False,
    }
    assert viewer.get("/users?prefix=zzz").json["users"] == viewer.get("/users?prefix=user%20%20").json["users"] == []
    assert viewer.get("/users?limit=101").status == 422


def test_a_history_is_told_from_its_end(viewer: Asker, shown: Served) -> None:
    history = shown.bundle.history
    start, stop = history.indptr[3:5]
    met = [f"item {index}" for index in history.item_idx[start:stop]]
    assert viewer.get("/history?user=user%203").json == {"user": "user 3", "items": met[::-1], "num_events": len(met)}
    assert viewer.get("/history?user=user%203&limit=2").json["items"] == met[:-3:-1]
    reply = viewer.get("/history?user=nobody")
    assert reply.status == 404 and "/users lists those that are" in reply.json["error"]


def test_cards_tell_what_is_known_of_items(viewer: Asker, shown: Served) -> None:
    found = cards(viewer, "item 1", "item 0", "no such item", "item 1", FILM)
    assert [card["item"] for card in found] == ["item 1", "item 0", FILM]
    assert [card["title"] for card in found] == [None, HOSTILE, f"Title {FIRST_FILE}"]
    assert [card["tags"] for card in found] == [["sea", "night"], [], []]
    for card in found:
        index = shown.items[card["item"]]
        assert card["num_trained"] == shown.bundle.evidence[index]
        assert card["num_users"] == sum(index in items for items in _histories(shown))
        assert card["shares"] == pytest.approx(
            dict(zip(["text", "audio", "video"], shown.bundle.shares[index], strict=True))
        )
    assert any(card["num_trained"] != card["num_users"] for card in cards(viewer, *shown.item_ids))
    assert [(play["kind"], play["type"]) for play in found[2]["plays"]] == [
        ("video", "video/mp4"),
        ("audio", "audio/wav"),
    ]
    assert viewer.post("/cards", {"items": ["item 1"] * 201}).status == 422


def _histories(shown: Served) -> list[list[int]]:
    history = shown.bundle.history
    ends = history.indptr.tolist()
    return [history.item_idx[start:stop].tolist() for start, stop in pairwise(ends)]


def test_a_film_is_played_by_its_items_id_and_in_parts(viewer: Asker, folder: Path) -> None:
    (play,) = cards(viewer, f"item {FIRST_FILE + 1}")[0]["plays"]  # sound and film are one file
    whole, content = viewer.get(play["url"]), (folder / "media" / "1.mp4").read_bytes()
    assert whole.status == 200 and whole.body == content and whole.headers["content-type"] == "video/mp4"
    assert whole.headers["x-content-type-options"] == "nosniff" and whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["cross-origin-resource-policy"] == "same-origin"
    assert whole.headers["content-security-policy"] == "default-src 'none'; sandbox"
    part = viewer.get(play["url"], headers={"range": "bytes=10-19"})
    assert part.status == 206 and part.body == content[10:20]
    assert part.headers["content-range"] == f"bytes 10-19/{len(content)}"
    assert viewer.get(play["url"], headers={"range": f"bytes={len(content)}-"}).status == 416


@pytest.mark.parametrize(
    ("item", "kind", "why"),
    [
        ("item 4", "video", "forbidden"),  # ../secret.mp4
        ("item 5", "video", "forbidden"),  # a symbolic link to it
        ("item 6", "video", "unreadable"),  # a page that calls itself a film
        ("item 7", "video", "missing"),
        ("item 8", "video", "missing"),
        (FILM, "video", None),
        ("item 3", "audio", None),
        ("0.mp4", "video", "not in this bundle"),
        ("../secret.mp4", "video", "not in this bundle"),
    ],
)
def test_nothing_but_media_below_the_root_is_served(viewer: Asker, item: str, kind: str, why: str | None) -> None:
    reply = viewer.get(media(item, kind))
    if why is None:
        assert reply.status == 200
        return
    assert reply.status == 404 and why in reply.json["error"]
    assert "secret" not in reply.json["error"] and ".mp4" not in reply.json["error"]
    assert not any(card["plays"] for card in cards(viewer, item))


def test_a_kind_is_one_of_two_and_a_film_is_no_sound(viewer: Asker, folder: Path, shown: Served) -> None:
    assert viewer.get(media(FILM, "text")).status == 422
    assert viewer.get("/media?kind=video").status == 422
    Player(folder / "media").file(shown.display, 3, "audio")
    with pytest.raises(Exception, match="so it is no video here"):
        Player(folder / "media").file(_films(["sound.wav"]), 0, "video")


def _films(paths: list[str]) -> Display:
    return Display({"video_path": pa.chunked_array([paths])})


def test_without_a_root_items_are_shown_without_a_player(shown: Served, folder: Path) -> None:
    with Asker(ServerSettings(folder / "bundle"), shown) as asker:
        assert cards(asker, FILM)[0]["plays"] == [] and not asker.get("/about").json["plays"]
        assert asker.get(media(FILM)).status == 404
    with pytest.raises(
        ConfigError, match=r"media_root is 'nowhere', which is no folder; null shows items without a player"
    ):
        ServerSettings(folder / "bundle", media_root=Path("nowhere"))


def test_with_a_key_a_film_needs_the_ticket_of_its_card(locked: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {"x-api-key": KEY}
    film, sound = cards(locked, FILM, headers=headers)[0]["plays"]
    assert locked.get(film["url"]).status == locked.get(sound["url"]).status == 200, "a player sends no key"
    assert KEY not in film["url"] and quote(KEY) not in film["url"]
    ticket = film["url"].split("ticket=")[1]
    end, signature = ticket.split(".")
    other = cards(locked, f"item {FIRST_FILE + 1}", headers=headers)[0]["plays"][0]["url"].split("ticket=")[1]
    for wrong in ("", ticket[:-1], other, f"{int(end) + 9}.{signature}", f".{signature}", "é.é", f"{end}.{'0' * 64}"):
        reply = locked.get(media(FILM, ticket=wrong))
        assert reply.status == 403 and "ask /cards for the item again" in reply.json["error"]
    assert locked.get(media(FILM, "audio", ticket=ticket)).status == 403
    assert locked.get(media(FILM), headers=headers).status == 403
    now = player.time.time()
    monkeypatch.setattr(player.time, "time", lambda: now + player.TICKET_SEC + 2)
    assert locked.get(film["url"]).status == 403


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"\0\0\0\x20ftypisom", "video/mp4"),
        (b"\0\0\0\x20ftypmp42", "video/mp4"),
        (b"\0\0\0\x20ftypM4A ", "audio/mp4"),
        (b"\0\0\0\x20ftypheic", None),
        (b"RIFF\0\0\0\0WAVE", "audio/wav"),
        (b"RIFF\0\0\0\0AVI ", None),
        (b"fLaC\0\0\0\x22\0\0\0\0", "audio/flac"),
        (b"OggS\0\2\0\0\0\0\0\0", "audio/ogg"),
        (b"ID3\4\0\0\0\0\0\0\0\0", "audio/mpeg"),
        (b"\xff\xfb\x90\0\0\0\0\0\0\0\0\0", "audio/mpeg"),
        (b"\xff\xf1\x50\x80\0\0\0\0\0\0\0\0", "audio/aac"),
        (b"\x1aE\xdf\xa3\0\0\0\0\0\0\0\0", None),
        (b"<!doctype ht", None),
        (b'<svg xmlns="', None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_a_type_is_told_by_the_first_bytes(head: bytes, found: str | None) -> None:
    assert media_type(head) == found


def test_a_bundle_whose_columns_are_something_else_is_refused(media_world: MediaWorld, tmp_path: Path) -> None:
    numbers = showing(media_world.folder, tmp_path / "numbers", {"title": pa.array(range(30))})
    with pytest.raises(
        ArtefactError, match=r"items.parquet: column 'title' is int64; expected texts. Export the bundle again"
    ):
        Served.open(numbers)
    flat = showing(media_world.folder, tmp_path / "flat", {"tags": pa.array(["sea"] * 30)})
    with pytest.raises(ArtefactError, match=r"column 'tags' is string; expected lists of texts"):
        Served.open(flat)
