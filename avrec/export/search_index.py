"""The bundle's index: chosen by measuring on the vectors of its own users.

Axes: Q queries, D width of the vectors.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from avrec.bundle.parts import INDEX_FOLDER, RECALL_REPORT
from avrec.bundle.recommender import Recommender
from avrec.bundle.search_index import measured_recall, recall_sample
from avrec.core.files import write_json
from avrec.core.query import UserQuery
from avrec.export.sample import spread
from avrec.retrieval.choose import Kind, choose_index
from avrec.retrieval.index import ExactIndex
from avrec.retrieval.ivf import IVFIndex
from avrec.retrieval.storage import save_index

IndexKind = Literal["auto", "exact", "ivf"]
MAX_QUERIES = 3_000  # `choose_index` learns and measures on no more than half of them
MIN_QUERIES = 3
_KINDS: dict[IndexKind, Kind] = {"auto": "auto", "exact": "exact", "ivf": "approximate"}


def write_index(recommender: Recommender, folder: Path, kind: IndexKind) -> dict[str, Any]:
    """Choose an index on real users' vectors, write it below `folder` with `recall_report.json`, and return the report.

    Args:
        recommender: of the bundle, so far without an index.
        folder: of the bundle.
        kind: `auto` measures; the others are taken whatever they cost.

    Raises:
        AvrecError: `ivf` with fewer than 3 users.
        MissingExtraError: `ivf` without the extra `index`.
    """
    bundle, exact = recommender.bundle, recommender.index
    users = spread(len(bundle.users), MAX_QUERIES)
    index: ExactIndex | IVFIndex
    if kind != "ivf" and len(users) < MIN_QUERIES:
        index = ExactIndex(bundle.item_vectors, exact.tie_order)
        choice: dict[str, Any] = {"kind": "exact", "reason": f"fewer than {MIN_QUERIES} users to measure with"}
    else:
        queries_QD = recommender.user_vectors(UserQuery.of_users(users, bundle.history))
        vectors = np.asarray(bundle.item_vectors)
        index, choice = choose_index(vectors, queries_QD, exact.tie_order, _KINDS[kind])
    (folder / INDEX_FOLDER).mkdir()
    save_index(folder / INDEX_FOLDER, index, {"reason": choice["reason"]})
    sample = recall_sample(bundle)
    report = {
        "format_version": 1,
        "kind": choice["kind"],
        "reason": choice["reason"],
        "recall": measured_recall(index, bundle.item_vectors, recommender.user_vectors(sample)),
        "num_users": len(sample),
        "choice": choice,
    }
    write_json(folder / RECALL_REPORT, report)
    return report
