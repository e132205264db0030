"""Each formula against dense numpy or loops written from its definition."""

import numpy as np
import pytest

from avrec.baselines.content_knn import ContentKNN
from avrec.baselines.ease import EASE
from avrec.baselines.hybrid import Hybrid, standardised
from avrec.baselines.ials import IALS
from avrec.baselines.item_knn import ItemKNN
from avrec.baselines.p3alpha import P3alpha
from avrec.baselines.popularity import Popularity
from avrec.core.errors import ConfigError
from avrec.core.query import UserQuery
from tests.baselines.world import dense, known, random_world


def k_largest(values: np.ndarray, k: int) -> list[int]:
    return sorted((j for j in range(len(values)) if values[j] > 0), key=lambda j: (-np.float32(values[j]), j))[:k]


def test_popularity_counts_events_not_weights():
    dataset = random_world()
    expected = np.zeros(dataset.num_items)
    for item in dataset.train.item_idx:
        expected[item] += 1
    scores = Popularity().fit(dataset).score(known(dataset))
    assert np.array_equal(scores, np.tile(expected, (dataset.num_users, 1)))


@pytest.mark.parametrize(("k", "shrinkage"), [(3, 0.0), (4, 10.0), (100, 2.0)])
def test_item_knn(k, shrinkage):
    dataset = random_world()
    matrix = dense(dataset.train)
    num_items = dataset.num_items
    similarity = np.zeros((num_items, num_items))
    for i in range(num_items):
        for j in range(num_items):
            length = np.linalg.norm(matrix[:, i]) * np.linalg.norm(matrix[:, j])
            if i != j and length:
                similarity[i, j] = matrix[:, i] @ matrix[:, j] / (length + shrinkage)
    expected = np.zeros_like(matrix)
    for target in range(num_items):
        for neighbour in k_largest(similarity[target], k):
            expected[:, target] += matrix[:, neighbour] * similarity[target, neighbour]
    scores = ItemKNN(k, shrinkage).fit(dataset).score(known(dataset))
    assert np.allclose(scores, expected, atol=1e-5)


@pytest.mark.parametrize("alpha", [1.0, 0.6])
def test_p3alpha_walks_three_steps(alpha):
    dataset = random_world()
    matrix = dense(dataset.train)
    with np.errstate(invalid="ignore"):
        to_item = np.nan_to_num(matrix / matrix.sum(axis=1, keepdims=True)) ** alpha
        to_user = np.nan_to_num(matrix.T / matrix.T.sum(axis=1, keepdims=True)) ** alpha
        start = np.nan_to_num(matrix / matrix.sum(axis=1, keepdims=True))
    walk = to_user @ to_item
    np.fill_diagonal(walk, 0)
    scores = P3alpha(alpha).fit(dataset).score(known(dataset))
    assert np.allclose(scores, start @ walk, atol=1e-6)


def test_p3alpha_at_one_keeps_probability_but_for_the_diagonal():
    """The rows of W are transition probabilities: they sum to 1 less the chance of returning."""
    dataset = random_world()
    similarity = P3alpha().fit(dataset).similarity.toarray()
    matrix = dense(dataset.train)[:-1, :-1]
    of_user, of_item = np.maximum(matrix.sum(axis=1, keepdims=True), 1), matrix.sum(axis=0)
    returning = (matrix / of_item * matrix / of_user).sum(axis=0)
    assert np.allclose(similarity.sum(axis=1)[:-1], 1 - returning, atol=1e-6)


def test_p3alpha_cut_keeps_the_largest_of_each_row():
    dataset = random_world()
    full = P3alpha().fit(dataset).similarity.toarray()
    cut = P3alpha(num_neighbours=3).fit(dataset).similarity.toarray()
    for whole, kept in zip(full, cut, strict=True):
        assert np.flatnonzero(kept).tolist() == sorted(k_largest(whole, 3))
        assert np.array_equal(kept[kept > 0], whole[kept > 0])


@pytest.mark.parametrize("regularisation", [0.5, 20.0])
def test_ease_equals_the_closed_form_and_its_optimality_conditions(regularisation):
    dataset = random_world()
    matrix = dense(dataset.train)
    gram = matrix.T @ matrix
    inverse = np.linalg.inv(gram + regularisation * np.eye(dataset.num_items))
    weights = np.eye(dataset.num_items) - inverse / np.diag(inverse)
    scorer = EASE(regularisation).fit(dataset)
    assert np.all(np.diag(scorer.solution) == 0)
    assert np.allclose(scorer.score(known(dataset)), matrix @ weights, atol=1e-5)
    # gradient of |R - R B|^2 + lambda |B|^2 is zero off the diagonal, for the trained items
    solution = scorer.solution.astype(np.float64)
    gradient = gram[:-1, :-1] @ (solution - np.eye(len(solution))) + regularisation * solution
    np.fill_diagonal(gradient, 0)
    assert np.abs(gradient).max() < 1e-4 * np.abs(gram).max()


