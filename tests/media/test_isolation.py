import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from avrec.core.clips import AudioSpec, VideoSpec
from avrec.core.errors import AvrecError, ConfigError, MissingExtraError
from avrec.media.isolation import JOBS_AHEAD, DecodePool, Job, Outcome
from avrec.media.limits import Limits

HERE = Path(__file__).resolve().parent
SOUND = AudioSpec(sample_rate_hz=100, clip_sec=0.5, num_clips=2)
PICTURE = VideoSpec(num_frames=2, height_px=3, width_px=5)
LARGE = AudioSpec(sample_rate_hz=1_000_000, clip_sec=4.0)  # 16 MB: many times what a pipe holds


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("media")
    names = (
        "segv killed abort exit sleep spin stuck bomb slow_bomb cpp_bomb last_words noisy garbage nested shape dtype valid "
        "not_finite error refused limits pid late good"
    )
    for name in names.split():
        (root / name).write_bytes(b"")
    for number in range(100):
        (root / f"good{number}").write_bytes(b"")
    return root


@pytest.fixture(scope="module", autouse=True)
def _import_the_faulty_decoder() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        yield


@pytest.fixture(scope="module")
def pool(root: Path) -> Iterator[DecodePool]:
    """One process at a time; a test may crash it, as that is what the next one has to survive."""
    with faulty(root, memory_bytes=100_000_000) as pool:
        yield pool


def faulty(root: Path, num_workers: int = 1, function: str = "decode", **limits: float) -> DecodePool:
    return DecodePool(root, num_workers, Limits(**limits), f"faulty_decoder:{function}")


def assert_good(outcome: Outcome, name: str, spec: AudioSpec | VideoSpec = SOUND) -> None:
    assert outcome.problem is None, outcome.problem
    dtype = np.float32 if isinstance(spec, AudioSpec) else np.uint8
    expected = np.arange(np.prod(spec.shape)).reshape(spec.shape).astype(dtype) + dtype(len(name))
    np.testing.assert_array_equal(outcome.clips.values, expected)
    assert outcome.clips.values.dtype == dtype
    assert outcome.clips.values.flags.writeable
    assert outcome.clips.valid.dtype == np.float32
    assert outcome.clips.valid.tolist() == [0.5] * spec.num_clips
    assert outcome.clips.notes == (f"note of {name}",)


def gone(pids: list[int], seconds: float = 5.0) -> bool:
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], seconds)
    return not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("spec", [SOUND, PICTURE, LARGE], ids=["sound", "picture", "large"])
def test_arrays_arrive_as_they_were_sent(pool: DecodePool, spec: AudioSpec | VideoSpec) -> None:
    [outcome] = pool.decode([Job(5, "good7", spec)])
    assert outcome.index == 5
    assert_good(outcome, "good7", spec)


def test_every_job_has_one_outcome_and_all_processes_work(root: Path) -> None:
    with faulty(root, num_workers=2) as pool:
        jobs = [Job(number, f"good{number}", (SOUND, PICTURE)[number % 2]) for number in range(100)]
        outcomes = list(pool.decode(jobs))
        assert sorted(outcome.index for outcome in outcomes) == list(range(100))
        for outcome in outcomes:
            assert_good(outcome, jobs[outcome.index].path, jobs[outcome.index].spec)
        pids = {str(outcome.problem) for outcome in pool.decode([Job(0, "pid", SOUND)] * 50)}
        assert pids <= {str(pid) for pid in pool.pids} and len(pool.pids) == 2


def test_processes_work_at_the_same_time(tmp_path: Path) -> None:
    for side in ("left", "right"):
        (tmp_path / f"meet.{side}").write_bytes(b"")
    with faulty(tmp_path, num_workers=2, seconds=20.0) as pool:
        for outcome in pool.decode([Job(0, "meet.left", SOUND), Job(1, "meet.right", SOUND)]):
            assert_good(outcome, ("meet.left", "meet.right")[outcome.index])


