import csv
import os
import shutil
import signal
import subprocess
import sys
import time
import wave

import numpy as np
import pytest

from avrec.core.clips import AudioSpec, Clips, VideoSpec
from avrec.core.errors import ArtefactError, DataError, MissingExtraError
from avrec.data import clip_batch, clip_library
from avrec.data.clip_library import ClipLibrary, _look
from avrec.media.isolation import Outcome
from avrec.media.limits import Limits
from avrec.media.problems import PROBLEM_KINDS, MediaError

SOUND = AudioSpec(sample_rate_hz=8, clip_sec=1.0, num_clips=2)
PICTURES = VideoSpec(num_frames=2, height_px=2, width_px=3)


class FakePool:
    """Gives arrays made of a file's first byte; a file that names a problem has it. Answers in reverse order of the jobs."""

    decoded: list[str] = []  # noqa: RUF012

    def __init__(self, media_root, num_workers, limits, specs):
        self.root = media_root
        assert len(specs) == 1

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def decode(self, jobs):
        for job in reversed(list(jobs)):
            self.decoded.append(job.path)
            text = (self.root / job.path).read_text()
            if text in PROBLEM_KINDS:
                yield Outcome(job.index, None, MediaError(text, f"{job.path!r}: is {text}."))
                continue
            dtype = np.float32 if isinstance(job.spec, AudioSpec) else np.uint8
            values = np.full(job.spec.shape, float(text.split()[0]), dtype)
            valid = np.linspace(1, 0.5, job.spec.num_clips, dtype=np.float32)
            yield Outcome(job.index, Clips(values, valid, tuple(text.split()[1:])), None)


@pytest.fixture
def media(tmp_path, monkeypatch):
    """A folder of media: name -> text, written on call; and the fake decoder."""
    monkeypatch.setattr(clip_library, "DecodePool", FakePool)
    monkeypatch.setattr(FakePool, "decoded", [])
    root = tmp_path / "media"
    root.mkdir()

    def write(**files):
        for name, text in files.items():
            (root / name).write_text(text)
        return root

    return write


def library(tmp_path, **options):
    return ClipLibrary(tmp_path / "media", tmp_path / "cache", **{"max_bad_share": 1.0} | options)


def table(tmp_path):
    with open(tmp_path / "cache" / "media_errors.csv", newline="") as file:
        return list(csv.reader(file))


def decoded():
    found, FakePool.decoded[:] = sorted(FakePool.decoded), []
    return found


def test_items_get_their_clips_and_files_are_decoded_once(tmp_path, media):
    media(a="0.25", b="7", c="3")
    paths = ["b", None, "a", "b", "c"]
    calls = []
    reader = library(tmp_path).fill("audio", paths, SOUND, lambda done, total: calls.append((done, total)))
    assert decoded() == ["a", "b", "c"] and calls == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert reader.present.tolist() == [True, False, True, True, True] and len(reader) == 5
    values, valid = reader.read(np.array([4, 0, 2, 3]))
    assert values.dtype == np.float16 and values.shape == (4, 2, 8)
    assert values[:, 1, 3].tolist() == [3, 7, 0.25, 7] and valid.tolist() == [[1, 0.5]] * 4
    assert (reader.report.num_files, reader.report.num_kept, reader.report.num_decoded) == (3, 0, 3)
    assert reader.report.items_per_sec == pytest.approx(3 / reader.report.seconds)
    with pytest.raises(IndexError, match=r"no records at the positions \[1\]"):
        reader.read(np.array([0, 1]))
    again = library(tmp_path).fill("audio", paths[::-1], SOUND)
    assert decoded() == [] and again.present.tolist() == reader.present.tolist()[::-1]
    assert (again.report.num_kept, again.report.items_per_sec) == (3, 0.0)


def test_pictures_and_sound_of_one_file_are_kept_apart(tmp_path, media):
    media(a="200")
    both = library(tmp_path)
    pictures = both.fill("video", ["a"], PICTURES)
    sound = both.fill("audio", ["a"], SOUND)
    assert decoded() == ["a", "a"]
    values, valid = pictures.read(np.array([0]))
    assert (
        values.dtype == np.uint8 and values.shape == (1, 1, 2, 2, 3, 3) and (values == 200).all() and valid == [[1.0]]
    )
    assert sound.read(np.array([0]))[0].dtype == np.float16
    with pytest.raises(AssertionError):
        both.fill("audio", ["a"], PICTURES)


