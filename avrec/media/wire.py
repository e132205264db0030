"""What a decoding child and its parent say to each other: JSON, and arrays as bytes of a shape known beforehand.

A job is a line of JSON. An answer is the length of its header (4 bytes), the header (JSON), and for clips their raw values.
Nothing is unpickled: a child that a hostile file has taken over can give wrong numbers for that file, and no more.
"""

import json
import struct
from dataclasses import asdict
from typing import Any

import numpy as np

from avrec.core.clips import AudioSpec, Clips, VideoSpec
from avrec.media.problems import PROBLEM_KINDS, MediaError

Spec = AudioSpec | VideoSpec
PREFIX = struct.Struct("<I")
MAX_HEADER_BYTES = 64 * 1024
MAX_REASON_CHARACTERS = 2000
MAX_NOTES = 20


class WireError(Exception):
    """The bytes of a child are no answer to what it was asked."""


def dtype_of(spec: Spec) -> np.dtype[Any]:
    """Of `Clips.values`: float32 sound or uint8 pictures."""
    return np.dtype(np.float32 if isinstance(spec, AudioSpec) else np.uint8)


def job_line(number: int, path: str, spec: Spec) -> bytes:
    """One job; `path` may hold surrogate escapes."""
    kind = "audio" if isinstance(spec, AudioSpec) else "video"
    return json.dumps({"number": number, "path": path, "kind": kind, "spec": asdict(spec)}).encode() + b"\n"


def read_job(line: bytes) -> tuple[int, str, Spec]:
    """The parent's line, in the child."""
    job = json.loads(line)
    spec: Spec = AudioSpec(**job["spec"]) if job["kind"] == "audio" else VideoSpec(**job["spec"])
    return job["number"], job["path"], spec


def framed(header: dict[str, Any]) -> bytes:
    """A header with its length before it."""
    text = json.dumps(header).encode()
    return PREFIX.pack(len(text)) + text


def clips_header(number: int, clips: Clips) -> bytes:
    """The header before the raw values of `clips`."""
    notes = [note[:MAX_REASON_CHARACTERS] for note in clips.notes[:MAX_NOTES]]
    valid = [float(share) for share in clips.valid]
    shape, dtype = list(clips.values.shape), clips.values.dtype.str
    return framed({"number": number, "shape": shape, "dtype": dtype, "valid": valid, "notes": notes})


def problem_header(number: int, problem: MediaError) -> bytes:
    """The header that is a whole answer: why there are no clips."""
    return framed({"number": number, "problem": problem.kind, "reason": str(problem)[:MAX_REASON_CHARACTERS]})


def header_bytes(prefix: bytes) -> int:
    """Bytes of the header that `prefix` announces.

    Raises:
        WireError: nobody writes headers of that length.
    """
    (size,) = PREFIX.unpack(prefix)
    if not 2 <= size <= MAX_HEADER_BYTES:
        raise WireError(f"a header of {size} bytes")
    return int(size)


def read_header(text: bytes, number: int, spec: Spec) -> MediaError | tuple[np.ndarray, tuple[str, ...]]:
    """A problem, or (`valid`, notes) of clips whose values follow, after everything that was claimed has been checked.

    Raises:
        WireError: the header is not one, or not one for job `number` and `spec`.
    """
    try:
        header = json.loads(text)
        if header["number"] != number:
            raise WireError(f"an answer to job {header['number']!r}, not {number}")
        if "problem" in header:
            return _problem(header["problem"], header["reason"])
        claimed, expected = (header["shape"], header["dtype"]), (list(spec.shape), dtype_of(spec).str)
        if claimed != expected:
            raise WireError(f"values of {claimed} where {expected} were asked for")
        valid = np.array(header["valid"], np.float32)
        if valid.shape != (spec.num_clips,) or not ((valid > 0) & (valid <= 1)).all():
            raise WireError(f"shares {header['valid']!r} for {spec.num_clips} clips")
        return valid, tuple(str(note) for note in header["notes"])
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise WireError(f"a header that is none ({type(error).__name__})") from None


def _problem(kind: object, reason: object) -> MediaError:
    if kind not in PROBLEM_KINDS or not isinstance(reason, str):
        raise WireError(f"a problem of kind {kind!r}")
    return MediaError(kind, reason)
