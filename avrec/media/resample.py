"""Another sample rate for a stretch of sound, by its spectrum: no delay, flat below, nothing above."""

import numpy as np
from scipy import fft

from avrec.core.arrays import Float32

PASS = 0.95  # share of the lower Nyquist frequency that passes unchanged; from there to 1 a raised cosine
_SILENCE_SEC = 0.05  # between the end of the stretch and its start, which the Fourier transform takes for its sequel


def resample(sound: Float32, rate_hz: int, to_rate_hz: int, offset_sec: float, num_samples: int) -> Float32:
    """The sound at the times `offset_sec + k / to_rate_hz`, k below `num_samples`, counted from its first sample.

    Beyond the ends of the stretch there is silence. Where the file goes on, the stretch should hold some 50 ms more on
    both sides of what is wanted, in which the filter dies out.

    Args:
        sound: (number of samples,) at `rate_hz`.
        rate_hz: rate of `sound`.
        to_rate_hz: rate wanted.
        offset_sec: time of the first sample wanted; need not fall on a sample of either rate.
        num_samples: how many samples are wanted.

    Returns:
        (num_samples,) float32.
    """
    divisor = int(np.gcd(rate_hz, to_rate_hz))
    up, down = to_rate_hz // divisor, rate_hz // divisor
    # A period must hold a whole number of samples at both rates.
    needed_sec = max(len(sound) / rate_hz, offset_sec + num_samples / to_rate_hz) + _SILENCE_SEC
    periods = fft.next_fast_len(int(np.ceil(needed_sec * divisor)) + 1, real=True)
    num_in, num_out = periods * down, periods * up
    spectrum = fft.rfft(sound, num_in)[: num_out // 2 + 1]
    frequency_hz = np.arange(len(spectrum)) * (rate_hz / num_in)
    nyquist_hz = min(rate_hz, to_rate_hz) / 2
    edge = np.clip((frequency_hz / nyquist_hz - PASS) / (1 - PASS), 0.0, 1.0)
    gain = (0.5 + 0.5 * np.cos(np.pi * edge)) * (num_out / num_in)
    whole = int(np.floor(offset_sec * to_rate_hz))
    rest_sec = offset_sec - whole / to_rate_hz
    shift = np.exp(2j * np.pi * frequency_hz * rest_sec)
    shifted = fft.irfft(spectrum * (gain * shift).astype(np.complex64), num_out)
    return np.asarray(shifted[whole : whole + num_samples], np.float32)
