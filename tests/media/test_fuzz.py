"""Damaged files by the hundred: whatever a mutation makes of a file, it costs that file and leaves everything else as it was."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from avrec.core.clips import AudioSpec, VideoSpec
from avrec.media.decode import decode
from avrec.media.isolation import DecodePool, Job, Outcome
from avrec.media.limits import Limits
from avrec.media.problems import PROBLEM_KINDS

SPECS = (AudioSpec(clip_sec=1.0, num_clips=2), VideoSpec(num_frames=4, height_px=48, width_px=64, num_clips=2))
REAL = [
    "video/bbb_vp9_opus.webm",
    "video/bbb_rotated90.mp4",
    "video/bbb_hevc_aac_mono.mp4",
    "video/big_buck_bunny_432_433.webm",
    "odd/unordered.mov",
    "odd/ogg_inside.mkv",
    "audio/voice_8k_mono.wav",
    "audio/vibe_ace_stereo.opus",
    "audio/vibe_ace_24k_mono.m4a",
    "audio/solo_trumpet.ogg",
    "audio/new_sax.mp3",
    "audio/bbb_51.ac3",
]
GENERATED = {  # suffix of the file: codecs of sound and of pictures
    "avi": ("mp3", "mpeg4"),
    "mkv": ("flac", "mpeg4"),
    "flac": ("flac", None),
    "aiff": ("pcm_s16be", None),
}
MUTATORS = ("truncate", "flip", "burst", "header")


def mutated(data: bytes, how: str, rng: np.random.Generator) -> bytes:
    if how == "truncate":
        return data[: int(rng.integers(len(data)))]
    damaged = np.frombuffer(data, np.uint8).copy()
    if how == "flip":
        places = rng.integers(len(data), size=int(rng.integers(1, 100)))
        np.bitwise_xor.at(damaged, places, (1 << rng.integers(8, size=len(places))).astype(np.uint8))
    elif how == "burst":
        start = int(rng.integers(len(data)))
        run = damaged[start : start + int(rng.integers(16, 4096))]
        run[:] = rng.integers(256, size=len(run))
    else:  # a few bytes where the header claims lengths, sizes and rates
        places = rng.integers(min(len(data), 400), size=int(rng.integers(1, 12)))
        damaged[places] = rng.choice(np.array([0, 1, 127, 128, 255, *rng.integers(256, size=3)], np.uint8), len(places))
    return damaged.tobytes()


def generate(path: Path) -> None:
    """A second of a tone, and perhaps of moving stripes."""
    sound_codec, picture_codec = GENERATED[path.suffix[1:]]
    with av.open(str(path), "w") as container:
        sound = container.add_stream(sound_codec, rate=16_000, layout="mono")
        pictures = (
            container.add_stream(picture_codec, rate=10, width=64, height=48, pix_fmt="yuv420p")
            if picture_codec
            else None
        )
        size = sound.codec_context.frame_size or 1024
        wave = (10_000 * np.sin(np.arange(16_000) * 0.2)).astype(np.int16)
        resampler = av.AudioResampler(sound.format.name, "mono", 16_000)
        for start in range(0, len(wave) - size, size):
            frame = av.AudioFrame.from_ndarray(wave[None, start : start + size], "s16", "mono")
            frame.rate, frame.pts = 16_000, start
            for converted in resampler.resample(frame):
                container.mux(sound.encode(converted))
        container.mux(sound.encode(None))
        for number in range(10 if pictures else 0):
            picture = np.broadcast_to((np.arange(64) * 4 + 20 * number).astype(np.uint8)[None, :, None], (48, 64, 3))
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")))
        if pictures:
            container.mux(pictures.encode(None))


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Whole files: four written here, and twelve real ones where there are."""
    folder = tmp_path_factory.mktemp("seeds")
    paths = [folder / f"written.{suffix}" for suffix in GENERATED]
    for path in paths:
        generate(path)
    return paths


@pytest.fixture(scope="module")
def all_seeds(seeds: list[Path], shared_data: Path) -> list[Path]:
    paths = [shared_data / "media" / name for name in REAL]
    if not paths[0].is_file():
        pytest.skip(f"no real media at {shared_data / 'media'}; set AVREC_SHARED to the folder that holds media/")
    return seeds + paths


