import numpy as np
import pytest

from avrec.bundle.stand_in import NUM_NEIGHBOURS, StandIns
from avrec.core.interactions import Interactions
from avrec.training.propagation import Neighbourhoods


def test_a_worked_example() -> None:
    content = np.array([[2, 0], [0, 1], [3, 4], [-1, 0], [1, 0]], np.float32)
    ids = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [9, 9, 9], [7, 7, 7]], np.float32)
    evidence = np.array([5, 1, 2, 3, 0], np.float32)  # the last one is nobody's neighbour
    found = StandIns(ids, content, evidence).of(np.array([[10, 0], [0, -1], [0, 0]], np.float32))
    # cosines of the first: 1, 0, .6, -1, and 1 of the untrained; nothing resembles the second, the third has no content
    np.testing.assert_allclose(found, [[1 / 1.6, 0, 0.6 / 1.6], [0, 0, 0], [0, 0, 0]], rtol=1e-6)


def catalogue(seed: int, num_items: int = 300) -> tuple[np.ndarray, np.ndarray, Interactions]:
    """Items of which a third is cold, some have no content, and some have the content of others."""
    draw = np.random.default_rng(seed)
    content = draw.standard_normal((num_items, 12)).astype(np.float32) * draw.uniform(0.1, 5, (num_items, 1))
    content = content.astype(np.float32)
    content[draw.integers(0, num_items, 80)] = content[draw.integers(0, 3, 80)]
    content[draw.integers(0, num_items, 20)] = 0
    ids = draw.standard_normal((num_items, 7)).astype(np.float32)
    seen = draw.integers(0, 2 * num_items // 3, 500)
    return content, ids, Interactions.from_events(draw.integers(0, 40, 500), seen, 40, num_items)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("block_bytes", [1, 8 * 300 * 7, 2**20])
def test_cold_items_borrow_what_training_lends_them(seed: int, block_bytes: int) -> None:
    content, ids, train = catalogue(seed)
    counts = train.item_counts
    expected = Neighbourhoods(train, content, counts > 0).stand_ins(ids)
    found = StandIns(ids, content, counts.astype(np.float32), block_bytes).of(content[counts == 0])
    assert (counts == 0).sum() > 90 and expected[counts == 0].any(axis=1).sum() > 70
    np.testing.assert_allclose(found, expected[counts == 0], atol=1e-5)


def test_only_the_nearest_count_and_ties_go_to_the_first() -> None:
    """20 items of equal content: the first 10 trained ones, equally."""
    content = np.tile(np.array([[0.3, 0.7, -0.2]], np.float32), (20, 1))
    ids = np.eye(20, dtype=np.float32)
    evidence = np.ones(20, np.float32)
    evidence[3] = 0
    found = StandIns(ids, content, evidence).of(content[:1])
    expected = np.zeros(20)
    expected[[0, 1, 2, 4, 5, 6, 7, 8, 9, 10]] = 1 / NUM_NEIGHBOURS
    np.testing.assert_allclose(found[0], expected, rtol=1e-6)


def test_a_small_or_untrained_catalogue() -> None:
    content, ids = np.eye(2, dtype=np.float32), np.array([[1.0], [2.0]], np.float32)
    ones = np.ones(2, np.float32)
    np.testing.assert_allclose(StandIns(ids, content, ones).of(np.ones((1, 2), np.float32)), [[1.5]])
    assert StandIns(ids, content, ones * 0).of(content).tolist() == [[0], [0]]
    assert StandIns(ids, content, ones).of(content[:0]).shape == (0, 1)
