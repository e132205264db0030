"""The search index of a bundle: reading it, and how much of the exact lists it finds.

Axes: N items, Q queries, D width of the vectors.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from avrec.bundle.parts import INDEX_CELLS, INDEX_FOLDER, RECALL_REPORT, SEARCH_INDEX
from avrec.bundle.reader import Bundle
from avrec.core.arrays import Float32, Int64
from avrec.core.errors import ArtefactError
from avrec.core.files import read_json
from avrec.core.query import UserQuery
from avrec.retrieval.choose import recall
from avrec.retrieval.index import ExactIndex, Index
from avrec.retrieval.storage import load_index

RECALL_LENGTHS = (10, 20, 100)
RECALL_USERS = 256
ALLOWANCE = 0.005  # another machine rounds otherwise, which moves an item between two cells


def open_index(bundle: Bundle, tie_order: Int64) -> Index:
    """The index that the export chose; exact search where it wrote none.

    Args:
        bundle: an opened one.
        tie_order: (N,) of its items.

    Raises:
        ArtefactError: the index does not fit the tables, or needs files that the manifest does not list.
        MissingExtraError: it is approximate and the extra `index` is not installed.
    """
    if SEARCH_INDEX not in bundle.manifest.files:
        return ExactIndex(bundle.item_vectors, tie_order)
    path = bundle.folder / SEARCH_INDEX
    plain = read_json(path)
    kind = plain.get("kind") if isinstance(plain, dict) else None
    if kind != "exact" and INDEX_CELLS[0] not in bundle.manifest.files:
        raise ArtefactError(
            f"{path}: kind {kind!r} needs files that the manifest does not list. Export the bundle again."
        )
    return load_index(bundle.folder / INDEX_FOLDER, bundle.item_vectors, tie_order)[0]


def recall_sample(bundle: Bundle) -> UserQuery:
    """The users on whom recall is stated and measured again: at most 256, evenly over all."""
    num_users = len(bundle.users)
    users = np.unique(np.linspace(0, num_users - 1, min(RECALL_USERS, num_users)).astype(np.int64))
    return UserQuery.of_users(users, bundle.history)


def measured_recall(index: Index, item_vectors: Float32, queries_QD: Float32) -> dict[str, float]:
    """Mean share of the exact 10, 20 and 100 best items that the index finds, nothing left out."""
    exact = ExactIndex(item_vectors, index.tie_order)
    found = {}
    for length in RECALL_LENGTHS:
        kept = min(length, index.num_items)
        lists = [which.search(queries_QD, kept)[0] for which in (index, exact)]
        found[f"recall@{length}"] = round(recall(*lists), 5)
    return found


def check_recall(bundle: Bundle, index: Index, queries_QD: Float32) -> None:
    """Measure the index again on the users of `recall_sample`.

    Args:
        bundle: an opened one.
        index: its index.
        queries_QD: vectors of `recall_sample`.

    Raises:
        ArtefactError: it finds less than `recall_report.json` states, or the report does not say.
    """
    path = bundle.folder / RECALL_REPORT
    report = read_json(path)
    stated = report.get("recall") if isinstance(report, dict) else None
    for name, found in measured_recall(index, bundle.item_vectors, queries_QD).items():
        promised: Any = stated.get(name) if isinstance(stated, Mapping) else None
        if type(promised) not in (int, float) or not 0 <= promised <= 1:
            raise ArtefactError(
                f"{path}: '{name}' is {promised!r}; expected a number from 0 to 1. Export the bundle again."
            )
        if found < promised - ALLOWANCE:
            raise ArtefactError(
                f"{bundle.folder / SEARCH_INDEX}: {name} is {found} on the users of the report; {RECALL_REPORT} states "
                f"{promised}. Export the bundle again."
            )