def test_a_changed_file_is_decoded_again_and_no_other(tmp_path, media):
    root = media(a="1", b="2", c="3")
    library(tmp_path).fill("audio", ["a", "b", "c"], SOUND)
    decoded()
    before = (root / "a").stat()
    media(a="4")
    os.utime(root / "a", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    media(b="2.5")
    os.utime(root / "b", ns=(before.st_atime_ns, before.st_mtime_ns))
    reader = library(tmp_path).fill("audio", ["a", "b", "c"], SOUND)
    assert decoded() == ["a", "b"] and reader.read(np.arange(3))[0][:, 0, 0].tolist() == [4, 2.5, 3]


def test_another_root_with_files_that_look_the_same_from_outside_is_decoded_for_itself(tmp_path, media):
    """As archives give them: whole seconds, and the same size for the same length."""
    root, other = media(a="1"), tmp_path / "other"
    other.mkdir()
    (other / "a").write_text("2")
    for folder in (root, other):
        os.utime(folder / "a", ns=(10**18, 10**18))
    assert ClipLibrary(root, tmp_path / "cache").fill("audio", ["a"], SOUND).read(np.array([0]))[0].max() == 1
    assert ClipLibrary(other, tmp_path / "cache").fill("audio", ["a"], SOUND).read(np.array([0]))[0].max() == 2


@pytest.mark.parametrize("place", [0, 9_000, 17_999])
def test_a_change_at_the_beginning_the_middle_or_the_end_is_seen_whatever_the_time_says(place, tmp_path):
    file = tmp_path / "a"
    file.write_bytes(bytes(18_000))
    os.utime(file, ns=(10**18, 10**18))
    before = _look(file)
    assert _look(file) == before
    content = bytearray(18_000)
    content[place] = 1
    file.write_bytes(content)
    os.utime(file, ns=(10**18, 10**18))
    assert _look(file) != before


def test_every_problem_is_a_line_also_in_a_second_run_that_decodes_none_of_it(tmp_path, media):
    root = media(a="1", b="truncated", c="no_stream", d="2 short:1s slow", e="1e9")
    (root / "=f").write_text("silent")
    paths = ["a", "b", "c", None, "d", "e", "=f", "gone", "../x", "b"]
    ids = [f"id {place}" for place in range(9)] + ["+id"]
    expected = [
        ["item_id", "item_path", "modality", "class", "reason"],
        ["id 1", "b", "audio", "truncated", "'b': is truncated."],
        ["id 2", "c", "audio", "no_stream", "'c': is no_stream."],
        ["id 4", "d", "audio", "note", "short:1s; slow"],
        ["id 5", "e", "audio", "non_finite", "'e': a sample is 1e+09; expected about -1 to 1. Write the file again."],
        ["id 6", "'=f", "audio", "silent", "'=f': is silent."],
        ["id 7", "gone", "audio", "missing"],
        ["id 8", "../x", "audio", "forbidden"],
        ["'+id", "b", "audio", "truncated", "'b': is truncated."],
    ]
    for run in range(2):
        reader = library(tmp_path).fill("audio", paths, SOUND, item_ids=ids)
        assert decoded() == ([] if run else ["=f", "a", "b", "c", "d", "e"])
        lines = table(tmp_path)
        assert [line[: len(wanted)] for line, wanted in zip(lines, expected, strict=True)] == expected
        assert np.flatnonzero(reader.present).tolist() == [0, 4]
        assert (reader.report.num_files, reader.report.num_decoded) == (8, 0 if run else 6)


def test_the_table_holds_both_kinds_of_one_library_and_positions_where_no_ids_are_given(tmp_path, media):
    media(a="crashed", b="1")
    both = library(tmp_path)
    both.fill("audio", ["b", "a"], SOUND)
    both.fill("video", ["a", None], PICTURES)
    assert [line[:4] for line in table(tmp_path)[1:]] == [
        ["1", "a", "audio", "crashed"],
        ["0", "a", "video", "crashed"],
    ]
    both.fill("audio", ["b", None], SOUND)
    assert [line[:4] for line in table(tmp_path)[1:]] == [["0", "a", "video", "crashed"]]


def test_what_failed_for_want_of_time_or_memory_is_tried_again_under_other_limits(tmp_path, media):
    media(a="timed_out", b="out_of_memory", c="too_large", d="truncated", e="crashed", f="silent")
    paths = list("abcdef")
    library(tmp_path).fill("audio", paths, SOUND)
    assert decoded() == paths
    media(c="5")
    root = tmp_path / "media"
    stamps = {path: (root / path).stat().st_mtime_ns for path in paths}
    library(tmp_path).fill("audio", paths, SOUND)
    assert decoded() == ["c"]
    media(b="1234567890.123"[:13])  # as many bytes as before, and the same time: only the limits differ
    os.utime(root / "b", ns=(stamps["b"], stamps["b"]))
    reader = library(tmp_path, limits=Limits(seconds=60)).fill("audio", paths, SOUND)
    assert decoded() == ["a", "b", "e"] and reader.report.problems["a"].kind == "timed_out"
    library(tmp_path, limits=Limits(seconds=60)).fill("audio", paths, SOUND)
    assert decoded() == []  # the later reason, with its limits, counts


def test_too_many_damaged_files_stop_the_run_and_say_which(tmp_path, media):
    names = [f"f{number}" for number in range(40)]
    texts = ["truncated"] * 5 + ["no_stream"] * 8 + ["silent"] * 2 + ["1 short"] * 4 + ["1"] * 21
    media(**dict(zip(names, texts, strict=True)))
    paths = [*names, "gone 1", "gone 2", *names, None]
    library(tmp_path, max_bad_share=7 / 42).fill("audio", paths, SOUND)
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            library(tmp_path, max_bad_share=0.16).fill("audio", paths, SOUND)
        first, *others = caught.value.problems
        assert first == (
            "audio: 7 of 42 files cannot be used (5 truncated, 2 missing); max_bad_share = 0.16 allows 6. All problems: "
            f"{tmp_path}/cache/media_errors.csv. Mend these files, leave their paths empty, or raise max_bad_share."
        )
        assert len(others) == 5 and "missing: 'gone 1': No such file" in "\n".join(others)
        assert len(table(tmp_path)) == 1 + 2 * 19 + 2
    assert len(decoded()) == 40


def test_a_share_that_is_just_reached_is_allowed(tmp_path, media):
    names = [f"f{number}" for number in range(100)]
    media(**dict.fromkeys(names, "1") | dict.fromkeys(names[:29], "truncated"))
    library(tmp_path, max_bad_share=0.29).fill("audio", names, SOUND)
    with pytest.raises(DataError, match=r"29 of 100 .* max_bad_share = 0\.28 allows 28"):
        library(tmp_path, max_bad_share=0.28).fill("audio", names, SOUND)


def test_many_damaged_files_stop_it_early_and_what_was_decoded_is_kept(tmp_path, media, monkeypatch):
    monkeypatch.setattr(clip_library, "ENOUGH_BAD", 3)
    names = [f"f{number:02}" for number in range(40)]
    media(**dict.fromkeys(names, "unreadable") | {"f38": "1"})
    with pytest.raises(DataError, match=r"4 of 40 files .*allows 2\. Reading stopped after 5 files\."):
        library(tmp_path, max_bad_share=0.05).fill("audio", names, SOUND)
    assert decoded() == ["f35", "f36", "f37", "f38", "f39"]
    with pytest.raises(DataError, match="Reading stopped after 5 files"):
        library(tmp_path, max_bad_share=0.05).fill("audio", names, SOUND)
    assert decoded() == []
    reader = library(tmp_path).fill("audio", names, SOUND)
    assert len(decoded()) == 35 and np.flatnonzero(reader.present).tolist() == [38]


def test_another_spec_is_refused_by_name(tmp_path, media):
    media(a="1")
    library(tmp_path).fill("audio", ["a"], SOUND)
    with pytest.raises(ArtefactError, match=r"spec\.clip_sec is 1\.0 there, 2\.0 is asked"):
        library(tmp_path).fill("audio", ["a"], AudioSpec(8, 2.0, 2))


def test_another_decoder_is_refused_by_name(tmp_path, media, monkeypatch):
    media(a="1")
    library(tmp_path).fill("audio", ["a"], SOUND)
    monkeypatch.setattr(clip_library, "DECODER_VERSION", 99)
    monkeypatch.setattr(clip_library, "version", lambda name: f"{name} 0")
    with pytest.raises(
        ArtefactError, match=r'decoder\.av is .*"av 0" is asked; decoder\.avrec is 1 there, 99 .*soundfile'
    ):
        library(tmp_path).fill("audio", ["a"], SOUND)


def test_a_missing_decoder_names_the_extra(tmp_path, media, monkeypatch):
    media(a="1")
    monkeypatch.setattr(clip_library, "DECODERS", {"audio": {"no-such-decoder": "no_such_decoder"}})
    with pytest.raises(MissingExtraError, match=r"avrec\[decode\]"):
        library(tmp_path).fill("audio", ["a"], SOUND)


def test_a_damaged_block_is_decoded_again_alone_when_it_is_met(tmp_path, media):
    media(**{f"f{number}": str(number) for number in range(6)})
    paths = [f"f{number}" for number in range(6)]
    spec = AudioSpec(16_000, 4.0, 1)  # 128 kB: a block each
    reader = library(tmp_path).fill("audio", paths, spec)
    decoded()
    (records,) = (tmp_path / "cache" / "audio" / "parts").glob("*.bin")
    with open(records, "r+b") as file:
        file.seek(2 * 128_000 + 77)
        file.write(b"\xff")
    values, _ = reader.read(np.array([5, 4, 3, 2, 1, 0]))
    assert values[:, 0, 9].tolist() == [5, 4, 3, 2, 1, 0]
    (again,) = decoded()
    assert [name.split("|")[0] for name in reader.repaired] == [again]
    assert library(tmp_path).fill("audio", paths, spec).read(np.arange(6))[0][:, 0, 9].tolist() == list(range(6))
    assert decoded() == []


def test_a_damaged_block_of_a_file_that_has_gone_is_told(tmp_path, media):
    root = media(a="1", b="2")
    reader = library(tmp_path).fill("audio", ["a", None, "b"], SOUND)
    (records,) = (tmp_path / "cache" / "audio" / "parts").glob("*.bin")
    with open(records, "r+b") as file:  # in place: a mapped file that is cut short ends the process
        file.write(bytes(64))
    (root / "b").unlink()
    with pytest.raises(ArtefactError, match=r"2 records are damaged.*could not be decoded again for the items \[2\]"):
        reader.read(np.array([0, 2]))


def test_a_damaged_index_is_replaced_by_decoding_again(tmp_path, media):
    media(a="1")
    library(tmp_path).fill("audio", ["a"], SOUND)
    (index,) = (tmp_path / "cache" / "audio" / "parts").glob("*.parquet")
    index.write_bytes(b"nothing")
    reader = library(tmp_path).fill("audio", ["a"], SOUND)
    assert decoded() == ["a", "a"] and reader.present.all()
    assert len(list(index.parent.iterdir())) == 2 and not index.exists()


def test_parts_are_stored_by_number_by_size_and_by_age(tmp_path, media, monkeypatch):
    stored = []
    monkeypatch.setattr(
        clip_library.RecordCache, "append", lambda self, names, *_: stored.append(len(names)), raising=True
    )
    names = [f"f{number}" for number in range(10)]
    media(**dict.fromkeys(names, "1"))

    def parts():
        stored.clear()
        library(tmp_path).fill("audio", names, SOUND)
        return list(stored)

    assert parts() == [10]
    monkeypatch.setattr(clip_batch, "PART_RECORDS", 4)
    assert parts() == [4, 4, 2]
    monkeypatch.setattr(clip_batch, "PART_BYTES", 3 * 32)
    assert parts() == [3, 3, 3, 1]
    monkeypatch.setattr(clip_batch, "PART_SEC", -1.0)
    assert parts() == [1] * 10


def test_a_filled_cache_is_sealed(tmp_path, media, monkeypatch):
    monkeypatch.setattr(clip_batch, "PART_RECORDS", 2)
    names = [f"f{number}" for number in range(7)]
    media(**dict.fromkeys(names, "1"))
    library(tmp_path).fill("audio", names, SOUND)
    assert len(list((tmp_path / "cache" / "audio" / "parts").iterdir())) == 2


def test_what_was_decoded_before_an_interruption_is_kept(tmp_path, media):
    media(a="1", b="2", c="timed_out")

    def interrupt(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        library(tmp_path).fill("audio", ["a", "b", "c"], SOUND, interrupt)
    assert decoded() == ["b", "c"]
    assert library(tmp_path).fill("audio", ["a", "b", "c"], SOUND).present.tolist() == [True, True, False]
    assert decoded() == ["a"]


def test_the_room_for_everything_is_asked_for_before_anything_is_decoded(tmp_path, media, monkeypatch):
    media(a="1", b="2")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(ArtefactError, match=r"the disk is full: .* 100 are free"):
        library(tmp_path).fill("audio", ["a", "b"], SOUND)
    assert decoded() == []


def test_names_that_are_not_text_are_served(tmp_path, media):
    root = media()
    name = os.fsdecode(b"ol\xe9")
    (root / name).write_text("1")
    (root / "two\nlines").write_text("truncated")
    reader = library(tmp_path).fill("audio", [name, "two\nlines"], SOUND)
    assert reader.present.tolist() == [True, False] and table(tmp_path)[1][1] == "two\nlines"


# With the real decoders


def write_wav(path, hz, num_samples, sample_rate_hz=8_000):
    time_sec = np.arange(num_samples) / sample_rate_hz
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate_hz)
        file.writeframes((10_000 * np.sin(2 * np.pi * hz * time_sec)).astype("<i2").tobytes())


def write_mp4(path, colours):
    """One second of each grey, without sound."""
    av = pytest.importorskip("av", reason="the extra decode is not installed")
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for colour in colours:
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), colour, np.uint8), format="rgb24")
            for _ in range(10):
                file.mux(stream.encode(frame))
        file.mux(stream.encode())