class Fuzz:
    """Mutations of files, decoded by a pool: what came of them, and the memory held on the way."""

    def __init__(self, seeds: list[Path], root: Path, number: int) -> None:
        self.kinds: Counter[str] = Counter()
        self.bad: list[str] = []
        self.memory_mb: list[tuple[int, float, float]] = []  # files done, this process, its children
        self._seeds = [(path.suffix, path.read_bytes()) for path in seeds]
        with DecodePool(root, 2, Limits(seconds=20.0, memory_bytes=2**30)) as pool:
            for done, outcome in enumerate(pool.decode(self._jobs(root, number))):
                self._judge(outcome)
                if done % 20 == 0:
                    self.memory_mb.append((done // 2, rss_mb([psutil.Process().pid]), rss_mb(pool.pids)))
            self.num_outcomes = done + 1

    def _jobs(self, root: Path, number: int) -> Iterator[Job]:
        for index in range(number):
            suffix, data = self._seeds[index % len(self._seeds)]
            how = MUTATORS[index // len(self._seeds) % len(MUTATORS)]
            name = f"{index:05d}-{how}{suffix}"
            (root / name).write_bytes(mutated(data, how, np.random.default_rng((7, index))))
            for old in root.glob(f"{index - 100:05d}-*"):
                old.unlink()
            for kind, spec in enumerate(SPECS):
                yield Job(2 * index + kind, name, spec)

    def _judge(self, outcome: Outcome) -> None:
        spec = SPECS[outcome.index % 2]
        if outcome.problem is not None:
            self.kinds[outcome.problem.kind] += 1
            assert outcome.clips is None and outcome.problem.kind in PROBLEM_KINDS and len(str(outcome.problem)) > 20
            if outcome.problem.kind in ("crashed", "timed_out") or "unforeseen" in str(outcome.problem):
                self.bad.append(str(outcome.problem))
            return
        self.kinds["ok with a note" if outcome.clips.notes else "ok"] += 1
        values, valid = outcome.clips.values, outcome.clips.valid
        assert values.shape == spec.shape and values.dtype == (np.float32, np.uint8)[outcome.index % 2]
        assert np.isfinite(values).all() and valid.shape == (2,) and ((valid > 0) & (valid <= 1)).all()
        assert values.dtype == np.uint8 or np.abs(values).max() <= 1


def rss_mb(pids: list[int]) -> float:
    total = 0.0
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += psutil.Process(pid).memory_info().rss / 1e6
    return total


def test_the_written_seeds_are_whole(seeds: list[Path]) -> None:
    for path in seeds:
        for spec in SPECS[: 1 + (GENERATED[path.suffix[1:]][1] is not None)]:
            assert decode(path, spec).notes == ()


def test_a_hundred_mutations(seeds: list[Path], tmp_path: Path) -> None:
    fuzz = Fuzz(seeds, tmp_path, 100)
    assert not fuzz.bad, "\n".join(fuzz.bad)
    assert fuzz.num_outcomes == fuzz.kinds.total() == 200
    assert fuzz.kinds["ok"] + fuzz.kinds["ok with a note"] > 30 and fuzz.kinds["unreadable"] > 5


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_thousand_mutations(all_seeds: list[Path], tmp_path: Path) -> None:
    fuzz = Fuzz(all_seeds, tmp_path, 2000)
    print(dict(fuzz.kinds), fuzz.memory_mb[0], fuzz.memory_mb[-1], slopes(fuzz.memory_mb))
    assert not fuzz.bad, "\n".join(fuzz.bad)
    assert fuzz.num_outcomes == fuzz.kinds.total() == 4000
    parent, children = slopes(fuzz.memory_mb)
    assert parent <= 1.0 and children <= 2.0  # MB for 100 files; the children are two


def slopes(memory_mb: list[tuple[int, float, float]]) -> tuple[float, float]:
    """MB for 100 files, by least squares over the last three quarters."""
    done, *held = np.array(memory_mb[len(memory_mb) // 4 :]).T
    parent, children = (100 * float(np.polyfit(done, mb, 1)[0]) for mb in held)
    return parent, children


def test_eight_planes_of_sound(tmp_path: Path) -> None:
    """Found here: PyAV 18.1 ends the process when it makes an array of a frame with eight planes or more."""
    tone = 0.5 * np.sin(np.arange(16_000) * 0.1)
    with av.open(str(tmp_path / "many.mka"), "w", format="matroska") as container:
        sound = container.add_stream("wavpack", rate=16_000, layout="7.1")
        resampler = av.AudioResampler(sound.format.name, "7.1", 16_000)
        samples = np.repeat((tone * 2**15).astype(np.int16), 8)[None]
        frame = av.AudioFrame.from_ndarray(samples, "s16", "7.1")
        frame.rate, frame.pts = 16_000, 0
        for converted in resampler.resample(frame):
            container.mux(sound.encode(converted))
        container.mux(sound.encode(None))
    with DecodePool(tmp_path, 1) as pool:
        [outcome] = pool.decode([Job(0, "many.mka", AudioSpec(clip_sec=1.0))])
    assert outcome.problem is None, outcome.problem
    np.testing.assert_allclose(outcome.clips.values[0], tone, atol=0.01)
