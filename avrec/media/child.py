"""The parent's hand on one decoding process: start it, ask it, tell how it died."""

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO

import numpy as np

from avrec.core.clips import Clips
from avrec.core.errors import AvrecError, MissingExtraError
from avrec.media.limits import Limits
from avrec.media.problems import MediaError, ProblemKind
from avrec.media.wire import PREFIX, Spec, WireError, dtype_of, header_bytes, job_line, read_header

# A fresh interpreter that finds modules where the parent does, without the parent's `__main__`: no torch, no forked threads.
_START = (
    "import json, sys; start = json.loads(sys.argv[1]); sys.path[:] = start['path']; "
    "from avrec.media.worker import main; main(**start['main'])"
)
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",  # an arena for each thread of a decoder would hold on to memory
}
_PIPE_BYTES = 2**20  # a usual answer fits: the child need not wait for a busy parent
_START_SEC = 120.0
_LAST_WORDS = 300


class ChildGoneError(Exception):
    """The process had ended before it was asked: nothing was lost."""


class Child:
    """One decoding process; one thread may use it, and any may `kill` it."""

    def __init__(self, function: str, media_root: Path, limits: Limits, libraries: Sequence[str]) -> None:
        self.ended = False
        self._limits = limits
        self._number = 0
        self._answers, answer_end = os.pipe()
        self._complaints, complaint_end = os.pipe()
        os.set_blocking(self._complaints, False)
        os.set_blocking(complaint_end, False)  # what nobody reads is lost instead of holding the child up
        with contextlib.suppress(OSError):  # above what the system grants one user
            fcntl.fcntl(answer_end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        main = {
            "answer_descriptor": answer_end,
            "function": function,
            "media_root": str(media_root),
            "limits": asdict(limits),
            "libraries": list(libraries),
        }
        start = {"path": [entry or os.getcwd() for entry in sys.path], "main": main}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, json.dumps(start)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=complaint_end,
                pass_fds=(answer_end,),
                env={**os.environ, **_ENVIRONMENT},
            )
        finally:
            os.close(answer_end)
            os.close(complaint_end)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def wait_ready(self) -> None:
        """Return when the process has loaded its libraries.

        Raises:
            AvrecError: it could not.
        """
        deadline = time.monotonic() + _START_SEC
        try:
            said = json.loads(self._read_header(deadline))
        except (EOFError, TimeoutError, WireError, ValueError):
            words = self._last_words()
            raise AvrecError(f"A decoding process could not start ({self.end()}). {words}".rstrip()) from None
        if "failed" in said:
            self.end()
            failure = MissingExtraError if said["missing_extra"] else AvrecError
            raise failure(f"A decoding process could not start: {said['failed']}")

    def ask(self, path: str, spec: Spec) -> Clips | MediaError:
        """What the process makes of one file; `ended` tells whether it outlived it.

        Raises:
            ChildGoneError: the process had ended, or had said something unasked, before it could be asked.
        """
        self._number += 1
        self._last_words()  # complaints about files before this one
        if self._wait(0.0) or not self._send(job_line(self._number, path, spec)):
            raise ChildGoneError
        deadline = time.monotonic() + self._limits.seconds
        try:
            header = read_header(self._read_header(deadline), self._number, spec)
            if isinstance(header, MediaError):
                return header
            values = np.empty(spec.shape, dtype_of(spec))
            self._fill(values.reshape(-1).view(np.uint8).data, time.monotonic() + self._limits.seconds)
        except TimeoutError:
            self.end()
            return MediaError("timed_out", f"{path!r}: not done after {self._limits.seconds:g} s (Limits.seconds).")
        except WireError as error:
            self.end()
            return MediaError("crashed", f"{path!r}: the decoding process answered with {error}.")
        except EOFError:
            words = self._last_words()
            kind: ProblemKind = "out_of_memory" if "bad_alloc" in words else "crashed"
            return MediaError(kind, f"{path!r}: the decoding process {self.end()}. {words}".rstrip())
        if not np.isfinite(values).all():
            return MediaError("non_finite", f"{path!r}: the sound holds NaN or infinity.")
        return Clips(values, *header)

    def kill(self) -> None:
        """End the process from any thread; the one that waits for its answer sees it end."""
        self._process.kill()

    def end(self) -> str:
        """End the process, release what belongs to it, and say how it ended."""
        if not self.ended:
            self.ended = True
            with contextlib.suppress(subprocess.TimeoutExpired):  # closing its pipe was an end of its own making
                self._process.wait(0.05)
            self._process.kill()
            self._process.wait()
            with contextlib.suppress(BrokenPipeError):
                self._stdin.close()
            os.close(self._answers)
            os.close(self._complaints)
        code = self._process.returncode
        if code >= 0:
            return f"exited with code {code}"
        name = signal.Signals(-code).name
        return f"was ended by {name}" + (", as by a system short of memory" if name == "SIGKILL" else "")

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _send(self, line: bytes) -> bool:
        try:
            self._stdin.write(line)
            self._stdin.flush()
        except BrokenPipeError:
            return False
        return True

    def _read_header(self, deadline: float) -> bytes:
        prefix = bytearray(PREFIX.size)
        self._fill(memoryview(prefix), deadline)
        text = bytearray(header_bytes(bytes(prefix)))
        self._fill(memoryview(text), deadline)
        return bytes(text)

    def _fill(self, view: memoryview, deadline: float) -> None:
        """Read until `view` is full; EOFError at the pipe's end, TimeoutError at the deadline."""
        while len(view):
            if not self._wait(deadline - time.monotonic()):
                raise TimeoutError
            count = os.readv(self._answers, [view])
            if not count:
                raise EOFError
            view = view[count:]

    def _wait(self, seconds: float) -> bool:
        """Whether there is something to read, or the pipe's end, within `seconds`."""
        poll = select.poll()
        poll.register(self._answers, select.POLLIN)
        return bool(poll.poll(max(0.0, seconds) * 1000))

    def _last_words(self) -> str:
        """The end of what the process, or a library in it, wrote to standard error since the last look."""
        with contextlib.suppress(BlockingIOError):
            text = os.read(self._complaints, 2**16).decode(errors="replace").strip()
            return " ".join(text[-_LAST_WORDS:].split())
        return ""
