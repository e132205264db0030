"""Thumbnails and excerpts: made from decoded arrays, in their own proportions, as many as fit."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from avrec.core.clips import AudioSpec, VideoSpec
from avrec.core.dataset import MediaColumn
from avrec.media.decode import decode
from avrec.media.limits import Limits
from avrec.report.page import page_bytes
from avrec.report.page_excerpts import FRAME_RATE_HZ, PICTURES, SOUND, excerpt, thumbnail
from avrec.report.page_frames import decode_whole
from avrec.report.page_media import MAX_ITEMS, fitting, read_media, wanted_items
from avrec.report.page_parts import Media
from avrec.report.people import Person
from tests.report.page_world import Parsed, hostile_dataset, make_subject

pytest.importorskip("av", reason="the extra decode is not installed")

RED = np.array([200, 30, 30], np.uint8)


def portrait_film(num_frames: int = 8) -> bytes:
    """A red film, half as wide as high, with a tone."""
    frames = np.broadcast_to(RED, (num_frames, 96, 48, 3))
    time_sec = np.arange(num_frames * SOUND.sample_rate_hz // FRAME_RATE_HZ) / SOUND.sample_rate_hz
    return excerpt(frames, (0.5 * np.sin(2 * np.pi * 440 * time_sec)).astype(np.float32))


def person(suggestions, history):
    return Person(0, history, len(history), suggestions, [False] * len(suggestions), [{}] * len(suggestions), 0.0, 1)


def test_an_excerpt_can_be_decoded_again(tmp_path):
    (tmp_path / "a.webm").write_bytes(portrait_film())
    clips = decode(tmp_path / "a.webm", VideoSpec(num_frames=2, height_px=96, width_px=48))
    assert np.abs(clips.values.astype(int) - RED.astype(int)).mean() < 12
    sound = decode(tmp_path / "a.webm", AudioSpec(16_000, 0.5)).values[0]
    spectrum = np.abs(np.fft.rfft(sound))
    assert abs(np.fft.rfftfreq(len(sound), 1 / 16_000)[spectrum.argmax()] - 440) < 5


def test_pictures_keep_their_proportions(tmp_path):
    (tmp_path / "a.webm").write_bytes(portrait_film())
    picture = decode_whole(tmp_path / "a.webm", PICTURES, Limits()).values[0, 0]
    assert picture.shape == (108, 144, 3)
    red = picture[..., 0] > 120
    assert red[54].sum() == 54 and red[:, 72].sum() == 108  # 54 x 108 of 144 x 108
    assert not red[:, :44].any() and not red[:, -44:].any()


def test_damaged_and_absent_files_cost_only_themselves(tmp_path):
    (tmp_path / "film.webm").write_bytes(portrait_film())
    (tmp_path / "tone.webm").write_bytes(excerpt(None, np.ones(4800, np.float32) * 0.1))
    (tmp_path / "bad.webm").write_bytes(b"not media")
    dataset = hostile_dataset()
    rest = (None,) * (dataset.num_items - 4)
    paths = ("film.webm", None, "bad.webm", "../secret.webm"), ("film.webm", "tone.webm", "bad.webm", "gone.webm")
    media = {"video": MediaColumn(paths[0] + rest), "audio": MediaColumn(paths[1] + rest)}
    dataset = type(dataset)(**{**vars(dataset), "media": media, "media_root": str(tmp_path)})
    found = read_media(dataset, [1, 2, 0, 3, 4], Limits())
    assert list(found) == [1, 0]
    assert found[0].kind == "video" and found[1].kind == "audio" and found[1].thumbnail is None
    image = imread(io.BytesIO(found[0].thumbnail), format="jpg")
    assert image.shape == (108, 144, 3) and abs(int(image[54, 72, 0]) - 200) < 15
    assert all(one.excerpt[:4] == b"\x1aE\xdf\xa3" for one in found.values()), "WebM"
    gone = type(dataset)(**{**vars(dataset), "media_root": str(tmp_path / "absent")})
    assert read_media(gone, [0], Limits()) == {}


def test_the_best_suggestions_come_first_and_histories_last():
    found = [person([5, 6], [1]), person([7, 5], [2, 6])]
    assert wanted_items(found) == [5, 7, 6, 1, 2]
    assert len(wanted_items([person(list(range(200)), [])])) == MAX_ITEMS


def test_thumbnails_fit_before_excerpts():
    media = {item: Media(b"x" * 300, b"y" * 3000) for item in (9, 3, 7)}
    assert fitting(media, 0) == {}
    kept = fitting(media, 2000)
    assert list(kept) == [9, 3, 7] and not any(one.excerpt for one in kept.values())
    kept = fitting(media, 3 * 520 + 4120)
    assert [item for item, one in kept.items() if one.excerpt] == [9]
    assert fitting(media, 10**6) == media


def test_a_page_with_media_plays_each_item_once_and_stays_small(tmp_path, monkeypatch):
    subject = make_subject(tmp_path)
    monkeypatch.setattr("avrec.report.page._sections", lambda subject: ([], []))
    film, image = portrait_film(), thumbnail(np.broadcast_to(RED, (108, 144, 3)))
    monkeypatch.setattr(
        "avrec.report.page.read_media", lambda dataset, items, limits: {item: Media(image, film) for item in items}
    )
    content = page_bytes(subject, Limits())
    page = Parsed(content)
    films = [attributes for tag, attributes in page.elements if tag == "video"]
    assert len({one["id"] for one in films}) == len(films) > 20
    assert all(one["src"].startswith("data:video/webm;base64,") and "controls" in one for one in films)
    again = [
        attributes["href"] for tag, attributes in page.elements if tag == "a" and "frame" in attributes.get("class", "")
    ]
    assert again and {link[1:] for link in again} <= {one["id"] for one in films}
    short = page_bytes(subject, Limits(), max_bytes=len(content) - len(film))
    assert len(short) < len(content) - len(film)
    assert sum(tag == "video" for tag, _ in Parsed(short).elements) < len(films)
