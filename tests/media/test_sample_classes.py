"""The classes are what their names say, by measures that know nothing of how they were made."""

from functools import cache

import numpy as np
import pytest

from avrec.core.errors import ConfigError
from avrec.media.sample.catalogue import Catalogue
from avrec.media.sample.pictures import PICTURES, SIDE_PX
from avrec.media.sample.sounds import SOUNDS

CATALOGUE = Catalogue(seed=3, num_items=64)
EACH = 4
sound_of, film_of = cache(CATALOGUE.sound), cache(CATALOGUE.film)


def items_of(classes: np.ndarray, name: str, names: dict) -> list[int]:
    return np.flatnonzero(classes == list(names).index(name))[:EACH].tolist()


def sounds(name: str) -> list[tuple[np.ndarray, int]]:
    made = [sound_of(index) for index in items_of(CATALOGUE.sound_class, name, SOUNDS)]
    return [(sound.samples.mean(axis=1) / 32_768, sound.rate_hz) for sound in made]


def films(name: str) -> list[np.ndarray]:
    """(T, H, W) share of figure in each pixel, from the colours of corners and middle; float."""
    made = [film_of(index).frames for index in items_of(CATALOGUE.picture_class, name, PICTURES)]
    return [figure_share(frames.astype(np.float64)) for frames in made]


def figure_share(frames: np.ndarray) -> np.ndarray:
    """How far each pixel is from its row's most frequent colour over the film, 0 or 1."""
    ground = np.median(frames, axis=(0, 2), keepdims=True)
    distance = np.abs(frames - ground).sum(axis=-1)
    return (distance > 0.5 * np.quantile(distance, 0.999)).astype(np.float64)


