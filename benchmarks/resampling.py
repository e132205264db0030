"""What is left of tones above the new Nyquist frequency, how flat the rest is, and one sound stored at eight rates.

python benchmarks/resampling.py
python benchmarks/resampling.py --to 16000

Everything goes through files: tones are written as 32-bit float WAV and read by `decode`. `by the clip` is the level of the whole
clip against the tone; a tone below the new Nyquist frequency is compared sample by sample with the sine it should be. CPU
milliseconds of ten seconds beside scipy's `resample_poly` and torchaudio's `resample`, where they are installed, stand last.
"""

import argparse
import importlib
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import soundfile
from pairs import in_turns, machine, medians
from scipy import signal

from avrec.core.clips import AudioSpec
from avrec.media.decode import decode
from avrec.media.resample import PASS, resample

RATES = (8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000)
FILE_SEC, CLIP_SEC = 5.0, 4.0  # the clip lies in the middle: no end of the file in it


def decibel(values: np.ndarray) -> float:
    """Level against a sine of amplitude 1."""
    return float(20 * np.log10(np.sqrt(2 * np.mean(np.square(values, dtype=np.float64))) + 1e-12))


def read_tones(folder: Path, rate_hz: int, tones_hz: list[float], to_hz: int) -> np.ndarray:
    """A sum of tones of amplitude 0.4 each, written at a rate and read at another."""
    time = np.arange(round(FILE_SEC * rate_hz)) / rate_hz
    sound = sum(0.4 * np.sin(2 * np.pi * tone * time) for tone in tones_hz)
    soundfile.write(folder / "tone.wav", sound, rate_hz, subtype="FLOAT")
    return decode(folder / "tone.wav", AudioSpec(to_hz, CLIP_SEC)).values[0]


def tones(folder: Path, to_hz: int) -> None:
    """Worst levels above, worst errors below, at each stored rate."""
    nyquist = to_hz / 2
    carrier = 100.0  # so that a clip is never silent, which `decode` would refuse
    time = (FILE_SEC - CLIP_SEC) / 2 + np.arange(round(CLIP_SEC * to_hz)) / to_hz
    expected = 0.4 * np.sin(2 * np.pi * carrier * time)
    for rate_hz in RATES:
        above = [tone for tone in np.linspace(1.01 * nyquist, 0.99 * rate_hz / 2, 24) if nyquist < tone < rate_hz / 2]
        below = np.linspace(50, 0.99 * PASS * min(nyquist, rate_hz / 2), 24)
        left = [decibel((read_tones(folder, rate_hz, [carrier, tone], to_hz) - expected) / 0.4) for tone in above]
        errors = []
        for tone in below:
            errors.append(decibel(read_tones(folder, rate_hz, [tone], to_hz) / 0.4 - np.sin(2 * np.pi * tone * time)))
        text = f"{max(left):.0f} dB at most of {len(above)} tones above" if left else "no tone above"
        print(
            f"{rate_hz} -> {to_hz} Hz: {text}; error below {PASS:.0%} of the Nyquist frequency {max(errors):.0f} dB at most"
        )


def one_sound(folder: Path, to_hz: int) -> None:
    """Noise below 3.8 kHz, stored at eight rates by its exact Fourier series."""
    rng = np.random.default_rng(0)
    level = rng.standard_normal(round(3_800 * FILE_SEC)) + 1j * rng.standard_normal(round(3_800 * FILE_SEC))
    vectors = []
    for rate_hz in RATES:
        number = round(FILE_SEC * rate_hz)
        spectrum = np.zeros(number // 2 + 1, complex)
        spectrum[1 : len(level) + 1] = level
        sound = np.fft.irfft(spectrum, number) * number
        soundfile.write(folder / "noise.wav", 0.9 * sound / np.abs(sound).max(), rate_hz, subtype="FLOAT")
        values = decode(folder / "noise.wav", AudioSpec(to_hz, CLIP_SEC)).values[0].astype(np.float64)
        vectors.append(values / np.linalg.norm(values))
    cosines = np.array(vectors) @ np.array(vectors).T
    print(f"one sound at {len(RATES)} rates: waveforms agree within cosine {cosines.min():.6f}")


def speed(to_hz: int, turns: int) -> None:
    """Ten seconds at 44.1 kHz, beside the peers."""
    sound = np.random.default_rng(0).standard_normal(441_000).astype(np.float32)
    ratio = np.gcd(44_100, to_hz)
    calls = {
        "avrec": partial(resample, sound, 44_100, to_hz, 0.0, 10 * to_hz),
        "scipy resample_poly": partial(signal.resample_poly, sound, to_hz // ratio, 44_100 // ratio),
    }
    try:
        torch, functional = importlib.import_module("torch"), importlib.import_module("torchaudio.functional")
        torch.set_num_threads(1)
        calls["torchaudio resample"] = partial(functional.resample, torch.from_numpy(sound), 44_100, to_hz)
    except ImportError:
        print("torchaudio is not installed")
    times = medians(in_turns(calls, turns))
    print("10 s from 44,100 Hz, CPU ms: " + ", ".join(f"{name} {1e3 * cpu:.1f}" for name, (cpu, _) in times.items()))


def main() -> None:
    """Print levels, agreement and speed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=int, default=16_000, help="sample rate wanted, Hz")
    parser.add_argument("--turns", type=int, default=7)
    given = parser.parse_args()
    print(machine("numpy", "scipy", "soundfile"))
    with tempfile.TemporaryDirectory() as folder:
        tones(Path(folder), given.to)
        one_sound(Path(folder), given.to)
    speed(given.to, given.turns)


if __name__ == "__main__":
    main()
