"""Several ways to do one thing, timed in turns: A B C, C B A, and so on, so that a busy machine is unjust to none."""

import os
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

Seconds = tuple[float, float]


def timed(call: Callable[[], Any]) -> Seconds:
    """CPU seconds of this process, all threads, and seconds on the clock."""
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - cpu, time.perf_counter() - wall


def in_turns(calls: Mapping[str, Callable[[], Any]], turns: int) -> dict[str, list[Seconds]]:
    """Seconds of each call in each turn, after one call of each to warm up."""
    seconds: dict[str, list[Seconds]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for turn in range(turns):
        for name in list(calls)[:: 1 if turn % 2 else -1]:
            seconds[name].append(timed(calls[name]))
    return seconds


def medians(seconds: Mapping[str, list[Seconds]]) -> dict[str, Seconds]:
    """(CPU, wall) of each call: the median over turns."""
    return {
        name: tuple(statistics.median(column) for column in zip(*rows, strict=True)) for name, rows in seconds.items()
    }


def machine(*packages: str) -> str:
    """One line: versions, cores, load and threads, without which a figure says little."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    return f"{versions}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, OMP_NUM_THREADS={threads}"
