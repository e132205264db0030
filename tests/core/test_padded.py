import numpy as np
import pytest

from avrec.core.query import UserQuery, padded


def random_query(counts: list[int]) -> UserQuery:
    draw = np.random.default_rng(0)
    size = sum(counts)
    weight, age = (draw.random(size).astype(np.float32) for _ in range(2))
    return UserQuery(np.arange(len(counts)), np.cumsum([0, *counts]), draw.integers(1, 9, size), weight, age)


@pytest.mark.parametrize("counts", [[0, 3, 1, 7, 0], [2], [0], [], [5, 5]])
@pytest.mark.parametrize("max_items", [1, 3, 10])
def test_equals_a_loop_over_users(counts: list[int], max_items: int) -> None:
    query = random_query(counts)
    block = padded(query, max_items)
    length = max([1, *(min(count, max_items) for count in counts)])
    assert all(array.shape == (len(counts), length) for array in block)
    assert (block.weight.dtype, block.age_days.dtype, block.mask.dtype) == (np.float32, np.float32, np.bool_)
    for row, count in enumerate(counts):
        kept = min(count, max_items)
        events = slice(query.indptr[row + 1] - kept, query.indptr[row + 1])
        assert block.mask[row].tolist() == [True] * kept + [False] * (length - kept)
        for name in ("item_idx", "weight", "age_days"):
            values = getattr(block, name)[row]
            np.testing.assert_array_equal(values[:kept], getattr(query, name)[events])
            assert not values[kept:].any()
