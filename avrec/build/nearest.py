"""The nearest valid name for one that does not exist."""

import difflib
from collections.abc import Iterable

MAX_LISTED = 24


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that is most like `name`, or None when none is alike."""
    return next(iter(difflib.get_close_matches(name, sorted(names), n=1, cutoff=0.6)), None)


def hint(name: str, names: Iterable[str]) -> str:
    """`did you mean 'seed'?`, or what there is when nothing is alike.

    >>> hint("sed", ["seed", "data"])
    "did you mean 'seed'?"
    >>> hint("zzz", ["seed", "data"])
    'there are: data, seed.'
    """
    names = sorted(names)
    close = nearest(name, names)
    if close:
        return f"did you mean '{close}'?"
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return f"there are: {', '.join(names[:MAX_LISTED])}{more}." if names else "there is none."
