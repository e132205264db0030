"""`ItemSpace`: unit vectors of the items by which the diversity of a list is measured, the same whoever recommends.

# N items, F width of the vectors, M modalities
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from avrec.core.arrays import Bool, Float32, Float64
from avrec.core.dataset import Dataset, Feature

BLOCK_ITEMS = 4096


@dataclass(frozen=True)
class ItemSpace:
    """Where items lie, so that two of them can be compared by a cosine.

    Attributes:
        name: what the vectors are, to be said beside every number.
        vectors: (N, F) of unit length, zero for an item that has none; dense or sparse.
        present: (N,) true for items that have a vector.
    """

    name: str
    vectors: Float32 | sparse.csr_array
    present: Bool

    @classmethod
    def of(cls, dataset: Dataset) -> "ItemSpace":
        """The space of a data set: its content where it has any, else who used the items in train.

        Content: every feature is standardised over the items that have it and each modality brought to unit length, so that
        a cosine is the mean of the modalities' cosines for two items that have the same ones. Train: the cosine of two
        items is the share of users in common, `|U_i and U_j| / sqrt(|U_i| |U_j|)`; a never-trained item has no place then.
        """
        if dataset.features:
            parts = [_standardised(feature) for feature in dataset.features.values()]
            present_NM = np.stack([feature.present for feature in dataset.features.values()], axis=1)
            count_N = np.maximum(present_NM.sum(axis=1), 1)
            vectors = np.concatenate(parts, axis=1)
            vectors /= np.sqrt(count_N, dtype=np.float32)[:, None]
            return cls(f"content ({', '.join(dataset.features)})", vectors, np.asarray(present_NM.any(axis=1)))
        train = dataset.train
        counts = train.item_counts
        length = np.sqrt(counts[train.item_idx], dtype=np.float32)
        shape = (dataset.num_items, dataset.num_users)
        users_NU = sparse.csr_array((1 / length, (train.item_idx, train.user_idx)), shape)
        return cls("train users in common", users_NU, np.asarray(counts > 0))

    def lengths_of_sums(self, rows: sparse.csr_array) -> Float64:
        """(B,) squared length of the sum of the vectors that each row (B, N) names."""
        if isinstance(self.vectors, np.ndarray):
            sums_BF = rows @ self.vectors
            return np.asarray(np.einsum("bf,bf->b", sums_BF, sums_BF, dtype=np.float64))
        sums_BU = sparse.csr_array(rows @ self.vectors)
        squares = sums_BU.data.astype(np.float64) ** 2
        of_row = np.repeat(np.arange(rows.shape[0]), np.diff(sums_BU.indptr))
        return np.asarray(np.bincount(of_row, weights=squares, minlength=rows.shape[0]), np.float64)


def _standardised(feature: Feature) -> Float32:
    """One modality: steps averaged, columns standardised over the present items, rows of unit length, absent rows zero."""
    blocks = [feature.values[start : start + BLOCK_ITEMS] for start in range(0, len(feature.values), BLOCK_ITEMS)]
    flat = [np.asarray(block, np.float32).mean(axis=1) if block.ndim == 3 else block for block in blocks]
    values: Float32 = np.concatenate(flat).astype(np.float32)
    there = feature.present
    if there.any():
        values -= values[there].mean(axis=0, dtype=np.float64).astype(np.float32)
        spread = values[there].std(axis=0, dtype=np.float64).astype(np.float32)
        values /= np.where(spread > 0, spread, 1)
    values[~there] = 0
    length = np.linalg.norm(values, axis=1, keepdims=True)
    values /= np.where(length > 0, length, 1)
    return values