BAD = [
    ("segv", "crashed", "the decoding process was ended by SIGSEGV."),
    ("killed", "crashed", "the decoding process was ended by SIGKILL, as by a system short of memory."),
    ("abort", "crashed", "the decoding process was ended by SIGABRT."),
    ("exit", "crashed", "the decoding process exited with code 3."),
    ("last_words", "crashed", "the decoding process was ended by SIGABRT. moov atom not found"),
    ("cpp_bomb", "out_of_memory", "ended by SIGABRT. terminate called after throwing an instance of 'std::bad_alloc'"),
    ("bomb", "out_of_memory", "needs more than Limits.memory_bytes = 100000000."),
    ("slow_bomb", "out_of_memory", "needs more than Limits.memory_bytes = 100000000."),
    ("garbage", "crashed", "the decoding process answered with a header of 4294967295 bytes."),
    ("nested", "crashed", "the decoding process answered with a header that is none (RecursionError)."),
    ("shape", "crashed", "answered with values of ([1, 16777216], '<f4') where ([2, 50], '<f4') were asked for."),
    ("dtype", "crashed", "answered with values of ([2, 50], '<f8') where ([2, 50], '<f4') were asked for."),
    ("valid", "crashed", "the decoding process answered with shares [nan, nan] for 2 clips."),
    ("not_finite", "non_finite", "the sound holds NaN or infinity."),
    ("error", "unreadable", "unforeseen ZeroDivisionError: by a header"),
    ("nothing", "missing", "No such file or directory below the media root."),
    ("../secret", "forbidden", "holds `..`; write it relative to the media root."),
]


@pytest.mark.parametrize(("name", "kind", "text"), BAD, ids=[name for name, _, _ in BAD])
def test_a_fault_costs_one_item_and_says_which(pool: DecodePool, name: str, kind: str, text: str) -> None:
    before, bad, after = pool.decode([Job(0, "good1", SOUND), Job(1, name, SOUND), Job(2, "good2", SOUND)])
    assert (bad.index, bad.clips, bad.problem.kind) == (1, None, kind)
    assert str(bad.problem).startswith(f"'{name}': ") and text in str(bad.problem)
    assert_good(before, "good1")
    assert_good(after, "good2")


@pytest.mark.parametrize("name", ["sleep", "spin", "stuck"])
def test_a_hang_is_ended_after_its_time(root: Path, name: str) -> None:
    with faulty(root, seconds=0.5) as pool:
        list(pool.decode([Job(0, "good", SOUND)]))  # started
        [old] = pool.pids
        start = time.monotonic()
        bad, after = pool.decode([Job(0, name, SOUND), Job(1, "good", SOUND)])
        assert 0.5 < time.monotonic() - start < 5.0
        assert (bad.problem.kind, str(bad.problem)) == (
            "timed_out",
            f"'{name}': not done after 0.5 s (Limits.seconds).",
        )
        assert_good(after, "good")
        assert gone([old])


def test_the_others_go_on_beside_faults(root: Path) -> None:
    with faulty(root, num_workers=2, seconds=1.0) as pool:
        names = [f"good{number}" for number in range(60)]
        for place, name in enumerate(("segv", "sleep", "exit", "garbage", "bomb", "killed")):
            names.insert(7 * place + 3, name)
        outcomes = {outcome.index: outcome for outcome in pool.decode(Job(*job, SOUND) for job in enumerate(names))}
    assert sorted(outcomes) == list(range(66))
    for index, name in enumerate(names):
        if name.startswith("good"):
            assert_good(outcomes[index], name)
        else:
            assert outcomes[index].problem.kind in {"crashed", "timed_out", "out_of_memory"}


def test_a_process_that_died_between_jobs_costs_nothing(pool: DecodePool) -> None:
    list(pool.decode([Job(0, "good", SOUND)]))
    [pid] = pool.pids
    os.kill(pid, signal.SIGKILL)
    assert gone([pid])
    [outcome] = pool.decode([Job(1, "good", SOUND)])
    assert_good(outcome, "good")
    assert pool.pids != [pid]


def test_what_a_process_says_unasked_does_not_reach_the_next_file(pool: DecodePool) -> None:
    [late] = pool.decode([Job(0, "late", SOUND)])
    assert_good(late, "late")
    [process] = [psutil.Process(pid) for pid in pool.pids]
    deadline = time.monotonic() + 10
    while process.num_threads() > 1 and time.monotonic() < deadline:
        threading.Event().wait(0.01)  # until its timer has fired
    [outcome] = pool.decode([Job(1, "good", SOUND)])
    assert_good(outcome, "good")
    assert pool.pids != [process.pid]