def test_real_files_through_real_decoders(tmp_path):
    for module in ("av", "soundfile"):
        pytest.importorskip(module, reason="the extra decode is not installed")
    root = tmp_path / "media"
    root.mkdir()
    write_wav(root / "low.wav", 200, 8_000)
    write_wav(root / "high.wav", 1_000, 8_000)
    write_mp4(root / "film.mp4", [40, 120, 200])
    (root / "text.wav").write_text("no sound at all")
    paths = ["high.wav", "film.mp4", None, "low.wav", "text.wav", "gone.wav"]
    both = library(tmp_path, num_workers=1)
    sound = both.fill("audio", paths, AudioSpec(8_000, 1.0))
    pictures = both.fill("video", ["film.mp4", None], VideoSpec(3, 32, 32))
    assert sound.present.tolist() == [True, False, False, True, False, False]
    values, valid = sound.read(np.array([0, 3]))
    peaks = np.abs(np.fft.rfft(values[:, 0].astype(np.float32))).argmax(axis=1)
    assert peaks.tolist() == [1_000, 200] and valid.tolist() == [[1.0], [1.0]]
    frames, _ = pictures.read(np.array([0]))
    np.testing.assert_allclose(frames[0, 0].mean(axis=(1, 2, 3)), [40, 120, 200], atol=6)
    kinds = {line[1]: line[3] for line in table(tmp_path)[1:] if line[2] == "audio"}
    assert kinds == {"film.mp4": "no_stream", "text.wav": "unreadable", "gone.wav": "missing"}
    again = library(tmp_path, num_workers=1).fill("audio", paths, AudioSpec(8_000, 1.0))
    assert again.report.num_decoded == 0 and again.present.tolist() == sound.present.tolist()


