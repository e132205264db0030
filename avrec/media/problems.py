"""What can be wrong with one media file: a class to count by, and a reason to act on."""

from typing import Literal, get_args

from avrec.core.errors import DataError

ProblemKind = Literal[
    "missing",
    "forbidden",
    "unreadable",
    "no_stream",
    "too_large",
    "truncated",
    "silent",
    "non_finite",
    "too_short",
    "crashed",
    "timed_out",
    "out_of_memory",
]
PROBLEM_KINDS: tuple[ProblemKind, ...] = get_args(ProblemKind)


class MediaError(DataError):
    """One sound or one moving picture cannot be used; the others go on.

    Attributes:
        kind: the class that the report counts by.
    """

    def __init__(self, kind: ProblemKind, reason: str) -> None:
        assert kind in PROBLEM_KINDS, kind
        self.kind: ProblemKind = kind
        super().__init__([reason])
