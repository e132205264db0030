"""Topics of sparse attributes: TF-IDF weights, then the leading directions of the trained items (latent semantic analysis).

Axes: N items, C attributes, K attributes that are kept, D topics.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds

from avrec.core.arrays import Bool, Float32, Float64, Int64
from avrec.core.dataset import Feature
from avrec.core.errors import ConfigError
from avrec.core.ids import IdMap
from avrec.core.order import generator
from avrec.core.sparse import SparseRows
from avrec.factors.side.base import State, numbers_of
from avrec.factors.threads import single_blas_thread

SMALLEST = 1e-6  # of the largest singular value; below, a direction is rounding


@dataclass(frozen=True)
class Topics:
    """What is learned of sparse attributes.

    An item's vector is `normalised(log(1 + count) idf) P`, with `idf = 1 + log((1 + n) / (1 + n_k))` over the n trained items and
    the D leading right singular vectors P of their rows (Deerwester et al., 1990). With K <= D attributes P is the identity:
    a topic is then an attribute.

    Attributes:
        idf: (K,) rarity of each kept attribute.
        projection: (K, D) P; each column's largest entry is positive.
    """

    idf: Float32
    projection: Float32

    @classmethod
    def fit(cls, rows: SparseRows, trained: Bool, dim: int, min_items: int) -> tuple[Int64, "Topics"] | None:
        """Learn topics from the trained items.

        Args:
            rows: (N, C) counts of attributes.
            trained: (N,) items that are looked at.
            dim: D at most.
            min_items: an attribute of fewer trained items is left out; what stands at one item alone relates it to none.

        Returns:
            The (K,) columns that were kept, ascending, and the topics; None where none are left.

        Raises:
            ConfigError: a number is not positive.
        """
        if dim < 1 or min_items < 1:
            raise ConfigError(f"side: dim is {dim} and min_items is {min_items}; expected whole numbers above 0.")
        looked_at = rows.taken(np.flatnonzero(trained))
        kept = np.flatnonzero(looked_at.column_counts >= min_items)
        if not len(kept):
            return None
        position = np.full(rows.num_columns, -1, np.int64)
        position[kept] = np.arange(len(kept))
        packed = _renumbered(looked_at, position, len(kept))
        idf = 1 + np.log((1 + packed.num_rows) / (1 + packed.column_counts))
        weights = _weights(packed, idf)
        projection = np.eye(len(kept)) if len(kept) <= dim else _directions(weights[np.diff(weights.indptr) > 0], dim)
        return kept, cls(idf.astype(np.float32), projection.astype(np.float32))

    @classmethod
    def of_state(cls, state: State, num_names: int) -> "Topics":
        """The topics that `state` holds, of so many attributes.

        Raises:
            ArtefactError: it holds none that fit.
        """
        idf = numbers_of(state, "idf", (num_names,))
        projection = numbers_of(state, "projection", (num_names, None))
        return cls(idf.astype(np.float32), projection.astype(np.float32))

    @property
    def state(self) -> State:
        """To be kept, beside the names of the attributes."""
        return {"idf": self.idf, "projection": self.projection}

    def feature(self, rows: SparseRows) -> Feature:
        """Vectors (N, D) of attributes (N, K); an item without a kept attribute is absent."""
        vectors = np.asarray(_weights(rows, self.idf.astype(np.float64)) @ self.projection, np.float32)
        return Feature(vectors, np.asarray(rows.row_counts > 0))


def by_name(rows: SparseRows, names: IdMap, kept: list[str]) -> SparseRows:
    """The rows (N, C) with the K kept attributes as columns, found by name; others are left out, and some may be missing.

    Args:
        rows: (N, C).
        names: of the C attributes.
        kept: K of them.
    """
    index = names.index(kept)
    position = np.full(rows.num_columns, -1, np.int64)
    position[index[index >= 0]] = np.flatnonzero(index >= 0)
    return _renumbered(rows, position, len(kept))


def _renumbered(rows: SparseRows, position: Int64, num_columns: int) -> SparseRows:
    """The rows with column c as column `position[c]`, entries at -1 left out."""
    column = position[rows.column]
    keep = column >= 0
    return SparseRows.from_entries(rows.row[keep], column[keep], rows.num_rows, num_columns, rows.weight[keep])


def _weights(rows: SparseRows, idf: Float64) -> "csr_array[np.float64, tuple[int, int]]":
    """Rows of TF-IDF weights, each of length 1; empty ones stay empty."""
    data = np.log1p(np.maximum(rows.weight.astype(np.float64), 0)) * idf[rows.column]
    length = np.sqrt(np.bincount(rows.row, weights=data**2, minlength=rows.num_rows))
    data /= np.where(length > 0, length, 1.0)[rows.row]
    return csr_array((data, rows.column, rows.indptr), shape=(rows.num_rows, rows.num_columns))


def _directions(weights: "csr_array[np.float64, tuple[int, int]]", dim: int) -> Float64:
    """(K, D) right singular vectors, the largest singular value first, without those that are rounding."""
    smaller = min(weights.shape)
    with single_blas_thread():
        if smaller <= dim:  # all of them, which svds does not give
            _, values, right = np.linalg.svd(weights.toarray(), full_matrices=False)
        else:
            start = generator(0, 0, "side/topics").standard_normal(smaller)
            _, values, right = svds(weights, k=dim, v0=start)
            values, right = values[::-1], right[::-1]
    found = right[values > SMALLEST * values.max()].T
    largest = found[np.abs(found).argmax(axis=0), np.arange(found.shape[1])]
    return np.asarray(found * np.where(largest < 0, -1.0, 1.0))