CHILD = """
import sys
from avrec.core.clips import AudioSpec
from avrec.data import clip_batch
from avrec.data.clip_library import ClipLibrary
clip_batch.PART_RECORDS = 3
paths = [f"{number}.wav" for number in range(60)]
ClipLibrary(sys.argv[1], sys.argv[2]).fill(
    "audio", paths, AudioSpec(8_000, 0.5), lambda done, total: print(done, flush=True)
)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_filling_that_is_killed_at_8_moments_ends_like_one_that_was_not(tmp_path):
    for module in ("av", "soundfile"):
        pytest.importorskip(module, reason="the extra decode is not installed")
    root = tmp_path / "media"
    root.mkdir()
    for number in range(60):
        write_wav(root / f"{number}.wav", 100 + 10 * number, 4_000)
    paths, spec = [f"{number}.wav" for number in range(60)], AudioSpec(8_000, 0.5)
    rng, kept = np.random.default_rng(0), []
    for _ in range(8):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(root), str(tmp_path / "cache")], stdout=subprocess.PIPE
        )
        for _ in range(int(rng.integers(1, 9))):
            child.stdout.readline()
        time.sleep(rng.random() * 0.01)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        filling = library(tmp_path)
        names = list(filling._names("audio", paths)[0].values())
        kept.append(60 - len(filling._open("audio", spec).missing(names)))
    assert kept == sorted(kept) and 0 < kept[-1] < 60
    killed = library(tmp_path).fill("audio", paths, spec)
    assert killed.report.num_decoded == 60 - kept[-1] and killed.report.num_kept == kept[-1]
    clean = ClipLibrary(root, tmp_path / "clean").fill("audio", paths, spec)
    np.testing.assert_array_equal(killed.read(np.arange(60))[0], clean.read(np.arange(60))[0])
    parts = tmp_path / "cache" / "audio" / "parts"
    assert len(list(parts.iterdir())) == 2
    assert sum(path.stat().st_size for path in parts.glob("*.bin")) == 60 * 4_000 * 2
