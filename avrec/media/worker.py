"""The process that decodes: it reads jobs, answers them one by one, and gives up its own powers before the first."""

import contextlib
import ctypes
import importlib
import os
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avrec.core.clips import Clips
from avrec.core.errors import MissingExtraError, require
from avrec.media.decord_library import load_decord
from avrec.media.limits import Limits
from avrec.media.paths import resolve
from avrec.media.problems import MediaError
from avrec.media.wire import clips_header, framed, problem_header, read_job

MAX_OPEN_FILES = 64
PR_SET_PDEATHSIG = 1  # of prctl(2)


def main(
    answer_descriptor: int, function: str, media_root: str, limits: dict[str, Any], libraries: Sequence[str]
) -> None:
    """Answer jobs from standard input until it closes.

    Args:
        answer_descriptor: the pipe's end to write answers to; standard output belongs to whatever a library may print.
        function: `module:name` with the signature of `avrec.media.decode.decode`.
        media_root: paths of jobs are below it.
        limits: the fields of `Limits`.
        libraries: loaded before the first file, whose clock and memory they are not on.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides when children end
    # Nobody would end a decoder that hangs after its parent was killed: the kernel does, when the thread that asks is gone.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        for library in libraries:
            _ = load_decord() if library == "decord" else require(library, "decode")
        module, _, attribute = function.partition(":")
        decode = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        missing = isinstance(error, MissingExtraError)
        _write(answer_descriptor, framed({"failed": f"{type(error).__name__}: {error}", "missing_extra": missing}))
        return
    bounds = Limits(**limits)
    _confine(bounds)
    _write(answer_descriptor, framed({"ready": True}))
    with contextlib.suppress(BrokenPipeError):  # the parent has gone: so do we
        for line in sys.stdin.buffer:
            _answer(answer_descriptor, line, decode, Path(media_root), bounds)


def _answer(descriptor: int, line: bytes, decode: Any, media_root: Path, limits: Limits) -> None:
    number, relative, spec = read_job(line)
    try:
        clips = decode(resolve(media_root, relative), spec, limits)
        assert isinstance(clips, Clips)
    except MediaError as problem:
        clips, header = None, problem_header(number, problem)
    except MemoryError:
        reason = f"{relative!r}: needs more than Limits.memory_bytes = {limits.memory_bytes}."
        clips, header = None, problem_header(number, MediaError("out_of_memory", reason))
    except Exception as error:
        # A decoder's unforeseen complaint costs its file, as a crash would; the class and text are for a bug report.
        reason = f"{relative!r}: unforeseen {type(error).__name__}: {error}"
        clips, header = None, problem_header(number, MediaError("unreadable", reason))
    else:
        header = clips_header(number, clips)
    _write(descriptor, header)
    if clips is not None:
        _write(descriptor, clips.values.tobytes())


def _confine(limits: Limits) -> None:
    """What this process cannot do from here on, whatever a file makes of it."""
    sys.dont_write_bytecode = True
    held = _data_bytes() + limits.memory_bytes
    for name, bound in (
        (resource.RLIMIT_DATA, held),  # private memory, not what libraries map of their files
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),  # it cannot write to any file
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
    ):
        _, hard = resource.getrlimit(name)
        bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(name, (bound, bound))


def _data_bytes() -> int:
    """Private memory that is mapped now: the libraries and their stacks."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmData:")))


def _write(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while len(view):
        view = view[os.write(descriptor, view) :]
