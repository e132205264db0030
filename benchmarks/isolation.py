"""What decoding in child processes costs, beside the same decoding in this process, on a folder of media files.

python benchmarks/isolation.py ../shared/media/video                # 5 rounds, each file's sound and pictures
python benchmarks/isolation.py ../shared/media/video --rounds 9 --only video

The two take turns, A B A B, over the same files in the same order; what is compared is a pool of one process. The share that
isolation adds is told over whole rounds (the median over rounds) and by file (the median over files of the median over
rounds); CPU seconds are the ones to trust on a shared machine. Then how long a process that was killed is away, and a pool
with a process for each core.
"""

import argparse
import os
import platform
import signal
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil

from avrec.core.clips import AudioSpec, VideoSpec
from avrec.media.decode import decode
from avrec.media.isolation import DecodePool, Job
from avrec.media.limits import Limits
from avrec.media.problems import MediaError

SPECS = {"audio": AudioSpec(), "video": VideoSpec()}


def in_process(root: Path, job: Job) -> None:
    """The same work without a wall around it."""
    try:
        decode(root / job.path, job.spec, Limits())
    except MediaError:
        pass


def cpu_seconds(pids: list[int]) -> float:
    """Of this process and of those."""
    return time.process_time() + sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


def timed(work: Callable[[Job], object], jobs: list[Job]) -> list[float]:
    """Seconds of each job, one at a time."""
    seconds = []
    for job in jobs:
        start = time.perf_counter()
        work(job)
        seconds.append(time.perf_counter() - start)
    return seconds


def respawn_seconds(pool: DecodePool, job: Job, rounds: int) -> list[float]:
    """From killing a busy pool's only process until the next file is there, less that file's own time."""
    lost = []
    for _ in range(rounds):
        usual = min(timed(lambda job: list(pool.decode([job])), [job] * 3))
        start = time.perf_counter()
        for pid in pool.pids:
            os.kill(pid, signal.SIGKILL)
        while next(pool.decode([job])).clips is None:
            pass
        lost.append(time.perf_counter() - start - usual)
    return lost


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=SPECS)
    arguments = parser.parse_args()
    root = arguments.folder.resolve()
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    kinds = [arguments.only] if arguments.only else list(SPECS)
    jobs = [Job(0, name, SPECS[kind]) for name in names for kind in kinds]
    packages = ", ".join(f"{name} {version(name)}" for name in ("av", "soundfile", "numpy"))
    print(f"{len(names)} files, {len(jobs)} jobs; Python {platform.python_version()}, {packages}")

    inside, outside = [], []
    start = time.perf_counter()
    with DecodePool(root, num_workers=1) as pool:
        list(pool.decode([jobs[0]]))
        print(f"a pool's first file after {time.perf_counter() - start:.2f} s")
        timed(lambda job: in_process(root, job), jobs)  # both have read every file once
        timed(lambda job: list(pool.decode([job])), jobs)
        whole, cpu = [], []
        for _ in range(arguments.rounds):
            marks = [cpu_seconds(pool.pids)]
            inside.append(timed(lambda job: in_process(root, job), jobs))
            marks.append(cpu_seconds(pool.pids))
            outside.append(timed(lambda job: list(pool.decode([job])), jobs))
            marks.append(cpu_seconds(pool.pids))
            cpu.append((marks[2] - marks[1]) / (marks[1] - marks[0]) - 1)
            start = time.perf_counter()
            list(pool.decode(jobs))
            whole.append(time.perf_counter() - start)
        lost = respawn_seconds(pool, jobs[0], arguments.rounds)
    by_round = [sum(after) / sum(before) - 1 for before, after in zip(inside, outside, strict=True)]
    streamed = [after / sum(before) - 1 for before, after in zip(inside, whole, strict=True)]
    by_file = [
        statistics.median(after[row] for after in outside) / statistics.median(before[row] for before in inside) - 1
        for row in range(len(jobs))
    ]
    print(f"in this process: {statistics.median(map(sum, inside)):.2f} s a round")
    print(
        f"isolation adds {statistics.median(by_round):+.1%} one file at a time, {statistics.median(streamed):+.1%} streamed"
    )
    print(f"in CPU seconds, one file at a time: {statistics.median(cpu):+.1%}")
    print(f"by file: median {statistics.median(by_file):+.1%}, worst {max(by_file):+.1%}")
    print(f"a killed process is replaced in {statistics.median(lost):.2f} s (worst {max(lost):.2f} s)")

    with DecodePool(root) as pool:
        list(pool.decode(jobs[:8]))
        seconds = []
        for _ in range(arguments.rounds):
            start = time.perf_counter()
            list(pool.decode(jobs))
            seconds.append(time.perf_counter() - start)
        print(f"{len(pool.pids)} processes: {len(jobs) / statistics.median(seconds):.0f} jobs/s")


if __name__ == "__main__":
    main()
