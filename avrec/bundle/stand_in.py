"""`StandIns`: the id vectors that items without training events borrow from the trained items they resemble.

Axes: N items of the catalogue, B items to serve, K neighbours, D embedding of the ids, C content width.
"""

from functools import cached_property

import numpy as np

from avrec.core.arrays import Float32
from avrec.retrieval.exact import top_of_scores

NUM_NEIGHBOURS = 10
BLOCK_BYTES = 64 * 2**20


class StandIns:
    """Weighted means of the id vectors of an item's content neighbours among the trained items.

    The rule is that of `avrec.factors.neighbours.content_neighbours` in training, said again because serving has no scipy:
    the largest positive cosines, rounded to 6 decimals so that items of equal content tie, the smaller index first, divided
    by their sum. Tests and every export's parity compare the two.

    Args:
        id_vectors: (N, D) id vector of each item; those of untrained items are not read.
        content_vectors: (N, C) fused content, zero for an item without any modality.
        evidence: (N,) training events.
        block_bytes: memory for one block of cosines.
    """

    def __init__(
        self, id_vectors: Float32, content_vectors: Float32, evidence: Float32, block_bytes: int = BLOCK_BYTES
    ) -> None:
        self._id_ND = id_vectors
        self._content_NC = content_vectors
        self._evidence_N = evidence
        self._block_rows = max(1, block_bytes // (8 * max(1, len(evidence))))

    @cached_property
    def _length_N(self) -> Float32:
        """Lengths of the content vectors; infinite, so that the cosine is 0, where an item may not be a neighbour."""
        square_N = np.einsum("nc,nc->n", self._content_NC, self._content_NC, dtype=np.float64)
        usable_N = (self._evidence_N > 0) & (square_N > 0)
        return np.where(usable_N, np.sqrt(square_N), np.inf).astype(np.float32)

    def of(self, content_vectors: Float32) -> Float32:
        """The stand-ins (B, D) of items with the given content (B, C); zero where nothing resembles an item."""
        stand_ins = np.empty((len(content_vectors), self._id_ND.shape[1]), np.float32)
        for start in range(0, len(content_vectors), self._block_rows):
            rows = slice(start, start + self._block_rows)
            stand_ins[rows] = self._of_block(content_vectors[rows])
        return stand_ins

    def _of_block(self, content_BC: Float32) -> Float32:
        length_B1 = np.linalg.norm(content_BC.astype(np.float64), axis=1, keepdims=True)
        unit_BC = (content_BC / np.where(length_B1 > 0, length_B1, 1.0)).astype(np.float32)
        cosine_BN = unit_BC @ self._content_NC.T
        cosine_BN /= self._length_N
        np.round(cosine_BN, 6, out=cosine_BN)
        cosine_BN[cosine_BN <= 0] = -np.inf
        neighbour_BK, cosine_BK = top_of_scores(cosine_BN, NUM_NEIGHBOURS)
        weight_BK = np.where(neighbour_BK >= 0, cosine_BK, 0).astype(np.float64)
        total_B1 = weight_BK.sum(axis=1, keepdims=True)
        weight_BK = np.divide(weight_BK, total_B1, out=weight_BK, where=total_B1 > 0).astype(np.float32)
        stand_in_BD: Float32 = np.einsum("bk,bkd->bd", weight_BK, self._id_ND[neighbour_BK])
        return stand_in_BD
