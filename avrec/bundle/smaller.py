"""`smaller.json`: what each smaller item tower costs, as the export measured it on validation."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from avrec.bundle.parts import SMALLER_REPORT
from avrec.bundle.reader import Bundle
from avrec.core.errors import ArtefactError
from avrec.core.files import read_json

NUMBERS = ("recall@20", "recall_loss", "centred_cosine", "bytes", "cpu_ms")


def check_report(bundle: Bundle, kinds: Sequence[str]) -> None:
    """Check that the report holds every smaller tower of the bundle, each within the bound that it states.

    Args:
        bundle: an opened one.
        kinds: of the smaller towers that the bundle has.

    Raises:
        ArtefactError: a number is missing, or a tower loses more than the bound.
    """
    path = bundle.folder / SMALLER_REPORT
    value = read_json(path)
    bound = value.get("max_recall_loss") if isinstance(value, dict) else None
    towers = value.get("towers") if isinstance(value, dict) else None
    if not _is_number(bound) or not isinstance(towers, Mapping) or towers.keys() != set(kinds):
        raise ArtefactError(f"{path}: expected a bound and the costs of {sorted(kinds)}. Export the bundle again.")
    for kind, costs in towers.items():
        if not isinstance(costs, Mapping) or not all(_is_number(costs.get(name)) for name in NUMBERS):
            raise ArtefactError(f"{path}: '{kind}' lacks one of {list(NUMBERS)}. Export the bundle again.")
        if costs["recall_loss"] > bound:
            raise ArtefactError(
                f"{path}: {kind} loses {costs['recall_loss']} of Recall@20; at most {bound} is accepted. Export without it."
            )


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
