"""Decoding in child processes: what a file does to its decoder costs that file, and nothing else."""

import os
import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from avrec.core.clips import AudioSpec, Clips, VideoSpec
from avrec.core.errors import AvrecError, ConfigError
from avrec.media.child import Child, ChildGoneError
from avrec.media.limits import Limits
from avrec.media.problems import MediaError

LIBRARIES = ("av", "soundfile")  # of every process; decord only where it is needed
JOBS_AHEAD = 3  # for each process, so that it finds work and room for its answer while the caller is busy


@dataclass(frozen=True)
class Job:
    """One sound or one moving picture to read.

    Attributes:
        index: the caller's number of it, handed back with the outcome.
        path: below the media root; see `avrec.media.paths.resolve`.
        spec: what to read; its class tells the kind.
    """

    index: int
    path: str
    spec: AudioSpec | VideoSpec


@dataclass(frozen=True)
class Outcome:
    """Of one job: clips, or why there are none."""

    index: int
    clips: Clips | None
    problem: MediaError | None


@dataclass(frozen=True)
class _Task:
    job: Job
    outcomes: "queue.SimpleQueue[Outcome | Exception]"
    cancelled: threading.Event


class DecodePool:
    """Processes that decode, each with limits on time, memory and files, replaced when they die.

    A process is a fresh interpreter without torch. The parent ends one whose file takes longer than `limits.seconds`; the
    system ends one that is left without a parent. It cannot write to any file.

    >>> with DecodePool(Path(), num_workers=1) as pool:
    ...     [outcome] = pool.decode([Job(7, "https://somewhere/a.mp4", AudioSpec())])
    >>> outcome.index, outcome.clips, outcome.problem.kind
    (7, None, 'forbidden')

    Raises:
        ConfigError: `media_root` is no folder, or `num_workers` is not positive.
    """

    def __init__(
        self,
        media_root: str | Path,
        num_workers: int | None = None,
        limits: Limits = Limits(),  # noqa: B008
        function: str = "avrec.media.decode:decode",
        specs: Iterable[AudioSpec | VideoSpec] = (),
    ) -> None:
        """Prepare, without starting anything yet.

        Args:
            media_root: the folder that paths of jobs are relative to.
            num_workers: processes; None takes one for each core that this process may use.
            limits: for each file.
            function: `module:name` of what decodes, with the signature of `avrec.media.decode.decode`.
            specs: of jobs to come; what they need beside the usual is loaded before the first file, off its clock.
        """
        by_decord = any(isinstance(spec, VideoSpec) and spec.decoder == "decord" for spec in specs)
        self._libraries = (*LIBRARIES, "decord") if by_decord else LIBRARIES
        self._media_root = Path(os.path.realpath(media_root))
        if not self._media_root.is_dir():
            raise ConfigError(
                f"media_root {str(media_root)!r} is not a folder. Name the folder that media paths start from."
            )
        self._num_workers = len(os.sched_getaffinity(0)) if num_workers is None else num_workers
        if self._num_workers < 1:
            raise ConfigError(f"num_workers is {num_workers}; expected a positive number.")
        self._limits = limits
        self._function = function
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._children: set[Child] = set()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        """Start the processes; their first jobs may be given at once."""
        for number in range(self._num_workers):
            thread = threading.Thread(target=self._serve, name=f"decode-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End all processes, whatever they are at."""
        with self._lock:
            self._closed = True
            for child in self._children:
                child.kill()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    @property
    def pids(self) -> list[int]:
        """Of the processes that are running now."""
        with self._lock:
            return [child.pid for child in self._children]

    def decode(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """One outcome for each job, in the order in which they are done. `jobs` is read only a little ahead.

        Raises:
            AvrecError: no process could be started, as where the extra `decode` is not installed.
        """
        assert self._threads, "a DecodePool works inside its `with` block"
        outcomes: queue.SimpleQueue[Outcome | Exception] = queue.SimpleQueue()
        cancelled = threading.Event()
        waiting = 0
        try:
            for job in jobs:
                self._tasks.put(_Task(job, outcomes, cancelled))
                waiting += 1
                if waiting == JOBS_AHEAD * self._num_workers:
                    yield _taken(outcomes)
                    waiting -= 1
            for _ in range(waiting):
                yield _taken(outcomes)
        finally:
            cancelled.set()  # a caller that left early is not waited for

    def _serve(self) -> None:
        """What a thread does: hold one process, give it tasks, and replace it when a file was its end."""
        child = self._replaced(None)
        while (task := self._tasks.get()) is not None:
            if task.cancelled.is_set():
                continue
            try:
                child, answer = self._answer(child, task.job)
            except Exception as error:
                task.outcomes.put(error)
                if child is not None:
                    self._forget(child)
                    child = None
                continue
            given = (answer, None) if isinstance(answer, Clips) else (None, answer)
            task.outcomes.put(Outcome(task.job.index, *given))
            if child.ended:
                child = self._replaced(child)
        if child is not None:
            child.kill()
            self._forget(child)

    def _answer(self, child: Child | None, job: Job) -> tuple[Child, Clips | MediaError]:
        """A process that died between two jobs is not the fault of the second: that one is asked again of a new process."""
        while True:
            child = child or self._started()
            try:
                return child, child.ask(job.path, job.spec)
            except ChildGoneError:
                self._forget(child)
                child = None

    def _replaced(self, child: Child | None) -> Child | None:
        """A process that is ready before the next job comes; what hinders its start is told with that job."""
        if child is not None:
            self._forget(child)
        try:
            return self._started()
        except AvrecError:
            return None

    def _started(self) -> Child:
        with self._lock:
            if self._closed:
                raise AvrecError("The DecodePool is closed.")
            child = Child(self._function, self._media_root, self._limits, self._libraries)
            self._children.add(child)
        try:
            child.wait_ready()
        except AvrecError:
            self._forget(child)
            raise
        return child

    def _forget(self, child: Child) -> None:
        child.end()
        with self._lock:
            self._children.discard(child)


def _taken(outcomes: "queue.SimpleQueue[Outcome | Exception]") -> Outcome:
    outcome = outcomes.get()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
