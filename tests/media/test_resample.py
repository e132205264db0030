import numpy as np
import pytest

from avrec.media.resample import resample

RATES = (8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000)


def decibel(values: np.ndarray) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(np.square(values, dtype=np.float64))) * np.sqrt(2) + 1e-12))


def tone(frequency: float, rate: int, seconds: float = 1.1) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate).astype(np.float32)


@pytest.mark.parametrize("rate", [rate for rate in RATES if rate > 16_000])
@pytest.mark.parametrize("frequency", [8_100, 8_500, 10_000, 12_000, 15_900, 20_000, 40_000])
def test_tones_above_the_new_nyquist_vanish(rate: int, frequency: float) -> None:
    if frequency < rate / 2:
        assert decibel(resample(tone(frequency, rate), rate, 16_000, 0.05, 16_000)) < -100


@pytest.mark.parametrize("rate", [*RATES, 44_099, 37_800])
@pytest.mark.parametrize("frequency", [50, 1_000, 3_500, 7_500])
def test_tones_below_keep_their_shape_and_their_time(rate: int, frequency: float) -> None:
    if frequency > 0.95 * rate / 2:
        return
    for offset in (0.05, 0.0503217):  # on and between the samples of either rate
        values = resample(tone(frequency, rate), rate, 16_000, offset, 16_000)
        expected = np.sin(2 * np.pi * frequency * (offset + np.arange(16_000) / 16_000))
        assert decibel(values - expected) < -100


def test_against_a_sum_of_sinc_functions() -> None:
    rng = np.random.default_rng(0)
    spectrum = np.fft.rfft(rng.standard_normal(4_410))
    spectrum[700:] = 0  # up to 7 kHz, inside what passes
    sound = np.fft.irfft(spectrum, 4_410).astype(np.float32)
    values = resample(np.tile(sound, 3), 44_100, 16_000, 0.1, 1_600)
    at = (0.1 + np.arange(0, 1_600, 40) / 16_000) * 44_100
    index = np.arange(-40_000, 40_000)
    naive = [np.sum(sound[index % 4_410] * np.sinc(time - index)) for time in at]
    assert np.abs(values[::40] - naive).max() < 1e-3 * np.abs(sound).max()


def test_beyond_the_ends_there_is_silence() -> None:
    values = resample(np.ones(800, np.float32), 8_000, 16_000, 0.0, 4_000)
    assert values.shape == (4_000,) and values.dtype == np.float32
    assert np.abs(values[2_500:]).max() < 1e-3
