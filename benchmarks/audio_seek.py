"""Ten seconds out of a five-minute FLAC, Ogg, MP3 and WAV file: `decode` beside reading the file whole.

python benchmarks/audio_seek.py
python benchmarks/audio_seek.py --minutes 5 --seconds 10 --turns 7

The files are written from a seed: 44.1 kHz, stereo, tones and noise. `whole` is `soundfile.read`, the mean over channels and the
same resampling to 16 kHz of the clip alone, so that the ratio is about reading; `clip` is `avrec.media.decode.decode`, from
opening the file to the array. The two arrays are compared first.
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import soundfile
from pairs import in_turns, machine, medians

from avrec.core.clips import AudioSpec
from avrec.media.decode import decode
from avrec.media.resample import resample

RATE_HZ = 44_100
MARGIN_SEC = 0.05


def write(path: Path, minutes: float) -> None:
    """A minute at a time, so that the encoders need little memory."""
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE_HZ, 2) as file:
        for second in range(round(60 * minutes)):
            time = second + np.arange(RATE_HZ) / RATE_HZ
            tones = 0.2 * np.sin(2 * np.pi * 220 * (1 + second % 7) * time)[:, None]
            file.write(tones + 0.05 * rng.standard_normal((RATE_HZ, 2)))


def whole(path: Path, spec: AudioSpec) -> np.ndarray:
    """Read everything, then cut the middle."""
    sound, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    start_sec = int((len(sound) / rate_hz - spec.clip_sec) / 2 * 100 + 1e-6) / 100
    first = int((start_sec - MARGIN_SEC) * rate_hz)
    mono = sound[first : first + round((spec.clip_sec + 2 * MARGIN_SEC) * rate_hz)].mean(axis=1)
    return resample(mono, rate_hz, spec.sample_rate_hz, start_sec - first / rate_hz, spec.num_samples)


def main() -> None:
    """Print a line for each format."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--turns", type=int, default=7)
    given = parser.parse_args()
    print(machine("soundfile", "av", "numpy", "scipy"))
    spec = AudioSpec(16_000, given.seconds)
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("flac", "ogg", "mp3", "wav"):
            path = Path(folder, f"sound.{suffix}")
            write(path, given.minutes)
            difference = np.abs(decode(path, spec).values[0] - whole(path, spec)).max()
            times = medians(
                in_turns({"clip": partial(decode, path, spec), "whole": partial(whole, path, spec)}, given.turns)
            )
            cpu, wall = (times["whole"][place] / times["clip"][place] for place in (0, 1))
            milliseconds = ", ".join(f"{name} {1e3 * seconds[0]:.1f}" for name, seconds in times.items())
            print(
                f"{suffix}: CPU ms {milliseconds}; {cpu:.1f}x by CPU, {wall:.1f}x by clock; arrays differ by {difference:.1e}"
            )


if __name__ == "__main__":
    main()
