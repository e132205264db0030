import tracemalloc

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avrec.core.dataset import Dataset
from avrec.core.errors import AvrecError, DataError
from avrec.core.ids import IdMap
from avrec.core.interactions import Interactions
from avrec.evaluation.blocks import VectorScorer, score_blocks
from avrec.evaluation.evaluate import evaluate
from avrec.evaluation.protocols import protocol_named
from avrec.evaluation.question import Question
from avrec.evaluation.ranking import target_ranks
from avrec.evaluation.slices import tail_items
from tests.evaluation.world import Matrix, Vectors, dataset, naive_evaluation, random_dataset


def test_a_worked_example():
    """Four items, the last one cold; user 0 knows item 0, user 1 knows item 1, user 2 is asked nothing."""
    data = dataset([(0, 0), (1, 1), (2, 2)], [(0, 1)], [(0, 2), (1, 0), (1, 3)], 3, 4)
    scorer = Matrix([[0.9, 0.8, 0.5, 0.5], [0.1, 0.9, 0.3, 0.2], [0.0, 0.0, 0.0, 0.0]])
    result = evaluate(scorer, data, "test", cutoffs=(1, 2))
    # user 0: items 0 and 1 are masked; 2 and 3 tie, so item 2 has rank 1.5
    # user 1: item 1 is masked; 2 (.3) is first, 3 (.2) second, 0 (.1) third
    assert result.user_idx.tolist() == [0, 1]
    assert result.per_user["recall@1"].tolist() == [0.0, 0.0]
    assert result.per_user["recall@2"].tolist() == [1.0, 0.5]
    assert result.per_user["mrr@2"].tolist() == [1 / 1.5, 0.5]
    assert result.metrics["recall@2"] == 0.75
    np.testing.assert_array_equal(result.per_user["cold/recall@1"], [np.nan, 0.0])
    assert result.metrics["cold/recall@2"] == 1.0
    assert result.metrics["cold_only/recall@1"] == 1.0  # item 3 is the only cold one
    assert result.metrics["coverage@2"] == 0.5  # both are shown items 2 and 3
    assert result.counts["cold_items"] == 1
    assert result.counts["cold/targets"] == 1
    assert result.counts["masked_events"] == 3
    assert result.counts["users_without_target"] == 1
    assert "new_users/recall@1" not in result.metrics
    assert result.counts["new_users/users"] == 0


@pytest.mark.parametrize("part", ["validation", "test"])
@pytest.mark.parametrize("levels", [2, 7, None])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_naive_loops(part, levels, seed):
    data = random_dataset(seed)
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((data.num_users, data.num_items))
    scores = np.round(scores * levels) / levels if levels else scores
    expected = naive_evaluation(scores.astype(np.float32), data, part, (3, 10))
    found = evaluate(Matrix(scores), data, part, (10, 3)).metrics
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name
    assert {"cold/ndcg@10", "tail/mrr@3", "new_users/recall@3", "missing_audio/recall@10"} <= found.keys()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 4), st.integers(1, 60))
