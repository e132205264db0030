"""A decoder that does what the name of its file says, given to a DecodePool in place of the real one."""

import ctypes
import os
import signal
import stat
import sys
import time
from pathlib import Path

import numpy as np

from avrec.core.clips import AudioSpec, Clips, VideoSpec
from avrec.media.limits import Limits
from avrec.media.problems import MediaError


def decode(path: Path, spec: AudioSpec | VideoSpec, limits: Limits) -> Clips:
    word, _, detail = path.name.partition(".")
    match word:
        case "segv":
            ctypes.string_at(0)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "abort":
            os.abort()
        case "exit":
            os._exit(3)
        case "sleep":
            time.sleep(1000)
        case "spin":
            while True:
                pass
        case "stuck":  # as a C library that neither returns nor lets go of the interpreter
            ctypes.PyDLL(None).pause()
        case "meet":  # done only when the other one is here too
            other = {"left": "right", "right": "left"}[detail]
            (path.parent / f"here-{detail}").mkdir()
            while not (path.parent / f"here-{other}").exists():
                time.sleep(0.01)
        case "bomb":
            bytearray(10**11)
        case "slow_bomb":
            blocks = []
            while True:
                blocks.append(np.ones(2**22))
        case "cpp_bomb":
            os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
            os.abort()
        case "last_words":
            os.write(2, b"moov atom not found\n")
            os.abort()
        case "noisy":
            for _ in range(100):
                try:
                    os.write(2, b"x" * 10_000)
                except BlockingIOError:
                    break
            print("noise on standard output")
        case "garbage":
            os.write(answer_descriptor(), b"\xff" * 100_000)
        case "nested":
            os.write(answer_descriptor(), (60_000).to_bytes(4, "little") + b"[" * 60_000)
        case "shape":
            return Clips(np.zeros((1, 2**24), np.float32), np.ones(1, np.float32))
        case "dtype":
            return Clips(np.zeros(spec.shape, np.float64), np.ones(spec.num_clips, np.float32))
        case "valid":
            return Clips(np.zeros(spec.shape, np.float32), np.full(spec.num_clips, np.nan, np.float32))
        case "not_finite":
            return Clips(np.full(spec.shape, np.nan, np.float32), np.ones(spec.num_clips, np.float32))
        case "error":
            raise ZeroDivisionError("by a header")
        case "refused":
            raise MediaError("silent", f"{detail} says nothing")
        case "limits":
            raise MediaError("too_large", describe(path.parent))
        case "pid":
            raise MediaError("silent", str(os.getpid()))
        case "late":  # answers, and then says what nobody asked
            import threading

            threading.Timer(0.05, os.write, (answer_descriptor(), b"\0" * 8)).start()
    return clips(path, spec)


def clips(path: Path, spec: AudioSpec | VideoSpec) -> Clips:
    """Values that tell which file they are of."""
    number = len(path.name)
    dtype = np.float32 if isinstance(spec, AudioSpec) else np.uint8
    values = np.arange(np.prod(spec.shape)).reshape(spec.shape).astype(dtype) + dtype(number)
    return Clips(values, np.full(spec.num_clips, 0.5, np.float32), (f"note of {path.name}",))


def answer_descriptor() -> int:
    return next(number for number in range(3, 64) if is_pipe(number))


def is_pipe(number: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(number).st_mode)
    except OSError:
        return False


def describe(folder: Path) -> str:
    import resource

    words = [
        f"{name}={resource.getrlimit(getattr(resource, 'RLIMIT_' + name))[0]}" for name in ("CORE", "FSIZE", "NOFILE")
    ]
    words += [f"torch={'torch' in sys.modules}", f"threads={os.environ['OMP_NUM_THREADS']}"]
    try:
        with open(folder / "written", "wb") as file:
            file.write(b"x")
            file.flush()
        words.append("written")
    except OSError as error:
        words.append(f"write: {error.strerror}")
    try:
        files = [open(path) for path in [__file__] * 100]
        words.append(f"opened {len(files)}")
    except OSError as error:
        words.append(f"open: {error.strerror}")
    return " ".join(words)


def __getattr__(name: str) -> None:
    if name == "needs_extra":
        from avrec.core.errors import require

        require("no_such_package", "decode")
    if name == "dies_at_start":
        os.write(2, b"cannot map libfoo\n")
        os._exit(4)
    raise AttributeError(name)
