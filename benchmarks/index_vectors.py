"""Item and user vectors of a bundle, and a larger catalogue made of them, for the benchmarks of search."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender
from avrec.core.arrays import Float32
from avrec.core.query import UserQuery


def bundle_vectors(folder: str, dim: int | None) -> tuple[Float32, Float32]:
    """The item vectors, and those of every user with a history in random order; the first `dim` coordinates if given.

    The first coordinates are the ids', so `dim` = id width + 1 is the collaborative part by itself.
    """
    bundle = Bundle.open(folder)
    users = np.flatnonzero(np.diff(bundle.history.indptr) > 0)
    np.random.default_rng(1).shuffle(users)
    queries = Recommender(bundle).user_vectors(UserQuery.of_users(users, bundle.history))
    return np.array(bundle.item_vectors)[:, :dim], np.ascontiguousarray(queries[:, :dim])


def repeated(item_vectors: Float32, num_items: int, noise: float) -> Float32:
    """A catalogue of `num_items`: the vectors, then copies of them with noise, in random order.

    Args:
        item_vectors: (N, D).
        num_items: length of the new catalogue.
        noise: its standard deviation as a share of each coordinate's own.
    """
    rng = np.random.default_rng(0)
    copies = -(-num_items // len(item_vectors))
    catalogue = np.tile(item_vectors, (copies, 1))[:num_items].astype(np.float32)
    rest = catalogue[len(item_vectors) :]
    rest += np.float32(noise) * item_vectors.std(axis=0) * rng.standard_normal(rest.shape, dtype=np.float32)
    rng.shuffle(catalogue)
    return catalogue
