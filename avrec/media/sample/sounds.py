"""Eight classes of synthesised sound: three known by their timbre, five by the order of things in time.

The beats share their timbres and the glides their notes, so that an average over time cannot tell them apart. Pitch,
loudness, onset, noise, rate and channels vary inside a class.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from avrec.core.arrays import Float64

# S samples, C channels
FORMATS = ((16_000, 1), (22_050, 1), (32_000, 1), (44_100, 2))  # samples a second, channels
NOISE_KNEE_HZ = 200.0


@dataclass(frozen=True)
class Sound:
    """Synthesised sound.

    Attributes:
        samples: (S, C) int16; whole numbers, so that the last bit of a sine on another machine changes nothing.
        rate_hz: samples a second.
    """

    samples: np.ndarray
    rate_hz: int


def synthesise_sound(class_index: int, duration_sec: float, draw: np.random.Generator) -> Sound:
    """One sound of a class of `SOUNDS`; everything else about it is drawn."""
    rate_hz, num_channels = FORMATS[draw.integers(len(FORMATS))]
    time = np.arange(round(duration_sec * rate_hz)) / rate_hz
    wave = list(SOUNDS.values())[class_index](time, draw)
    wave /= np.sqrt(np.mean(wave**2))
    wave += 10 ** (draw.uniform(-46, -32) / 20) * draw.standard_normal(len(time))
    edge = np.clip(np.minimum(time, time[-1] - time) / 0.01, 0.0, 1.0)  # no click at either end
    wave *= edge * 10 ** (draw.uniform(-14, -1) / 20) / np.abs(wave).max()
    channels = wave[:, None] * (draw.uniform(0.6, 1.0, num_channels) if num_channels > 1 else 1.0)
    return Sound(np.round(32_767 * channels).astype(np.int16), rate_hz)


def _bells(time: Float64, draw: np.random.Generator) -> Float64:
    """Struck bells: partials out of tune with one another that ring on; strikes come irregularly."""
    ratios = np.array([0.5, 1.0, 1.2, 2.0, 2.76, 4.1, 5.4])
    pitch_hz, ring_sec = draw.uniform(450, 1100), draw.uniform(0.5, 0.9)
    wave = np.zeros_like(time)
    for start in np.cumsum(draw.uniform(0.45, 1.2, 12)) - 0.45:
        since = time[time >= start] - start
        tone = np.sin(2 * np.pi * pitch_hz * since[:, None] * ratios) * np.exp(-since[:, None] * ratios**0.5 / ring_sec)
        wave[time >= start] += draw.uniform(0.6, 1.0) * (tone / ratios**0.5).sum(axis=1)
    return wave


def _pad(time: Float64, draw: np.random.Generator) -> Float64:
    """A held chord of soft harmonics that swells slowly."""
    root_hz, third = draw.uniform(110, 260), draw.choice([6 / 5, 5 / 4])
    wave = np.zeros_like(time)
    for ratio in (1.0, third, 1.5, 2.0):
        for harmonic in range(1, 6):
            detune = 1 + draw.normal(0.0, 0.001)
            angle = 2 * np.pi * (root_hz * ratio * harmonic * detune * time + draw.random())
            wave += np.sin(angle) / harmonic**1.3
    return wave * (1 + 0.25 * np.sin(2 * np.pi * (draw.uniform(0.3, 0.8) * time + draw.random())))


def _surf(time: Float64, draw: np.random.Generator) -> Float64:
    """Broad noise that comes and goes like waves on a shore."""
    spectrum = np.fft.rfft(draw.standard_normal(len(time)))
    hertz = np.fft.rfftfreq(len(time), time[1])
    spectrum *= (NOISE_KNEE_HZ + hertz) ** -draw.uniform(0.3, 0.9)
    swell = np.sin(np.pi * (draw.uniform(0.25, 0.5) * time + draw.random())) ** 2
    return np.fft.irfft(spectrum, len(time)) * (0.35 + swell)


def _slow_beat(time: Float64, draw: np.random.Generator) -> Float64:
    """Single hits, more than half a second apart."""
    period_sec = draw.uniform(0.65, 0.9)
    return _hits(time, np.arange(draw.random(), 12) * period_sec, draw)


def _fast_beat(time: Float64, draw: np.random.Generator) -> Float64:
    """Single hits, five to seven a second."""
    period_sec = draw.uniform(0.14, 0.2)
    return _hits(time, np.arange(draw.random(), 40) * period_sec, draw)


def _gallop(time: Float64, draw: np.random.Generator) -> Float64:
    """Three quick hits and a rest, again and again."""
    period_sec, quick_sec = draw.uniform(0.8, 1.0), draw.uniform(0.11, 0.14)
    groups = np.arange(draw.random() - 1, 9) * period_sec
    return _hits(time, (groups[:, None] + quick_sec * np.arange(3)).ravel(), draw)


def _rising(time: Float64, draw: np.random.Generator) -> Float64:
    """One tone whose pitch climbs about two octaves from start to end."""
    return _glide(time, time / time[-1], draw)


def _falling(time: Float64, draw: np.random.Generator) -> Float64:
    """One tone whose pitch falls about two octaves from start to end."""
    return _glide(time, 1 - time / time[-1], draw)


SOUNDS: dict[str, Callable[[Float64, np.random.Generator], Float64]] = {
    "bells": _bells,
    "pad": _pad,
    "surf": _surf,
    "slow_beat": _slow_beat,
    "fast_beat": _fast_beat,
    "gallop": _gallop,
    "rising": _rising,
    "falling": _falling,
}


def _hits(time: Float64, starts: Float64, draw: np.random.Generator) -> Float64:
    """Short drum-like hits at the given times; the drum is drawn."""
    pitch_hz, decay_sec, hiss = draw.uniform(130, 800), draw.uniform(0.03, 0.07), draw.uniform(0.1, 0.7)
    noise = draw.standard_normal(len(time))
    wave = np.zeros_like(time)
    for start in starts[(starts >= 0) & (starts < time[-1])] + draw.uniform(0.0, 0.008):
        sounding = (time >= start) & (time < start + 10 * decay_sec)
        since = time[sounding] - start
        hit = (1 - hiss) * np.sin(2 * np.pi * pitch_hz * since) + hiss * noise[sounding]
        wave[sounding] += draw.uniform(0.75, 1.0) * hit * np.exp(-since / decay_sec)
    return wave


def _glide(time: Float64, height: Float64, draw: np.random.Generator) -> Float64:
    """A tone with a few harmonics whose pitch follows `height` from 0 to 1, held for a moment at both ends."""
    lowest_hz, octaves = draw.uniform(180, 340), draw.uniform(1.8, 2.4)
    held = np.clip((height - 0.06) / 0.88, 0.0, 1.0) ** draw.uniform(0.8, 1.25)
    turns = np.cumsum(lowest_hz * 2 ** (octaves * held)) * time[1] + draw.random()
    harmonics = np.arange(1, draw.integers(4, 7))
    tones = np.sin(2 * np.pi * turns[:, None] * harmonics) / harmonics ** draw.uniform(0.8, 1.5)
    return np.asarray(tones.sum(axis=1))
