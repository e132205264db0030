"""A user's hybrid list is searched in the bundle's own index; the other spaces hold other tables and are searched whole."""

from dataclasses import dataclass, field

import numpy as np

from avrec.core.arrays import Bool, Float32, Int64
from avrec.retrieval.index import ExactIndex
from avrec.serving.served import Served
from avrec.serving.spaces import Spaces


@dataclass
class Counting:
    """An exact index that keeps how many queries it was asked."""

    exact: ExactIndex
    asked: list[int] = field(default_factory=list)

    @property
    def num_items(self) -> int:
        return self.exact.num_items

    @property
    def tie_order(self) -> Int64 | None:
        return self.exact.tie_order

    def search(
        self, queries: Float32, k: int, seen: tuple[Int64, Int64] | None = None, allowed: Bool | None = None
    ) -> tuple[Int64, Float32]:
        self.asked.append(len(queries))
        return self.exact.search(queries, k, seen, allowed)


def test_hybrid_lists_come_from_the_bundle_s_index(served: Served) -> None:
    assert served.spaces.for_users("hybrid").index is served.recommender.index
    bundle = served.bundle
    tie_order = served.spaces.for_users("hybrid").tie_order
    index = Counting(ExactIndex(bundle.item_vectors, tie_order))
    vectors = np.random.default_rng(0).standard_normal((3, bundle.item_vectors.shape[1])).astype(np.float32)
    hidden = (np.array([0, 1, 1, 1]), np.array([2]))
    for only in (None, np.array([1, 2, 4])):
        found, whole = (
            spaces.for_users("hybrid").search(vectors, 3, hidden, only)
            for spaces in (Spaces(bundle, tie_order, index), Spaces(bundle, tie_order))
        )
        assert np.array_equal(found[0], whole[0]) and np.array_equal(found[1], whole[1])
    assert index.asked == [3, 3]


def test_other_modes_do_not_ask_it(served: Served) -> None:
    index = Counting(ExactIndex(served.bundle.item_vectors))
    spaces = Spaces(served.bundle, served.spaces.for_users("hybrid").tie_order, index)
    for mode in served.modes():
        if mode != "hybrid":
            space = spaces.for_users(mode)
            space.search(
                np.ones((1, space.table.shape[1]), np.float32), 2, (np.zeros(2, np.int64), np.zeros(0, np.int64)), None
            )
    assert index.asked == []
