"""What each query is not shown, as rows of one flat list: (indptr (B + 1,), item_idx (E,))."""

import numpy as np

from avrec.core.arrays import Bool, Int64

Seen = tuple[Int64, Int64]


def seen_of_rows(seen: Seen, rows: Int64) -> Seen:
    """The lists of some queries, in the order of `rows`."""
    indptr, item_idx = seen
    start, length = indptr[rows], indptr[rows + 1] - indptr[rows]
    ends = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
    places = np.repeat(start - ends[:-1], length) + np.arange(ends[-1])
    return ends, item_idx[places]


def seen_among(seen: Seen, columns: Int64) -> Seen:
    """The lists with each item replaced by its place in `columns` (rising); other items are left out."""
    indptr, item_idx = seen
    place = np.searchsorted(columns, item_idx)
    found = columns.take(place, mode="clip") == item_idx if len(columns) else np.zeros(len(item_idx), np.bool_)
    before = np.concatenate([[0], np.cumsum(found)]).astype(np.int64)
    return before[indptr], place[found]


def is_seen(seen: Seen, candidates_BC: Int64) -> Bool:
    """(B, C) true where candidate c of query b is in its list."""
    indptr, item_idx = seen
    row = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    width = max(int(item_idx.max(initial=0)), int(candidates_BC.max(initial=0))) + 1
    keys = np.sort(row * width + item_idx)
    wanted = np.arange(len(candidates_BC))[:, None] * width + candidates_BC
    found: Bool = keys.take(np.searchsorted(keys, wanted), mode="clip") == wanted if len(keys) else wanted < 0
    return found & (candidates_BC >= 0)
