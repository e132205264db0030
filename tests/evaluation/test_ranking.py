import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avrec.core.errors import AvrecError
from avrec.evaluation.ranking import target_ranks
from tests.evaluation.world import naive_rank


def csr(lists):
    return np.cumsum([0, *map(len, lists)]), np.array([item for one in lists for item in one], np.int64)


def test_a_worked_example():
    scores = torch.tensor([[0.9, 0.5, 0.5, 0.5, 0.1]])
    # item 0 is first; the three equal items share the places 2, 3, 4; item 4 is last
    assert target_ranks(scores, csr([[0, 1, 3, 4]])).tolist() == [1.0, 3.0, 3.0, 5.0]


def test_masked_items_leave_the_ranking_but_targets_do_not():
    scores = torch.tensor([[0.9, 0.5, 0.5, 0.1], [0.1, 0.2, 0.3, 0.4]])
    targets = csr([[1, 3], [0]])
    assert target_ranks(scores, targets, csr([[0], [3]])).tolist() == [1.5, 3.0, 3.0]
    assert target_ranks(scores, targets, csr([[0, 1, 3], [1, 2, 3]])).tolist() == [1.5, 3.0, 1.0]


def test_ranks_above_the_cutoff_are_infinite_and_the_others_exact():
    scores = torch.arange(1000.0).flip(0)[None]
    targets = csr([[0, 9, 10, 500]])
    assert target_ranks(scores, targets, cutoff=10).tolist() == [1.0, 10.0, np.inf, np.inf]
    assert target_ranks(scores, targets).tolist() == [1.0, 10.0, 11.0, 501.0]


def test_ties_at_the_last_place_of_the_list_are_counted_to_the_end():
    scores = torch.zeros(1, 1000)
    scores[0, :3] = 1.0
    # 3 better, then 997 equals: the middle of 4 ... 1000 is 502, far above the cutoff although a place in the list was free
    assert target_ranks(scores, csr([[0, 500]]), cutoff=10).tolist() == [2.0, np.inf]
    assert target_ranks(scores, csr([[0, 500]]), cutoff=600).tolist() == [2.0, 502.0]
    scores[0, 8:] = -1.0
    # 3 better, 5 equals at 4 ... 8: rank 6, although the list of 5 ends within them
    assert target_ranks(scores, csr([[4]]), cutoff=5).tolist() == [np.inf]
    assert target_ranks(scores, csr([[4]]), cutoff=6).tolist() == [6.0]


def test_columns_rank_among_themselves():
    scores = torch.tensor([[0.9, 0.5, 0.4, 0.3, 0.1]])
    assert target_ranks(scores, csr([[3]]), columns=np.array([1, 3, 4])).tolist() == [2.0]
    assert target_ranks(scores, csr([[3]]), csr([[1]]), columns=np.array([1, 3, 4]), cutoff=2).tolist() == [1.0]
    with pytest.raises(AvrecError, match="target item_idx 0 is not among the 3 ranked columns"):
        target_ranks(scores, csr([[0]]), columns=np.array([1, 3, 4]))


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_equals_the_definition(data):
    num_items = data.draw(st.integers(2, 400))
    levels = data.draw(st.sampled_from([1, 3, 1000]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    scores = (rng.integers(0, levels, (4, num_items)) / 4).astype(np.float32)
    targets = [rng.choice(num_items, rng.integers(0, min(5, num_items)), replace=False) for _ in range(4)]
    masked = [rng.integers(0, num_items, rng.integers(0, num_items)) for _ in range(4)]
    expected = [
        naive_rank(scores[row], item, set(range(num_items)) - set(masked[row].tolist()) | set(targets[row].tolist()))
        for row in range(4)
        for item in targets[row]
    ]
    found = target_ranks(torch.from_numpy(scores), csr(targets), csr(masked))
    np.testing.assert_array_equal(found, expected)
    cutoff = data.draw(st.integers(1, num_items + 3))
    cut = target_ranks(torch.from_numpy(scores), csr(targets), csr(masked), cutoff=cutoff)
    np.testing.assert_array_equal(cut, np.where(np.array(expected) <= cutoff, expected, np.inf))


def test_the_scores_are_not_changed_and_may_be_any_view_or_precision():
    base = torch.randn(40, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before = base.clone()
    targets, masked = csr([[3]] * 6), csr([[1, 5]] * 6)
    ranks = target_ranks(base.T, targets, masked, cutoff=5)
    assert torch.equal(base, before)
    np.testing.assert_array_equal(ranks, target_ranks(base.T.float().contiguous(), targets, masked, cutoff=5))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_score_that_is_not_finite_is_an_error(bad):
    scores = torch.zeros(2, 5)
    scores[1, 3] = bad
    with pytest.raises(AvrecError, match=r"the score of row 1, column 3 is (nan|inf|-inf); expected a finite number"):
        target_ranks(scores, csr([[0], [0]]))


def test_huge_finite_scores_are_no_error():
    scores = torch.full((2, 5), 3e38)
    assert target_ranks(scores, csr([[0], [4]])).tolist() == [3.0, 3.0]


def test_nobody_and_nothing():
    assert target_ranks(torch.zeros(0, 5), csr([])).tolist() == []
    assert target_ranks(torch.zeros(2, 5), csr([[], []]), cutoff=3).tolist() == []
