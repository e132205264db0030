"""Profiles of tags: what a user's history is about.

Axes: U users, N items, T tags.
"""

import numpy as np

from avrec.core.arrays import Int64
from avrec.core.interactions import Interactions
from avrec.core.sparse import SparseRows
from avrec.retrieval.told import empty, stacked

BLOCK_USERS = 4096


def tag_profiles(history: Interactions, item_tags: SparseRows) -> SparseRows:
    """(U, T) the share that each tag has of a user's history; a row adds up to 1, or is empty.

    An event gives each tag of its item `log(1 + w_t) / sum_s log(1 + w_s)`, w being how many people gave the tag; events
    without tags say nothing.

    Args:
        history: whose items.
        item_tags: (N, T).
    """
    shares = item_tags.weight.astype(np.float64)
    np.log1p(shares, out=shares)
    per_item = np.bincount(item_tags.row, shares, minlength=item_tags.num_rows)
    of_item = SparseRows(
        item_tags.num_rows,
        item_tags.num_columns,
        item_tags.indptr,
        item_tags.column,
        (shares / np.maximum(per_item, 1e-12)[item_tags.row]).astype(np.float32),
    )
    blocks = [
        _profiles(history, of_item, np.arange(start, min(start + BLOCK_USERS, history.num_users)))
        for start in range(0, history.num_users, BLOCK_USERS)
    ]
    return stacked(blocks) if blocks else empty(0, item_tags.num_columns)


def _profiles(history: Interactions, of_item: SparseRows, users: Int64) -> SparseRows:
    """The rows of some users, each divided by its sum."""
    indptr, positions = history.positions(users)
    tags = of_item.taken(history.item_idx[positions])
    user = np.repeat(np.arange(len(users)), np.diff(indptr))[tags.row]
    found = SparseRows.from_entries(user, tags.column, len(users), of_item.num_columns, tags.weight)
    total = np.bincount(found.row, found.weight, minlength=len(users))
    weight = (found.weight / total[found.row]).astype(np.float32)
    return SparseRows(found.num_rows, found.num_columns, found.indptr, found.column, weight)
