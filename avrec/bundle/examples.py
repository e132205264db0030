"""Example requests with the answers that the bundle gave when it was made; `verify` asks them again.

A request is the body of the server's `POST /recommend`: `{"user": id, "k": k}` or `{"history": [item id, ...], "k": k}`. A
response holds what of the server's answer the bundle alone decides.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from avrec.bundle.parts import REQUESTS, RESPONSES
from avrec.bundle.reader import Bundle
from avrec.core.errors import ArtefactError
from avrec.core.files import read_json

MAX_EXAMPLES = 100
MAX_K = 1_000
TOLERANCE = 1e-4  # of the largest |score| of a list: another machine adds up in another order


class Listed(Protocol):
    """One list; `avrec.bundle.recommender.Recommendation` is one."""

    @property
    def how(self) -> str:
        """From what it was made."""

    @property
    def item_ids(self) -> tuple[str, ...]:
        """Best first."""

    @property
    def scores(self) -> tuple[float, ...]:
        """Of each item."""


class Lister(Protocol):
    """What answers; `avrec.bundle.recommender.Recommender` does."""

    def for_users(self, user_ids: Sequence[str], k: int) -> Sequence[Listed]:
        """Lists for known users."""

    def for_histories(self, histories: Sequence[Sequence[str]], k: int) -> Sequence[Listed]:
        """Lists for strangers with a history."""


def ask(lister: Lister, request: Mapping[str, Any]) -> dict[str, Any]:
    """The response to one request."""
    if "user" in request:
        answer = lister.for_users([request["user"]], request["k"])[0]
    else:
        answer = lister.for_histories([request["history"]], request["k"])[0]
    items = [{"item": item, "score": score} for item, score in zip(answer.item_ids, answer.scores, strict=True)]
    return {"items": items, "answered_by": answer.how}


def replay(bundle: Bundle, lister: Lister) -> int:
    """Ask the examples again, and return how many there are.

    Raises:
        ArtefactError: they are not what `ask` takes and gives, or an answer is another one.
    """
    paths = [bundle.folder / name for name in (REQUESTS, RESPONSES)]
    requests, responses = map(read_json, paths)
    if not (isinstance(requests, list) and isinstance(responses, list) and len(requests) == len(responses)):
        raise ArtefactError(f"{paths[1]}: not one response for each request of {REQUESTS}. Export the bundle again.")
    if len(requests) > MAX_EXAMPLES or not all(map(_is_request, requests)):
        raise ArtefactError(
            f"{paths[0]}: expected at most {MAX_EXAMPLES} requests, each a user's id or a list of item ids, and k from 1 to "
            f"{MAX_K}. Export the bundle again."
        )
    for number, (request, expected) in enumerate(zip(requests, responses, strict=True)):
        found = ask(lister, request)
        if not _is_equal(expected, found):
            raise ArtefactError(
                f"{paths[1]}: response {number} is not what this bundle answers to {request}. Export the bundle again."
            )
    return len(requests)


def _is_request(request: Any) -> bool:
    if not isinstance(request, dict) or type(request.get("k")) is not int or not 1 <= request["k"] <= MAX_K:
        return False
    if request.keys() == {"user", "k"}:
        return isinstance(request["user"], str)
    history = request.get("history")
    is_list = isinstance(history, list) and all(isinstance(item, str) for item in history)
    return request.keys() == {"history", "k"} and is_list


def _is_equal(expected: Any, found: dict[str, Any]) -> bool:
    """Whether two lists are equal up to rounding: at each place the same item, or one with the same score."""
    try:
        if expected["answered_by"] != found["answered_by"]:
            return False
        sides = [
            ([str(row["item"]) for row in side["items"]], np.array([float(row["score"]) for row in side["items"]]))
            for side in (expected, found)
        ]
    except (TypeError, KeyError, ValueError):
        return False
    (items, scores), (found_items, found_scores) = sides
    if len(scores) != len(found_scores) or len(set(items)) != len(items):
        return False
    margin = TOLERANCE * max(1.0, float(np.abs(found_scores).max(initial=0)))
    if not (np.abs(scores - found_scores) <= margin).all():
        return False
    score_of = dict(zip(found_items, found_scores.tolist(), strict=True))
    last = found_scores[-1] if len(found_scores) else 0.0  # an item that is not listed may tie with the last one
    return all(abs(score_of.get(item, last) - score) <= margin for item, score in zip(items, scores, strict=True))
