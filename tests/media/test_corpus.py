"""What a person would expect of every file of `shared/media`, for its sound and for its pictures."""

import csv
from pathlib import Path

import numpy as np
import pytest

from avrec.core.clips import AudioSpec, VideoSpec
from avrec.media.isolation import DecodePool, Job, Outcome

OK = "ok"
# Files of odd/: (sound, pictures). A name of `PROBLEM_KINDS`, or `ok`, or `ok` and the start of what is noted.
ODD = {
    "zero_bytes.webm": ("unreadable", "unreadable"),
    "text_file.mp4": ("unreadable", "unreadable"),
    "truncated_half.mp4": ("unreadable", "unreadable"),  # its index was at the end
    "truncated_half.webm": ("ok short", "ok short"),  # claims 1 s, holds 3 pictures and 0.1 s of sound
    "truncated_speech.ogg": (OK, "no_stream"),  # nothing in an Ogg file tells that there was more
    "truncated.flac": ("truncated", "no_stream"),  # claims 262 s; the one second that is left is zeros
    "wrong_duration.mp3": ("ok short", "no_stream"),
    "no_duration.webm": ("silent", OK),
    "bit_errors.mp4": ("no_stream", "ok damaged"),
    "silent_audio.mp4": ("silent", OK),
    "ogg_inside.mkv": ("silent", OK),
    "cover_art.mp3": ("silent", "no_stream"),  # a cover is no moving picture
    "no_audio_stream.mp4": ("no_stream", OK),
    "rotated90_no_audio.mov": ("no_stream", OK),
    "unordered.mov": ("no_stream", OK),
    "audio_only.mp4": (OK, "no_stream"),
    "audio_starts_late.mp4": (OK, OK),
    "wav_30_ms.wav": ("too_short", "no_stream"),
    "nan_and_inf.wav": ("non_finite", "no_stream"),
    "loud_and_offset.wav": ("ok loud", "no_stream"),
    "stereo_cancels_in_mono.wav": ("ok cancels", "no_stream"),
}
# Whole files of the other two folders that have something to note.
NOTED = {
    "audio/vibe_ace_24k_mono.m4a": ("ok loud", "no_stream"),  # its codec overshoots by 0.2 %
    "video/nasa_13013.mp4": ("ok streams", "ok streams"),  # two of each: which one is read is said
}
FOLDERS = {"video": (OK, OK), "audio": (OK, "no_stream")}


def expected(path: str) -> tuple[str, str]:
    folder, name = path.split("/")
    return ODD[name] if folder == "odd" else NOTED.get(path, FOLDERS[folder])


def outcome_text(outcome: Outcome) -> str:
    if outcome.problem is not None:
        return outcome.problem.kind
    return " ".join([OK, *sorted(note.split(":")[0] for note in outcome.clips.notes)])


@pytest.fixture(scope="module")
def manifest(shared_data: Path) -> dict[str, dict[str, str]]:
    folder = shared_data / "media"
    if not (folder / "MANIFEST.csv").is_file():
        pytest.skip(f"no real media at {folder}; set AVREC_SHARED to the folder that holds media/")
    with open(folder / "MANIFEST.csv", newline="", encoding="utf-8") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def outcomes(shared_data: Path, manifest: dict[str, dict[str, str]]) -> dict[tuple[str, str], Outcome]:
    specs = {"audio": AudioSpec(num_clips=2), "video": VideoSpec(num_clips=2, num_frames=4, height_px=64, width_px=64)}
    keys = [(path, kind) for path in manifest for kind in specs]
    with DecodePool(shared_data / "media") as pool:
        jobs = (Job(index, path, specs[kind]) for index, (path, kind) in enumerate(keys))
        return {keys[outcome.index]: outcome for outcome in pool.decode(jobs)}


def test_every_file_as_a_person_would_classify_it(
    manifest: dict[str, dict[str, str]], outcomes: dict[tuple[str, str], Outcome]
) -> None:
    assert len(manifest) == 71 and len(outcomes) == 142
    wrong = {
        key: (expected(key[0])[key[1] == "video"], outcome_text(outcome), str(outcome.problem or outcome.clips.notes))
        for key, outcome in outcomes.items()
        if outcome_text(outcome) != expected(key[0])[key[1] == "video"]
    }
    assert not wrong, wrong


def test_what_is_usable_is_finite_and_not_constant(outcomes: dict[tuple[str, str], Outcome]) -> None:
    for key, outcome in outcomes.items():
        if outcome.clips is not None:
            values = outcome.clips.values
            assert np.isfinite(values).all() and (values.std() > 0 or key[0] == "odd/unordered.mov"), key  # a white one
            assert np.abs(values).max() <= (1.0 if key[1] == "audio" else 255), key


def test_a_reason_names_the_file(outcomes: dict[tuple[str, str], Outcome]) -> None:
    for (path, _), outcome in outcomes.items():
        if outcome.problem is not None:
            assert Path(path).name in str(outcome.problem)
            assert "unforeseen" not in str(outcome.problem)


def test_the_share_that_is_real_follows_the_length(
    manifest: dict[str, dict[str, str]], outcomes: dict[tuple[str, str], Outcome]
) -> None:
    """A whole file of `duration_sec` fills that share of 4 s clips."""
    for (path, kind), outcome in outcomes.items():
        if kind == "audio" and outcome.clips is not None and not path.startswith("odd/"):
            share = min(1.0, float(manifest[path]["duration_sec"]) / 4.0)
            np.testing.assert_allclose(outcome.clips.valid, share, atol=0.03, err_msg=path)
