"""`Projection`: fewer, decorrelated coordinates for items and queries that keep their inner products.

Axes: N items, Q queries, D embedding, R reduced width.
"""

from dataclasses import dataclass

import numpy as np

from avrec.core.arrays import Float32, Float64
from avrec.core.order import generator

SAMPLE_ROWS = 65_536
WIDTH_STEP = 16  # FAISS scores half-precision codes 4 times faster where their width is a multiple of its registers
TINY = 1e-30  # for queries or items that are all alike
RIDGE = 1e-4  # of the queries' mean second moment: directions that no sampled user looks into keep a little weight


@dataclass(frozen=True)
class Projection:
    """Two linear maps with `<items(x), queries(q)>` close to `<x, q>`, up to a constant for each query and one factor.

    Users look at the catalogue from a few directions only, and k-means on the item vectors as they are spends its cells on
    directions that nobody asks for. So items are measured in the metric of the queries: with S the queries' second moment,
    the mean squared error of the score of an item changed by e is e'Se, and the best map to R coordinates are the
    principal axes of S^(1/2) (x - mean) (Eckart and Young, 1936, in that metric). Subtracting the mean changes each query's
    scores by one constant, hence no order. Euclidean cells in these coordinates are cells of similar scores.

    Attributes:
        item_mean: (D,).
        item_map: (D, R).
        query_map: (D, R).
    """

    item_mean: Float32
    item_map: Float32
    query_map: Float32

    @classmethod
    def fit(cls, item_vectors: Float32, queries_QD: Float32, kept: float = 0.9999, seed: int = 0) -> "Projection":
        """Find both maps.

        Args:
            item_vectors: (N, D), finite.
            queries_QD: user vectors, finite; the more directions they cover, the better.
            kept: share of the scores' variance that the R coordinates keep; R is then a multiple of 16, the last ones zero
                where D is none.
            seed: of the sample of at most 65,536 items and as many queries.
        """
        items: Float64 = _sample(item_vectors, seed).astype(np.float64)
        queries: Float64 = _sample(queries_QD, seed).astype(np.float64)
        mean = items.mean(axis=0)
        moment = queries.T @ queries / len(queries)
        moment += np.eye(len(moment)) * max(float(np.trace(moment)) / len(moment), TINY) * RIDGE
        value, axis = np.linalg.eigh(moment)
        root, inverse = (axis * np.sqrt(value)) @ axis.T, (axis / np.sqrt(value)) @ axis.T
        centred = (items - mean) @ root
        energy, direction = np.linalg.eigh(centred.T @ centred / len(items))
        energy, direction = np.maximum(energy[::-1], 0.0), direction[:, ::-1]
        needed = int(np.searchsorted(np.cumsum(energy), kept * energy.sum())) + 1
        width = -(-min(needed, len(energy)) // WIDTH_STEP) * WIDTH_STEP
        used = direction[:, :width]
        scale = 1.0 / max(float(np.sqrt(energy.sum() / width)), TINY)  # codes near 1 suit half precision
        return cls(mean.astype(np.float32), _padded(root @ used * scale, width), _padded(inverse @ used, width))

    @property
    def width(self) -> int:
        """R."""
        return int(self.item_map.shape[1])

    def items(self, item_vectors: Float32) -> Float32:
        """(N, R), for some rows of the catalogue."""
        centred: Float32 = np.subtract(item_vectors, self.item_mean, dtype=np.float32)
        reduced: Float32 = centred @ self.item_map
        return reduced

    def queries(self, queries_BD: Float32) -> Float32:
        """(B, R)."""
        reduced: Float32 = np.ascontiguousarray(queries_BD, np.float32) @ self.query_map
        return reduced


def _sample(rows: Float32, seed: int) -> Float32:
    if len(rows) <= SAMPLE_ROWS:
        return np.asarray(rows)
    chosen = np.sort(generator(seed, 0, "retrieval/projection").choice(len(rows), SAMPLE_ROWS, replace=False))
    return np.asarray(rows[chosen])


def _padded(columns: Float64, width: int) -> Float32:
    padded = np.zeros((len(columns), width), np.float32)
    padded[:, : columns.shape[1]] = columns
    return padded
