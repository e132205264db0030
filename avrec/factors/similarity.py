"""Item-to-item similarities in blocks of rows, with an optional cut to the k largest of each row.

Ties at the cut go to the smaller item index. Similarities are computed in float64 and compared in float32, so that the order
in which a sum was taken does not decide between two that are equal on paper (but for the rare value at a rounding edge).
"""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
from scipy.sparse import csr_array, vstack

from avrec.core.arrays import Bool, Float32, Float64, Int64
from avrec.factors.matrix import Csr

Weights: TypeAlias = "csr_array[np.float32 | np.float64, tuple[int, int]]"
Rescale: TypeAlias = Callable[[Int64, Int64, Float64], Float64]

BLOCK_PRODUCTS = 2_000_000
BLOCK_SCORES = 8_000_000
_NO_ENTRIES = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))


def product_similarity(left: Weights, right: Weights, rescale: Rescale, num_neighbours: int | None) -> Csr:
    """The rescaled product of two sparse matrices without its diagonal: items against items.

    Memory beside the result: 60 to 100 bytes for each of the `BLOCK_PRODUCTS` multiplications of a block. The result takes 8
    bytes an entry, twice that while its blocks are joined: N k entries at most with k neighbours, and without a cut as many
    as there are pairs of items that share a user, which comes near N^2 on dense data.

    Args:
        left: (N, U) values of each item.
        right: (U, N) values of each user.
        rescale: `(row, column, product) -> similarity` of the non-zero entries; what is not positive is dropped.
        num_neighbours: how many entries a row keeps; all when None.

    Returns:
        (N, N) similarities, columns sorted.
    """

    def off_diagonal(row: Int64, column: Int64, product: Float64) -> Float64:
        return np.where(row == column, 0.0, rescale(row, column, product))

    return nearest_rows(left, right, off_diagonal, num_neighbours)


def nearest_rows(left: Weights, right: Weights, rescale: Rescale, num_neighbours: int | None) -> Csr:
    """The rescaled product of two sparse matrices, block by block of its rows, each row cut to its largest entries.

    Args:
        left: (B, K).
        right: (K, C).
        rescale: `(row, column, product) -> similarity` of the non-zero entries; what is not positive is dropped.
        num_neighbours: how many entries a row keeps; all when None.

    Returns:
        (B, C) similarities, columns sorted.
    """
    right_64 = right.astype(np.float64)
    blocks: list[Csr] = [_from_entries(*_NO_ENTRIES, (0, right.shape[1]))]
    for start, stop in _row_blocks(left, right):
        product = left[start:stop].astype(np.float64) @ right_64
        product.sort_indices()
        row = np.repeat(np.arange(start, stop), np.diff(product.indptr))
        column = product.indices.astype(np.int64)
        value = rescale(row, column, np.asarray(product.data, np.float64)).astype(np.float32)
        keep = value > 0
        block = _from_entries(row[keep] - start, column[keep], value[keep], (stop - start, right.shape[1]))
        blocks.append(block if num_neighbours is None else top_k_rows(block, num_neighbours))
    return vstack(blocks, format="csr")


def cosine_similarity(vectors: Float32, present: Bool, candidates: Bool, num_neighbours: int) -> Csr:
    """The k most similar candidates of every present item by positive cosine.

    Cosines are rounded to 6 decimals: a matrix product may differ in the last bit between equal rows, and reused sound
    tracks do give equal rows.

    Args:
        vectors: (N, F) of any length.
        present: (N,) items that have a vector; the others get an empty row and are nobody's neighbour.
        candidates: (N,) items that may be a neighbour.
        num_neighbours: entries a row keeps.
    """
    num_items = len(vectors)
    length = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    unit = (vectors / np.where(length > 0, length, 1.0)).astype(np.float32)
    columns = np.flatnonzero(candidates & present)
    targets = np.ascontiguousarray(unit[columns].T)
    block_rows = max(1, BLOCK_SCORES // max(1, len(columns)))
    blocks: list[Csr] = []
    for start in range(0, num_items, block_rows):
        stop = min(start + block_rows, num_items)
        cosine = np.round(unit[start:stop] @ targets, 6)
        cosine[~present[start:stop]] = 0.0
        cosine[np.arange(start, stop)[:, None] == columns[None, :]] = 0.0
        row, position = np.nonzero(_largest(cosine, num_neighbours))
        blocks.append(_from_entries(row, columns[position], cosine[row, position], (stop - start, num_items)))
    return vstack(blocks, format="csr")


def top_k_rows(matrix: Csr, k: int) -> Csr:
    """The k largest entries of each row; of equal ones those with the smaller column. All values must be positive."""
    counts = np.diff(matrix.indptr)
    if not len(counts) or counts.max() <= k:
        return matrix
    row = np.repeat(np.arange(len(counts)), counts)
    # Positive floats order like their bits, so one sort of (row, falling value) finds every row's k-th value.
    key = (row.astype(np.uint64) << np.uint64(32)) | (np.uint64(2**32 - 1) - matrix.data.view(np.uint32))
    kept = np.minimum(counts, k)
    last = np.minimum(matrix.indptr[:-1] + np.maximum(kept, 1) - 1, len(key) - 1)
    threshold = np.repeat(np.sort(key)[last], counts)
    above, tied = key < threshold, key == threshold
    room = kept - np.bincount(row[above], minlength=len(counts))
    num_tied = np.concatenate([[0], np.cumsum(tied)])
    among_tied = num_tied[1:] - np.repeat(num_tied[matrix.indptr[:-1]], counts)
    keep = above | (tied & (among_tied <= np.repeat(room, counts)))
    return _from_entries(row[keep], matrix.indices[keep].astype(np.int64), matrix.data[keep], matrix.shape)


def _largest(scores: Float32, k: int) -> Bool:
    """Where the k largest positive scores of each row stand; of equal ones the leftmost."""
    positive = np.asarray(scores > 0)
    if scores.shape[1] <= k:
        return positive
    threshold = np.partition(scores, -k, axis=1)[:, -k, None]
    above = scores > threshold
    tied = scores == threshold
    room = k - above.sum(axis=1, keepdims=True)
    return np.asarray((above | (tied & (np.cumsum(tied, axis=1) <= room))) & positive)


def _row_blocks(left: Weights, right: Weights) -> Iterator[tuple[int, int]]:
    """Consecutive rows whose product needs at most `BLOCK_PRODUCTS` multiplications (one row may need more)."""
    user_counts = np.diff(right.indptr).astype(np.int64)
    per_entry = np.concatenate([[0], np.cumsum(user_counts[left.indices])])
    done = per_entry[left.indptr[1:]]
    start = 0
    while start < left.shape[0]:
        before = done[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(done, before + BLOCK_PRODUCTS, side="right")))
        yield start, stop
        start = stop


def _from_entries(row: Int64, column: Int64, value: Float32, shape: tuple[int, int]) -> Csr:
    """A matrix of entries that come row by row with sorted columns; 32-bit indices where they suffice, half the memory."""
    value = value.astype(np.float32)
    indptr = np.zeros(shape[0] + 1, np.int64)
    np.cumsum(np.bincount(row, minlength=shape[0]), out=indptr[1:])
    if max(len(value), shape[1]) < 2**31:
        return csr_array((value, column.astype(np.int32), indptr.astype(np.int32)), shape=shape)
    return csr_array((value, column, indptr), shape=shape)
