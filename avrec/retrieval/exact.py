"""Exact search: the k items with the largest scores, with filters and a fixed order among ties, in bounded memory."""

import numpy as np

from avrec.core.arrays import Bool, Float32, Int64, UInt64
from avrec.core.errors import AvrecError

# The catalogue is folded again and again into maxima of GROUP columns. The k largest scores lie under the k largest
# maxima, so a search that starts at the smallest fold and descends looks at some hundred scores, not at all of them.
GROUP = 4


def top_k(
    user_vectors: Float32,
    item_vectors: Float32,
    k: int,
    seen: tuple[Int64, Int64] | None = None,
    allowed: Bool | None = None,
    tie_order: Int64 | None = None,
    block_bytes: int = 64 * 2**20,
) -> tuple[Int64, Float32]:
    """The k items with the largest inner product for each of B users, best first.

    Args:
        user_vectors: (B, D).
        item_vectors: (N, D).
        k: length of the lists.
        seen: (indptr (B + 1,), item_idx (E,)): items that user b is not shown, `item_idx[indptr[b]:indptr[b + 1]]`.
        allowed: (N,) true for the items that anybody may be shown; all when None.
        tie_order: (N,) distinct numbers; of items with equal scores the smaller comes first. The index when None.
        block_bytes: memory for one block of scores with its working copies.

    Returns:
        item_idx (B, k) and scores (B, k); where fewer than k items remain the rest is -1 and -inf.

    Raises:
        AvrecError: k is below 1 or a score is not finite.
    """
    if k < 1:
        raise AvrecError(f"k is {k}; expected at least 1.")
    columns, hidden = _columns(len(user_vectors), len(item_vectors), allowed)
    item_idx = np.full((len(user_vectors), k), -1, np.int64)
    scores = np.full((len(user_vectors), k), -np.inf, np.float32)
    if len(columns) == 0:
        return item_idx, scores
    if len(columns) < len(item_vectors):
        item_vectors = item_vectors[columns]
        tie_order = None if tie_order is None else tie_order[columns]
    # A view: BLAS reads it as it is, and for 1 to 512 users a transposed copy was measured to take longer than it saves.
    table = np.asarray(item_vectors, np.float32).T
    step = max(1, block_bytes // (8 * len(columns)))
    for start in range(0, len(user_vectors), step):
        block = np.asarray(user_vectors[start : start + step], np.float32) @ table
        block[:, hidden] = 0.0  # whatever the vectors of hidden items hold
        _refuse_non_finite(block, start, columns)
        block[:, hidden] = -np.inf
        if seen is not None:
            _hide(block, seen, start, columns)
        positions, scores[start : start + step] = top_of_scores(block, k, tie_order)
        item_idx[start : start + step] = np.where(positions < 0, -1, columns[positions])
    return item_idx, scores


def _columns(num_users: int, num_items: int, allowed: Bool | None) -> tuple[Int64, Int64]:
    """Items to score, and those of them to hide: copying the allowed rows pays when many users share them or few are allowed.

    A row that is copied costs as much as its scores for some 20 users, a row that is only read a third of that.
    """
    everything, nothing = np.arange(num_items), np.empty(0, np.int64)
    if allowed is None:
        return everything, nothing
    columns = np.flatnonzero(allowed)
    if len(columns) * (30 + num_users) > num_items * (10 + num_users):
        return everything, np.flatnonzero(~allowed)
    return columns, nothing


def _refuse_non_finite(block: Float32, start: int, columns: Int64) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(block.sum()):  # a sum that is finite had only finite terms
            return
    bad = np.argwhere(~np.isfinite(block))
    if len(bad):
        row, column = bad[0]
        raise AvrecError(
            f"top_k: the score of user_vectors row {start + row} for item {columns[column]} is {block[row, column]}; "
            f"expected a finite number ({len(bad)} such scores in this block). Check both vectors for NaN and infinity."
        )


def _hide(block: Float32, seen: tuple[Int64, Int64], start: int, columns: Int64) -> None:
    indptr, item_idx = seen
    ends = indptr[start : start + len(block) + 1]
    rows = np.repeat(np.arange(len(block)), np.diff(ends))
    hidden = item_idx[ends[0] : ends[-1]]
    position = np.searchsorted(columns, hidden)
    found = columns.take(position, mode="clip") == hidden
    block[rows[found], position[found]] = -np.inf


def top_of_scores(scores: Float32, k: int, tie_order: Int64 | None = None) -> tuple[Int64, Float32]:
    """The k largest scores of each row, best first, exactly; a score of -inf means that the column is not to be shown.

    Args:
        scores: (B, N) float32 without NaN or +inf.
        k: length of the lists.
        tie_order: (N,) distinct numbers; of equal scores the column with the smaller one comes first. The index when None.

    Returns:
        columns (B, k) and scores (B, k), -1 and -inf where a row has fewer than k columns to show.
    """
    scores = np.ascontiguousarray(scores, np.float32)
    num_rows, num_columns = scores.shape
    kept = min(k, num_columns)
    columns = np.full((num_rows, k), -1, np.int64)
    values = np.full((num_rows, k), -np.inf, np.float32)
    if num_rows == 0 or kept == 0:
        return columns, values
    order = np.arange(num_columns) if tie_order is None else tie_order
    folds = _folds(scores, kept)
    place = folds[-1].shape[1] - kept
    bound = np.partition(folds[-1], place, axis=1)[:, place]  # at least `kept` scores of the row reach it
    hopeful = folds[-1] >= bound[:, None]
    crowded = np.count_nonzero(hopeful, axis=1) > 2 * kept + 32  # thousands of columns may tie at the last place
    hopeful[crowded] = False
    easy = np.flatnonzero(~crowded)
    if len(easy):
        columns[easy, :kept], values[easy, :kept] = _descend(folds, hopeful, bound, easy, kept, order)
    if crowded.any():
        by_tie = np.argsort(order)
        for row in np.flatnonzero(crowded):
            columns[row, :kept] = best = _best_of_row(scores[row], kept, by_tie)
            values[row, :kept] = scores[row, best]
    columns[np.isneginf(values)] = -1
    return columns, values


def _folds(scores: Float32, kept: int) -> list[Float32]:
    """The scores and their maxima over groups of 4, 16, 64 ... columns, as long as some times `kept` groups remain.

    Group j of a fold into g groups holds the columns j, j + g, j + 2g, ... of the finer one: numpy reduces in long strides.
    """
    folds = [scores]
    while folds[-1].shape[1] >= 4 * GROUP * kept:
        fine = folds[-1]
        groups = -(-fine.shape[1] // GROUP)
        whole = fine.shape[1] // groups
        maxima = fine[:, : whole * groups].reshape(len(fine), whole, groups).max(axis=1)
        rest = fine.shape[1] - whole * groups
        np.maximum(maxima[:, :rest], fine[:, whole * groups :], out=maxima[:, :rest])
        folds.append(maxima)
    return folds


def _descend(
    folds: list[Float32], hopeful: Bool, bound: Float32, rows: Int64, kept: int, order: Int64
) -> tuple[Int64, Float32]:
    """Columns and scores (len(rows), kept) of the rows whose hopeful groups (B, groups) are few."""
    row, column = np.divmod(np.flatnonzero(hopeful), hopeful.shape[1])
    value = folds[-1][row, column]
    for fine, coarse in zip(folds[-2::-1], folds[:0:-1], strict=True):
        width, groups = fine.shape[1], coarse.shape[1]
        members = np.arange(0, width, groups)
        found = fine.ravel().take((row * width + column)[:, None] + members, mode="clip")
        parent, member = np.divmod(np.flatnonzero(found >= bound[row, None]), len(members))
        child = column[parent] + members[member]
        inside = child < width  # the last members of the last groups would lie in the next row
        row, column, value = row[parent][inside], child[inside], found[parent, member][inside]
    key = _descending_key(row, value)
    place = np.argsort(key)
    ordered = key[place]
    if (ordered[1:] == ordered[:-1]).any():
        place = np.lexsort((order[column], key))
    best = place[np.searchsorted(row, rows)[:, None] + np.arange(kept)]
    return column[best], value[best]


def _descending_key(row: Int64, value: Float32) -> UInt64:
    """Numbers that sort by row, then by falling value: float bits, made monotone and flipped, below the row's number."""
    bits = (value + np.float32(0.0)).view(np.uint32)  # -0.0 + 0.0 is 0.0: the two zeros tie
    rising = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return (row.astype(np.uint64) << np.uint64(32)) | (~rising).astype(np.uint64)


def _best_of_row(scores: Float32, kept: int, by_tie: Int64) -> Int64:
    """(kept,) columns of one row in which many columns tie at the last place."""
    ordered = scores[by_tie]
    last = np.partition(ordered, len(ordered) - kept)[len(ordered) - kept]
    above = np.flatnonzero(ordered > last)
    level = np.flatnonzero(ordered == last)[: kept - len(above)]
    places = np.concatenate([above, level])
    best: Int64 = by_tie[places[np.argsort(-ordered[places], kind="stable")]]
    return best