def test_noise_neither_blocks_nor_spoils(pool: DecodePool) -> None:
    for outcome in pool.decode([Job(0, "noisy", SOUND)] * 5):
        assert_good(outcome, "noisy")


def test_a_process_gives_up_its_powers(root: Path, pool: DecodePool) -> None:
    [outcome] = pool.decode([Job(0, "limits", SOUND)])
    assert str(outcome.problem) == (
        "CORE=0 FSIZE=0 NOFILE=64 torch=False threads=1 write: File too large open: Too many open files"
    )
    assert (root / "written").read_bytes() == b""
    (root / "written").unlink()


def test_the_jobs_are_read_only_a_little_ahead(root: Path) -> None:
    read = []

    def jobs() -> Iterator[Job]:
        for number in range(50):
            read.append(number)
            yield Job(number, "good", SOUND)

    with faulty(root, num_workers=2) as pool:
        for done, _ in enumerate(pool.decode(jobs()), 1):
            assert len(read) <= done + 2 * JOBS_AHEAD
    assert len(read) == 50


def test_an_answer_waits_for_a_busy_caller(root: Path) -> None:
    """The time of a file is that of its decoding, not that of a caller who takes long to come back."""
    with faulty(root, seconds=0.5) as pool:
        outcomes = pool.decode([Job(number, "good", LARGE) for number in range(4)])
        first = next(outcomes)
        threading.Event().wait(1.5)
        for outcome in (first, *outcomes):
            assert_good(outcome, "good", LARGE)


def test_a_caller_may_leave_early_and_come_again(pool: DecodePool) -> None:
    for _ in pool.decode(Job(number, "good", SOUND) for number in range(50)):
        break
    names = {outcome.clips.notes for outcome in pool.decode([Job(0, "good9", SOUND)] * 3)}
    assert names == {("note of good9",)}


def test_leaving_ends_everything_at_once(root: Path) -> None:
    before = threading.active_count(), psutil.Process().num_fds()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), faulty(root, num_workers=2) as pool:
        for outcome in pool.decode(Job(number, name, SOUND) for number, name in enumerate(["good", "sleep", "stuck"])):
            pids = pool.pids
            assert outcome.index == 0
            raise KeyboardInterrupt
    assert time.monotonic() - start < 10
    assert pids and gone(pids) and pool.pids == []
    assert (threading.active_count(), psutil.Process().num_fds()) == before


PARENT = """
import json, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs the tests in the background has it ignored
sys.path[:] = json.loads(sys.argv[1])
from avrec.core.clips import AudioSpec
from avrec.media.isolation import DecodePool, Job
if __name__ == "__main__":
    with DecodePool(sys.argv[2], 2, function="faulty_decoder:decode") as pool:
        for outcome in pool.decode(Job(0, name, AudioSpec()) for name in ("good", "stuck", "good")):
            print(json.dumps(pool.pids), flush=True)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_no_process_outlives_its_parent(root: Path, end: signal.Signals) -> None:
    """One of them idle, the other one stuck in a library that does not let go."""
    command = [sys.executable, "-c", PARENT, json.dumps([*sys.path]), str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as parent:
        parent.stdout.readline()
        pids = json.loads(parent.stdout.readline())
        assert len(pids) == 2
        parent.send_signal(end)
        parent.wait(30)
        text = parent.stderr.read()
    assert gone(pids)
    assert end == signal.SIGKILL or ("KeyboardInterrupt" in text and text.count("Traceback") == 1), text


def test_what_hinders_the_start_is_said(root: Path) -> None:
    text = r"^A decoding process could not start: MissingExtraError: the Python module 'no_such_package' .* 'avrec\[decode\]'$"
    with faulty(root, num_workers=2, function="needs_extra") as pool:
        for _ in range(2):
            with pytest.raises(MissingExtraError, match=text):
                list(pool.decode([Job(0, "good", SOUND)] * 10))
    text = r"^A decoding process could not start \(exited with code 4\)\. cannot map libfoo$"
    with faulty(root, function="dies_at_start") as pool, pytest.raises(AvrecError, match=text):
        list(pool.decode([Job(0, "good", SOUND)]))


def test_bad_arguments_are_named(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"^media_root '.*/good' is not a folder\. Name the folder"):
        DecodePool(root / "good")
    with pytest.raises(ConfigError, match=r"^num_workers is 0; expected a positive number\.$"):
        DecodePool(root, 0)
