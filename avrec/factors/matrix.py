"""Interactions and queries as scipy matrices: the one place where events become rows of a sparse matrix."""

from typing import TypeAlias

import numpy as np
from scipy.sparse import csr_array

from avrec.core.arrays import Float32, Int64
from avrec.core.interactions import Interactions
from avrec.core.query import UserQuery

Csr: TypeAlias = "csr_array[np.float32, tuple[int, int]]"


def interaction_matrix(interactions: Interactions, weighted: bool = True) -> Csr:
    """Users x items (U, N) float32, columns sorted; the weights of a pair that occurs twice are added.

    Args:
        interactions: the events of one part.
        weighted: false gives 1 wherever there is an event.
    """
    return _packed(
        interactions.weight, interactions.item_idx, interactions.indptr, interactions.num_items, weighted=weighted
    )


def history_matrix(query: UserQuery, num_items: int, weighted: bool = True) -> Csr:
    """Queries x items (B, N) float32, in the same way as `interaction_matrix`."""
    return _packed(query.weight, query.item_idx, query.indptr, num_items, weighted=weighted)


def row_normalised(matrix: Csr) -> Csr:
    """Each row divided by its sum; empty rows stay empty. Values must not be negative."""
    sums = np.asarray(matrix.sum(axis=1, dtype=np.float64)).ravel()
    scale = np.divide(1.0, sums, out=np.zeros_like(sums), where=sums > 0)
    data = (matrix.data * np.repeat(scale, np.diff(matrix.indptr))).astype(np.float32)
    return csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def _packed(weight: Float32, item_idx: Int64, indptr: Int64, num_items: int, weighted: bool) -> Csr:
    data = weight.astype(np.float32, copy=True)
    shape = (len(indptr) - 1, num_items)
    if max(len(item_idx), num_items) < 2**31:  # half the memory, and what implicit is compiled for
        matrix: Csr = csr_array((data, item_idx.astype(np.int32), indptr.astype(np.int32)), shape=shape)
    else:
        matrix = csr_array((data, item_idx.copy(), indptr.copy()), shape=shape)
    matrix.sum_duplicates()
    if not weighted:
        matrix.data[:] = 1.0
    return matrix
