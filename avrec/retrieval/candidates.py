"""The best k of some candidates for each query, in the fixed order of ties.

Axes: B queries, C candidates of each.
"""

import numpy as np

from avrec.core.arrays import Float32, Int64


def best_candidates(
    item_idx_BC: Int64, scores_BC: Float32, k: int, tie_order: Int64 | None = None
) -> tuple[Int64, Float32]:
    """The k best distinct candidates of each query, best first.

    Args:
        item_idx_BC: candidates, distinct within a row; -1 for none.
        scores_BC: -inf where there is no candidate or it is not to be shown.
        k: length of the lists.
        tie_order: (N,) distinct numbers; of equal scores the smaller one comes first. The item's index when None.

    Returns:
        item_idx (B, k) and scores (B, k), -1 and -inf where a row has fewer than k candidates to show.
    """
    num_rows, width = scores_BC.shape
    kept = min(k, width)
    order = np.argsort(-scores_BC, axis=1, kind="stable")
    scores = np.take_along_axis(scores_BC, order, axis=1)
    item_idx = np.take_along_axis(item_idx_BC, order, axis=1)
    # Few rows hold a tie, so only those are sorted again by both keys.
    tied = (scores[:, 1:] == scores[:, :-1]) & (scores[:, 1:] > -np.inf)
    rows = np.flatnonzero(tied[:, :kept].any(axis=1))
    if len(rows):
        ties = item_idx[rows] if tie_order is None else tie_order[item_idx[rows]]
        again = np.lexsort((ties, -scores[rows]), axis=1)
        item_idx[rows] = np.take_along_axis(item_idx[rows], again, axis=1)
    best_idx = np.full((num_rows, k), -1, np.int64)
    best = np.full((num_rows, k), -np.inf, np.float32)
    best[:, :kept] = scores[:, :kept]
    best_idx[:, :kept] = np.where(np.isneginf(scores[:, :kept]), -1, item_idx[:, :kept])
    return best_idx, best