def test_ease_larger_than_one_block_of_columns_is_symmetric_where_it_must_be(monkeypatch):
    dataset = random_world(1, 40, 30)
    expected = EASE(3.0).fit(dataset).solution
    monkeypatch.setattr("avrec.baselines.ease.BLOCK_COLUMNS", 7)
    assert np.array_equal(EASE(3.0).fit(dataset).solution, expected)


def test_ease_refuses_a_catalogue_over_its_limit():
    dataset = random_world()
    with pytest.raises(ConfigError, match=r"13 trained items need 0\.0 GiB; the limit is 12 items\. Leave EASE out"):
        EASE(max_items=12).fit(dataset)
    EASE(max_items=13).fit(dataset)


def test_ease_names_a_bad_regularisation():
    with pytest.raises(ConfigError, match=r"regularisation is 0\.0; expected a positive number"):
        EASE(regularisation=0.0)


def content_loop(dataset, modalities: dict[str, float], k: int) -> np.ndarray:
    parts, present = [], np.zeros(dataset.num_items, np.bool_)
    trained = dataset.train.item_counts > 0
    for modality, weight in modalities.items():
        feature = dataset.features[modality]
        sample = feature.values[trained & feature.present].astype(np.float64)
        part = (feature.values - sample.mean(axis=0)) / sample.std(axis=0)
        part[~feature.present] = 0
        parts.append(weight * part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12))
        present |= feature.present
    vectors = np.concatenate(parts, axis=1)
    matrix, scores = dense(dataset.train), np.zeros((dataset.num_users, dataset.num_items))
    for target in np.flatnonzero(present):
        length = np.linalg.norm(vectors, axis=1) * np.linalg.norm(vectors[target])
        cosine = np.where(present, vectors @ vectors[target] / np.maximum(length, 1e-12), 0)
        cosine[target] = 0
        for neighbour in k_largest(np.round(cosine, 6), k):
            scores[:, target] += matrix[:, neighbour] * cosine[neighbour]
    return scores


@pytest.mark.parametrize("modalities", [{"audio": 1.0}, {"visual": 1.0, "audio": 0.5}])
def test_content_knn(modalities):
    dataset = random_world()
    scores = ContentKNN(modalities, 4).fit(dataset).score(known(dataset))
    assert np.allclose(scores, content_loop(dataset, modalities, 4), atol=1e-4)


def test_content_knn_takes_all_modalities_by_default():
    dataset = random_world()
    scores = ContentKNN(num_neighbours=5).fit(dataset).score(known(dataset))
    assert np.allclose(scores, content_loop(dataset, {"audio": 1.0, "visual": 1.0}, 5), atol=1e-4)


def test_an_item_without_content_is_never_offered_by_content():
    dataset = random_world()
    assert not ContentKNN().fit(dataset).score(known(dataset))[:, 2].any()


def test_standardised_rows_have_mean_zero_and_deviation_one():
    scores = np.array([[1, 2, 3, 6], [5, 5, 5, 5], [0.1, 0.1, 0.1, 0.1]], np.float32)
    found = standardised(scores)
    assert np.allclose(found[0], (scores[0] - 3) / np.sqrt(3.5))
    assert not found[1:].any()


def test_hybrid_adds_standardised_scores():
    dataset = random_world()
    query = known(dataset)
    expected = np.zeros((dataset.num_users, dataset.num_items))
    terms = [(1.0, P3alpha()), (0.3, ContentKNN({"audio": 1.0}, 4)), (0.3, ContentKNN({"visual": 1.0}, 4))]
    for weight, method in terms:
        for user, row in enumerate(method.fit(dataset).score(query).astype(np.float64)):
            if np.ptp(row) > 0:
                expected[user] += weight * (row - row.mean()) / row.std()
    scores = Hybrid(content_weight=0.3, num_neighbours=4).fit(dataset).score(query)
    assert np.allclose(scores, expected, atol=1e-5)


@pytest.mark.parametrize("baseline", [ContentKNN(), Hybrid(), ContentKNN({"smell": 1.0}), Hybrid(modalities=["smell"])])
def test_a_data_set_without_the_features_is_refused(baseline):
    dataset = random_world()
    without = type(dataset)(
        dataset.name,
        dataset.content_hash,
        dataset.users,
        dataset.items,
        dataset.train,
        dataset.validation,
        dataset.test,
    )
    with pytest.raises(ConfigError, match=r"(?i)leave this (method|baseline) out"):
        baseline.fit(without)


def test_a_history_event_given_twice_counts_twice():
    dataset = random_world()
    once = UserQuery(
        np.array([-1]), np.array([0, 1]), np.array([3]), np.array([2], np.float32), np.zeros(1, np.float32)
    )
    twice = UserQuery(
        np.array([-1]), np.array([0, 2]), np.array([3, 3]), np.ones(2, np.float32), np.zeros(2, np.float32)
    )
    for method in (ItemKNN(), EASE(1.0), ContentKNN(), IALS(3, 2.0, 0.25)):
        scorer = method.fit(dataset)
        assert np.array_equal(scorer.score(once), scorer.score(twice))
