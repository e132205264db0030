"""Clusters of items, for browsing and as the cells of an approximate index.

Axes: N items, D embedding, K clusters, R representatives.
"""

from dataclasses import dataclass

import numpy as np

from avrec.core.arrays import Float32, Int64
from avrec.core.errors import AvrecError, require

ITERATIONS = 10
TRAINING_ROWS = 131_072  # where that makes 40 to 64 a cluster; FAISS advises 39 to 256, more made cells no better


@dataclass(frozen=True)
class Clusters:
    """Groups of similar items, the largest first.

    Attributes:
        cluster_N: the cluster of each item.
        sizes_K: items in each.
        representatives_KR: item_idx of those nearest to the centre, the nearest first; -1 where a cluster holds fewer.
    """

    cluster_N: Int64
    sizes_K: Int64
    representatives_KR: Int64


def clusters(item_vectors: Float32, num_clusters: int, num_representatives: int = 10, seed: int = 0) -> Clusters:
    """Group items by the direction of their vectors (spherical k-means), so that popularity, a vector's length, does not count.

    Args:
        item_vectors: (N, D); content vectors give clusters of similar media, id vectors clusters of similar audience. An
            item whose vector is zero resembles nobody and falls into the first cluster of equals.
        num_clusters: K, at most N.
        num_representatives: R.
        seed: of the initial centres.

    Raises:
        AvrecError: K is not within 1 ... N, or a vector is not finite.
        MissingExtraError: the extra `index` is not installed.
    """
    vectors = np.ascontiguousarray(item_vectors, np.float32)
    if not 1 <= num_clusters <= len(vectors):
        raise AvrecError(f"num_clusters is {num_clusters}; expected 1 to {len(vectors)}, the number of items.")
    check_finite(vectors, "item_vectors")
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    centres, cell = k_means(vectors, num_clusters, seed, directions=True)
    order = np.argsort(-np.bincount(cell, minlength=num_clusters), kind="stable")
    place = np.empty(num_clusters, np.int64)
    place[order] = np.arange(num_clusters)
    cell = place[cell]
    likeness = np.einsum("nd,nd->n", vectors, centres[order][cell])
    by_cluster = np.lexsort((np.arange(len(cell)), -likeness, cell))
    sizes = np.bincount(cell, minlength=num_clusters)
    rank = np.arange(len(cell)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    representatives = np.full((num_clusters, num_representatives), -1, np.int64)
    chosen = rank < num_representatives
    representatives[cell[by_cluster][chosen], rank[chosen]] = by_cluster[chosen]
    return Clusters(cell, sizes, representatives)


def k_means(vectors: Float32, num_cells: int, seed: int, directions: bool = False) -> tuple[Float32, Int64]:
    """Centres (K, D) and each row's nearest one (N,), by FAISS on a sample of the rows.

    Args:
        vectors: (N, D) contiguous and finite; of length 1 with `directions`.
        num_cells: K <= N.
        seed: of the sample and the initial centres.
        directions: centres of length 1, compared by inner product; else by Euclidean distance.
    """
    faiss = require("faiss", "index")
    training = faiss.Kmeans(
        vectors.shape[1],
        num_cells,
        niter=ITERATIONS,
        seed=seed + 1,  # 0 would mean a fixed default there
        spherical=directions,
        max_points_per_centroid=min(64, max(40, TRAINING_ROWS // num_cells)),
        min_points_per_centroid=1,
    )
    training.train(vectors)
    centres = np.ascontiguousarray(training.centroids, np.float32)
    return centres, nearest(centres, vectors, directions)


def nearest(centres: Float32, vectors: Float32, directions: bool = False) -> Int64:
    """(N,) the nearest centre of each row."""
    faiss = require("faiss", "index")
    flat = faiss.IndexFlatIP(centres.shape[1]) if directions else faiss.IndexFlatL2(centres.shape[1])
    flat.add(centres)
    cell: Int64 = flat.search(np.ascontiguousarray(vectors, np.float32), 1)[1][:, 0]
    return cell


def check_finite(rows: Float32, name: str) -> None:
    """Raise AvrecError naming the first row that holds NaN or infinity."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(rows.sum()):
            return
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise AvrecError(
            f"{name} row {bad[0]} holds a value that is not finite ({len(bad)} such rows). Train or export again."
        )