def envelope(wave: np.ndarray, rate_hz: int) -> np.ndarray:
    """Loudness in steps of 10 ms."""
    step = rate_hz // 100
    return np.sqrt((wave[: len(wave) // step * step].reshape(-1, step) ** 2).mean(axis=1))


def onsets_sec(wave: np.ndarray, rate_hz: int) -> np.ndarray:
    """When the loudness jumps up."""
    loud = envelope(wave, rate_hz)
    rise = np.maximum(loud[1:], 1e-6) - loud[:-1]
    jumps = np.flatnonzero(rise > 0.25 * rise.max())
    kept = [jump for jump, before in zip(jumps, [-99, *jumps], strict=False) if jump - before > 4]
    return np.array(kept) / 100


def dominant_hz(wave: np.ndarray, rate_hz: int) -> float:
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    return float(np.fft.rfftfreq(len(wave), 1 / rate_hz)[spectrum.argmax()])


def flatness(wave: np.ndarray, rate_hz: int) -> float:
    """1 for white noise, near 0 for tones; below 4 kHz, since a higher rate holds more."""
    power = np.abs(np.fft.rfft(wave[: rate_hz * 2])) ** 2
    power = power[: int(len(power) * 4_000 / (rate_hz / 2))]
    return float(np.exp(np.log(power + 1e-9).mean()) / power.mean())


@pytest.mark.parametrize(("name", "sign"), [("rising", 1), ("falling", -1)])
def test_glides_go_where_they_say(name, sign):
    for wave, rate_hz in sounds(name):
        parts = [dominant_hz(part, rate_hz) for part in np.array_split(wave, 5)]
        assert (sign * np.diff(np.log2(parts)) > 0.1).all(), parts
        assert 1.2 < sign * np.log2(parts[-1] / parts[0]) < 2.5


def test_beats_differ_in_the_times_of_their_hits():
    for wave, rate_hz in sounds("slow_beat"):
        gaps = np.diff(onsets_sec(wave, rate_hz))
        assert (gaps > 0.6).all() and (gaps < 1.0).all() and len(gaps) >= 2, gaps
    for wave, rate_hz in sounds("fast_beat"):
        gaps = np.diff(onsets_sec(wave, rate_hz))
        assert np.median(gaps) < 0.22 and len(gaps) >= 12, gaps
    for wave, rate_hz in sounds("gallop"):
        gaps = np.diff(onsets_sec(wave, rate_hz))
        assert 0.08 < np.median(gaps) < 0.18 < 0.5 < gaps.max() < 0.85, gaps


def test_timbres_differ_by_the_spectrum_and_the_strikes():
    for wave, rate_hz in sounds("surf"):
        assert flatness(wave, rate_hz) > 0.2
    for name in ("pad", "bells"):
        for wave, rate_hz in sounds(name):
            assert flatness(wave, rate_hz) < 0.05
    for wave, rate_hz in sounds("pad"):
        loud = envelope(wave, rate_hz)[10:-10]
        assert loud.min() > 0.1 * loud.max()
        assert dominant_hz(wave, rate_hz) < 1_000
    for wave, rate_hz in sounds("bells"):
        gaps = np.diff(onsets_sec(wave, rate_hz))
        assert len(gaps) >= 1 and gaps.min() > 0.4


@pytest.mark.parametrize(("name", "sign"), [("rightward", 1), ("leftward", -1)])
def test_things_cross_the_picture_the_way_they_say(name, sign):
    columns = np.arange(SIDE_PX)
    for share in films(name):
        middle = (share * columns).sum(axis=(1, 2)) / share.sum(axis=(1, 2))
        assert (sign * np.diff(middle) > -0.5).all()
        assert sign * (middle[-1] - middle[0]) > 0.6 * SIDE_PX
        assert 0.35 * SIDE_PX < middle.mean() < 0.65 * SIDE_PX  # the mean over time does not tell which way


@pytest.mark.parametrize(("name", "sign"), [("growing", 1), ("shrinking", -1)])
def test_things_grow_and_shrink(name, sign):
    for index in items_of(CATALOGUE.picture_class, name, PICTURES):
        frames = film_of(index).frames.astype(np.float64)
        small = frames[0] if sign > 0 else frames[-1]
        ground = np.median(small, axis=1)[None, :, None]
        distance = np.abs(frames - ground).sum(axis=-1)
        area = (distance > 0.5 * np.quantile(distance, 0.99)).mean(axis=(1, 2))[::sign]
        assert (np.diff(area) > -0.01).all() and area[0] < 0.05 and area[-1] > 0.25, area


def test_things_blink():
    for share in films("blinking"):
        lit = share.mean(axis=(1, 2)) > 0.02
        assert 0.25 < lit.mean() < 0.75 and np.count_nonzero(np.diff(lit)) >= 3


@pytest.mark.parametrize("name", ["checks", "dots", "clouds"])
def test_any_one_picture_of_a_still_class_is_like_any_other(name):
    """The share of bright pixels hardly changes over the film; and the three differ in how sharp and how dense they are."""
    for index in items_of(CATALOGUE.picture_class, name, PICTURES):
        frames = film_of(index).frames.mean(axis=-1)
        frames -= frames.mean(axis=2, keepdims=True)
        spread = frames.std(axis=(1, 2))
        assert spread.min() > 0.7 * spread.max()
        steep = np.abs(np.diff(frames, axis=2)).max(axis=(1, 2)) / spread
        assert (steep < 1.5).all() if name == "clouds" else (steep > 1.0).all()


def test_an_item_is_a_function_of_seed_and_index_alone():
    larger, other = Catalogue(3, 200), Catalogue(4, 64)
    for index in (0, 9, 63):
        sound, film = sound_of(index), film_of(index)
        assert np.array_equal(larger.sound(index).samples, sound.samples)
        assert np.array_equal(larger.film(index).frames, film.frames)
        assert sound.samples.dtype == np.int16 and film.frames.dtype == np.uint8
        assert film.frames.shape[1:] == (128, 128, 3)
        seconds = len(sound.samples) / sound.rate_hz
        assert 3.0 < seconds < 5.0 and abs(len(film.frames) / film.rate_hz - seconds) < 0.1
    for name in ("sound_class", "picture_class", "has_sound", "has_picture"):
        assert np.array_equal(getattr(larger, name)[:64], getattr(CATALOGUE, name))
    assert not np.array_equal(other.sound_class, CATALOGUE.sound_class)


def test_two_items_of_a_class_are_not_alike():
    for names, classes, make in (
        (SOUNDS, CATALOGUE.sound_class, lambda index: sound_of(index).samples[:1000]),
        (PICTURES, CATALOGUE.picture_class, lambda index: film_of(index).frames[3]),
    ):
        for name in names:
            first, second = (make(index).astype(float) for index in items_of(classes, name, names)[:2])
            assert first.shape != second.shape or np.abs(first - second).mean() > 1


def test_formats_vary():
    made = [sound_of(index) for index in range(16)]
    assert {sound.rate_hz for sound in made} == {16_000, 22_050, 32_000, 44_100}
    assert {sound.samples.shape[1] for sound in made} == {1, 2}
    assert {film_of(index).rate_hz for index in range(16)} == {12, 15, 16}
    peaks = [np.abs(sound.samples.astype(float)).max() / 32_768 for sound in made]
    assert max(peaks) < 1 and min(peaks) > 0.1 and max(peaks) > 2 * min(peaks)


def test_classes_are_balanced_and_independent_and_nothing_lacks_both():
    catalogue = Catalogue(7, 1600)
    together = np.zeros((len(SOUNDS), len(PICTURES)))
    np.add.at(together, (catalogue.sound_class, catalogue.picture_class), 1)
    assert (together.sum(axis=0) == 200).all() and (together.sum(axis=1) == 200).all()
    assert ((together - 25) ** 2 / 25).sum() < 49 * 1.6  # chi-square with 49 degrees of freedom
    assert (~catalogue.has_sound).sum() == (~catalogue.has_picture).sum() == 100
    assert (catalogue.has_sound | catalogue.has_picture).all()


@pytest.mark.parametrize("num_items", [0, 100_001])
def test_the_number_of_items_is_checked(num_items):
    with pytest.raises(ConfigError, match=f"num_items is {num_items}; expected 1 to 100000"):
        Catalogue(0, num_items)
