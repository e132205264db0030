"""`CellLists`: items in half precision, sorted into cells, scanned by FAISS.

Axes: B queries, N items, R reduced width, L cells, C candidates.
"""

from collections.abc import Iterable

import numpy as np

from avrec.core.arrays import Bool, Float32, Int64
from avrec.core.errors import AvrecError, require


class CellLists:
    """The inverted lists of an index. Nothing of FAISS's own file format is ever read: they are filled anew on loading.

    Args:
        centres_LR: one for each cell.
        blocks: consecutive rows of reduced items (n, R) with the cell of each (n,).
    """

    def __init__(self, centres_LR: Float32, blocks: Iterable[tuple[Float32, Int64]]) -> None:
        self._faiss = faiss = require("faiss", "index")
        num_cells, width = centres_LR.shape
        self._quantizer = faiss.IndexFlatIP(width)  # kept: FAISS borrows it
        self._quantizer.add(np.ascontiguousarray(centres_LR, np.float32))
        half = faiss.ScalarQuantizer.QT_fp16
        self._lists = faiss.IndexIVFScalarQuantizer(
            self._quantizer, width, num_cells, half, faiss.METRIC_INNER_PRODUCT, False
        )
        self._lists.is_trained = True  # half precision has nothing to learn
        for reduced, cell in blocks:
            rows, cells = np.ascontiguousarray(reduced, np.float32), np.ascontiguousarray(cell, np.int64)
            self._lists.add_core(len(rows), faiss.swig_ptr(rows), None, faiss.swig_ptr(cells))

    def scan(self, queries_BR: Float32, count: int, num_probes: int, filters: tuple[Bool, Bool] | None = None) -> Int64:
        """Candidates (B, count) of each query, -1 where the probed cells hold fewer.

        Args:
            queries_BR: reduced queries.
            count: C.
            num_probes: cells that are scanned for each query.
            filters: (allowed (N,), cells (L,)): items that may be candidates, and cells that may be probed.
        """
        faiss = self._faiss
        settings = faiss.SearchParametersIVF(nprobe=num_probes)
        if filters is not None:
            chosen = [faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little")) for mask in filters]
            settings = faiss.SearchParametersIVF(
                nprobe=num_probes, sel=chosen[0], quantizer_params=faiss.SearchParameters(sel=chosen[1])
            )
        found: Int64 = self._lists.search(queries_BR, count, params=settings)[1]
        return found


def exact_scores(item_vectors: Float32, queries_BD: Float32, item_idx_BC: Int64) -> Float32:
    """Inner products (B, C) of each query with its own candidates, -inf where the candidate is -1.

    The rows are read where they lie: a memory-mapped table is not copied.

    Args:
        item_vectors: (N, D) float32, contiguous.
        queries_BD: (B, D) float32, contiguous.
        item_idx_BC: within 0 ... N - 1, or -1.

    Raises:
        AvrecError: a score is not finite.
    """
    faiss = require("faiss", "index")
    scores = np.empty(item_idx_BC.shape, np.float32)
    rows = np.ascontiguousarray(np.maximum(item_idx_BC, 0), np.int64)
    dim, width = queries_BD.shape[1], rows.shape[1]
    pointers = [faiss.swig_ptr(array) for array in (scores, queries_BD, item_vectors, rows)]
    faiss.fvec_inner_products_by_idx(*pointers, dim, len(queries_BD), width)
    scores[item_idx_BC < 0] = 0.0
    if not np.isfinite(scores).all():
        row, column = np.argwhere(~np.isfinite(scores))[0]
        raise AvrecError(
            f"search: the score of query {row} for item {item_idx_BC[row, column]} is {scores[row, column]}; expected a "
            "finite number. Check both vectors for NaN and infinity."
        )
    scores[item_idx_BC < 0] = -np.inf
    return scores
