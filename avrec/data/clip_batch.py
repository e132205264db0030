"""Decoded clips on their way into a record cache."""

import contextlib
import json
import time
from dataclasses import asdict

import numpy as np

from avrec.core.clips import Clips
from avrec.data.media_errors import NOTE
from avrec.data.record_cache import RecordCache
from avrec.media.isolation import Outcome
from avrec.media.limits import Limits
from avrec.media.problems import MediaError

PART_BYTES = 32 * 2**20
PART_RECORDS = 256
PART_SEC = 10.0


class ClipBatch(contextlib.AbstractContextManager["ClipBatch"]):
    """Outcomes on their way to the cache, stored in parts of some size or age, and at the end whatever ends it."""

    def __init__(self, cache: RecordCache, limits: Limits) -> None:
        self._cache = cache
        self._limits = asdict(limits)
        self._stored: list[tuple[str, Clips]] = []
        self._failed: list[tuple[str, str]] = []
        self._since = time.monotonic()

    def add(self, name: str, outcome: Clips | MediaError) -> tuple[str, str] | None:
        """Take one outcome; the class and text of what is to be told about it."""
        problem = None
        if isinstance(outcome, Clips):
            self._stored.append((name, outcome))
            problem = (NOTE, plain("; ".join(outcome.notes))) if outcome.notes else None
        else:
            problem = (outcome.kind, str(outcome))
            about = {"class": outcome.kind, "reason": str(outcome), "limits": self._limits}
            self._failed.append((name, json.dumps(about)))
        held = len(self._stored)
        full = held and (held >= PART_RECORDS or held * self._stored[0][1].values.nbytes >= PART_BYTES)
        if full or time.monotonic() - self._since > PART_SEC:
            self._store()
        return problem

    def __exit__(self, *error: object) -> None:
        self._store()

    def _store(self) -> None:
        stored, failed, self._stored, self._failed = self._stored, self._failed, [], []
        if stored:
            notes = [plain("; ".join(clips.notes)) or None for _, clips in stored]
            values = np.stack([clips.values for _, clips in stored])
            self._cache.append(
                [name for name, _ in stored], values, np.stack([clips.valid for _, clips in stored]), notes
            )
        self._cache.append_absent([name for name, _ in failed], [reason for _, reason in failed])
        self._since = time.monotonic()


def plain(text: str) -> str:
    """Text that UTF-8 can hold; the name of a file need not be."""
    return text.encode("utf-8", "backslashreplace").decode()


def storable(outcome: Outcome, path: str) -> Clips | MediaError:
    """Clips as they are stored, or why there are none: sound becomes half precision, which ends at 65,504."""
    if outcome.clips is None:
        assert outcome.problem is not None
        return outcome.problem
    clips = outcome.clips
    if clips.values.dtype == np.uint8:
        return clips
    with np.errstate(over="ignore"):
        half = clips.values.astype(np.float16)
    if np.isfinite(half).all():
        return Clips(half, clips.valid, clips.notes)
    peak = float(np.abs(clips.values).max())
    return MediaError("non_finite", f"{path!r}: a sample is {peak:.3g}; expected about -1 to 1. Write the file again.")