def test_equals_naive_loops_on_any_data(seed, num_items, levels, cutoff):
    data = random_dataset(seed, num_users=15, num_items=num_items + 40, num_cold=num_items // 2)
    scores = np.random.default_rng(seed).integers(0, levels + 1, (15, num_items + 40)).astype(np.float32)
    expected = naive_evaluation(scores, data, "test", (cutoff,))
    assert evaluate(Matrix(scores), data, "test", (cutoff,)).metrics == pytest.approx(expected, abs=1e-12)


def test_the_product_is_taken_here_and_blocks_do_not_change_the_answer():
    data = random_dataset(3)
    rng = np.random.default_rng(3)
    # small integers: every product is exact, so that both paths see the same ties
    users, items = rng.integers(-2, 3, (data.num_users, 4)), rng.integers(-2, 3, (data.num_items, 4))
    scorer = Vectors(users, items)
    assert isinstance(scorer, VectorScorer)
    assert not isinstance(Matrix(users @ items.T), VectorScorer)
    whole = evaluate(scorer, data, "test")
    for other in (
        evaluate(Matrix(users @ items.T), data, "test"),
        evaluate(scorer, data, "test", block_bytes=4 * data.num_items * 14),
        evaluate(Matrix(users @ items.T), data, "test", block_bytes=1),
    ):
        assert other.metrics == whole.metrics
        for name, values in whole.per_user.items():
            np.testing.assert_array_equal(other.per_user[name], values)


def test_items_with_equal_vectors_tie():
    """A thousand items without any information get one vector; whatever kernel multiplies, they must share their places."""
    data = dataset([(0, 0)], [], [(user, 500 + user) for user in range(3)], 3, 1001)
    rng = np.random.default_rng(0)
    items = np.tile(rng.standard_normal(33).astype(np.float32), (1001, 1))
    scorer = Vectors(rng.standard_normal((3, 33)), items)
    question = Question.of(data, "test")
    (block,) = score_blocks(scorer, question)
    assert target_ranks(block.scores, block.targets, block.masked).tolist() == [500.5, 501.0, 501.0]


def test_a_constant_scorer_gains_nothing():
    data = random_dataset(5)
    result = evaluate(Matrix(np.zeros((data.num_users, data.num_items))), data, "test", (20,))
    assert result.metrics["recall@20"] == 0.0


def test_what_the_scorer_hands_out_is_not_changed():
    data = random_dataset(4)
    scores = np.random.default_rng(4).standard_normal(data.num_items).astype(np.float32)

    class Popularity:
        def score(self, query):
            return np.broadcast_to(scores, (len(query), len(scores)))  # read-only, one row for everybody

    before = scores.copy()
    result = evaluate(Popularity(), data, "test", (10,))
    expected = naive_evaluation(np.tile(scores, (data.num_users, 1)), data, "test", (10,))
    assert result.metrics == pytest.approx(expected, abs=1e-12)
    np.testing.assert_array_equal(scores, before)


@pytest.mark.parametrize("offset", [-5.0, 0.5, 100.0])
def test_cold_only_is_not_moved_by_an_offset(offset):
    data = random_dataset(6)
    scores = np.random.default_rng(6).integers(0, 8, (data.num_users, data.num_items)) / 8
    plain = evaluate(Matrix(scores), data, "test", (2, 10))
    moved = evaluate(Matrix(scores + offset * data.cold_items), data, "test", (2, 10))
    cold_only = [name for name in plain.metrics if name.startswith("cold_only/")]
    assert len(cold_only) == 6
    for name in cold_only:
        assert moved.metrics[name] == plain.metrics[name]
    assert moved.metrics["cold/recall@10"] != plain.metrics["cold/recall@10"]


def test_permuted_test_labels_change_test_metrics_alone():
    data = random_dataset(7)
    scores = np.random.default_rng(7).standard_normal((data.num_users, data.num_items))
    items = np.random.default_rng(8).permutation(data.num_items)
    permuted = Interactions.from_events(data.test.user_idx, items[data.test.item_idx], data.num_users, data.num_items)
    other = Dataset(**{**vars(data), "test": permuted})
    assert evaluate(Matrix(scores), other, "validation").metrics == evaluate(Matrix(scores), data, "validation").metrics
    assert evaluate(Matrix(scores), other, "test").metrics != evaluate(Matrix(scores), data, "test").metrics


def test_the_scorer_is_told_what_is_masked():
    data = dataset([(0, 0)], [(0, 1)], [(0, 2)], 1, 4)
    told = []

    class Listener(Matrix):
        def score(self, query):
            told.append(query.item_idx.tolist())
            return super().score(query)

    scorer = Listener([[0.9, 0.8, 0.1, 0.0]])
    assert evaluate(scorer, data, "test", (1, 2)).metrics["recall@1"] == 1.0
    dialect = evaluate(scorer, data, "test", (1, 2), protocol_named("diffmm"))
    assert dialect.metrics["recall@1"] == 0.0
    assert dialect.metrics["recall@2"] == 1.0
    assert told == [[0, 1], [0]]
    assert "validation items unknown to the recommender and not masked" in dialect.protocol
    assert (dialect.protocol_name, evaluate(scorer, data, "test").protocol_name) == ("diffmm", "honest")


def test_a_target_in_the_history_is_ranked_and_counted():
    data = dataset([(0, 0), (0, 1), (1, 1)], [], [(0, 0), (1, 0)], 2, 3)
    result = evaluate(Matrix([[0.9, 0.8, 0.1]] * 2), data, "test", (1,))
    assert result.metrics["recall@1"] == 1.0
    assert result.counts["targets_in_history"] == 1
    assert "1 targets stand in their user's history too and were ranked" in result.protocol


def test_the_protocol_is_said_in_words():
    data = dataset([(0, 0)], [(0, 1)], [(0, 2)], 2, 4)
    assert evaluate(Matrix(np.zeros((2, 4))), data, "test").protocol == (
        "test: mean over 1 users with 1 targets; all 4 items ranked, 3 of them never trained; each user's train and validation items masked; "
        "a tie counts half in a rank, lists break ties by a hash of the item id; one target a user, so recall is hit rate"
    )
    assert "each user's train items masked" in evaluate(Matrix(np.zeros((2, 4))), data, "validation").protocol


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_names_user_and_item(bad):
    data = dataset([(0, 0)], [], [(0, 1), (2, 1)], 3, 4)
    scores = np.zeros((3, 4))
    scores[1] = np.nan  # nobody asks about user 1
    scores[2, 3] = bad
    message = r"the score of user 'u2' for item 'i3' \(test part\) is (nan|inf|-inf); expected a finite number"
    with pytest.raises(AvrecError, match=message):
        evaluate(Matrix(scores), data, "test")
    vectors = np.ones((4, 2))
    vectors[3, 0] = bad
    with pytest.raises(AvrecError, match=r"user 'u0' for item 'i3'"):
        evaluate(Vectors(np.ones((3, 2)), vectors), data, "test")


def test_wrong_shapes_are_named():
    data = dataset([(0, 0)], [], [(0, 1)], 1, 4)
    with pytest.raises(AvrecError, match=r"Matrix.score gave an array of shape \(1, 3\); expected \(1, 4\)"):
        evaluate(Matrix(np.zeros((1, 3))), data, "test")
    with pytest.raises(AvrecError, match=r"Vectors.item_vectors has 3 rows; expected one for each of 4 items"):
        evaluate(Vectors(np.zeros((1, 2)), np.zeros((3, 2))), data, "test")


def test_an_empty_part_is_an_error():
    with pytest.raises(DataError, match="the validation part has no events, so nothing can be evaluated"):
        evaluate(Matrix(np.zeros((1, 2))), dataset([(0, 0)], [], [(0, 1)], 1, 2), "validation")


def test_the_tail_ends_between_two_counts():
    # items 0 to 3 have 1, 1, 2 and 16 of 20 events, item 4 none
    train = [(user, 3) for user in range(16)] + [(0, 0), (1, 1), (2, 2), (3, 2)]
    data = dataset(train, [], [(0, 1)], 16, 5)
    assert tail_items(data).tolist() == [True, True, True, False, False]
    flat = dataset([(user, user) for user in range(4)], [], [(0, 1)], 4, 4)
    assert not tail_items(flat).any()  # all equally popular: there is no tail


def test_memory_does_not_grow_with_users():
    rng = np.random.default_rng(0)

    def peak(num_users):
        pairs = [(user, int(item)) for user, item in enumerate(rng.integers(0, 3000, num_users))]
        data = dataset(pairs, [], [(user, (item + 1) % 3000) for user, item in pairs], num_users, 3000)
        scorer = Vectors(rng.standard_normal((num_users, 8)), rng.standard_normal((3000, 8)))
        tracemalloc.start()
        evaluate(scorer, data, "test", (10,), block_bytes=4 * 2**20)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(100)
    assert peak(6000) < 10 * 2**20  # all scores at once would be 72 MB


def test_popularity_on_tiktok(shared_data):
    """The documented floor: Recall@20 .0597, NDCG@20 .0255 with train masked and all 6,710 items ranked."""
    table = pq.read_table(shared_data / "data" / "tiktok" / "interactions.parquet")
    user_idx, item_idx, split = (table[name].to_numpy() for name in ("user_id", "item_id", "split"))
    parts = {
        part: Interactions.from_events(user_idx[split == name], item_idx[split == name], 9308, 6710)
        for part, name in {"train": "train", "validation": "val", "test": "test"}.items()
    }
    ids = {"users": IdMap([str(user) for user in range(9308)]), "items": IdMap([str(item) for item in range(6710)])}
    data = Dataset(name="tiktok", content_hash="", **ids, **parts)

    class Popularity:
        def score(self, query):
            return np.broadcast_to(data.train.item_counts.astype(np.float32), (len(query), data.num_items))

    result = evaluate(Popularity(), data, "test", (20,))
    assert result.metrics["recall@20"] == pytest.approx(0.0597, abs=1e-4)
    assert result.metrics["ndcg@20"] == pytest.approx(0.0255, abs=1e-4)
    assert result.counts["cold/targets"] == 449
    assert result.metrics["cold/recall@20"] == 0.0
