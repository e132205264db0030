"""The published floors on real interactions, settings chosen on validation Recall@20 + NDCG@20 where they are chosen."""

from pathlib import Path

import numpy as np
import pytest

from avrec.baselines.content_knn import ContentKNN
from avrec.baselines.ease import EASE
from avrec.baselines.hybrid import Hybrid
from avrec.baselines.ials import IALS
from avrec.baselines.p3alpha import P3alpha
from avrec.baselines.popularity import Popularity
from avrec.core.arrays import Bool, Int64
from avrec.core.dataset import Dataset
from avrec.core.query import Recommender
from avrec.factors.als import ALS as ALSFactorisation
from avrec.factors.fold_in import fold_in_map, solve_users
from avrec.factors.matrix import interaction_matrix
from tests.baselines.real_data import evaluate, movielens, tiktok

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
WITHIN = 0.002


@pytest.fixture(scope="module")
def micro_videos(shared_data: Path) -> Dataset:
    return tiktok(shared_data)


@pytest.fixture(scope="module")
def films(shared_data: Path) -> Dataset:
    return movielens(shared_data, validation_share=0.0)


def chosen_on_validation(candidates: list[Recommender], dataset: Dataset) -> tuple[int, tuple[float, float, float]]:
    """Which candidate is best on validation, and its test numbers; the others never meet the test part."""
    scorers = [candidate.fit(dataset) for candidate in candidates]
    sums = [sum(evaluate(scorer, dataset, "validation")[:2]) for scorer in scorers]
    best = int(np.argmax(sums))
    return best, evaluate(scorers[best], dataset, "test")


def test_tiktok_popularity(micro_videos):
    recall, ndcg, cold = evaluate(Popularity().fit(micro_videos), micro_videos, "test")
    assert (recall, ndcg) == pytest.approx((0.0597, 0.0255), abs=5e-5)
    assert cold == 0


def test_tiktok_ease(micro_videos):
    grid = [20.0, 35.0, 50.0]
    best, (recall, ndcg, _) = chosen_on_validation([EASE(value) for value in grid], micro_videos)
    assert grid[best] == 35.0
    assert (recall, ndcg) == pytest.approx((0.0881, 0.0400), abs=WITHIN)


def test_tiktok_p3alpha(micro_videos):
    plain = evaluate(P3alpha().fit(micro_videos), micro_videos, "test")
    assert plain[:2] == pytest.approx((0.0917, 0.0399), abs=WITHIN)
    candidates = [P3alpha(alpha, cut) for alpha in (0.4, 0.6, 0.8, 1.0) for cut in (100, 1000)]
    _, tuned = chosen_on_validation(candidates, micro_videos)
    assert tuned[:2] == pytest.approx((0.0917, 0.0399), abs=WITHIN)


def test_tiktok_ials_needs_a_strong_regularisation_and_confidence(micro_videos):
    """Over seeds .1106 to .1134; with the regularisation of `implicit`'s default grids it stays near .08."""
    recall, ndcg, _ = evaluate(IALS(128, alpha=200.0, regularisation=2.5).fit(micro_videos), micro_videos, "test")
    assert (recall, ndcg) == pytest.approx((0.112, 0.0466), abs=0.004)
    weak, _, _ = evaluate(IALS(64, alpha=10.0, regularisation=1.0).fit(micro_videos), micro_videos, "test")
    assert weak == pytest.approx(0.0817, abs=0.004)


def test_tiktok_hybrid(micro_videos):
    candidates = [Hybrid(content_weight=weight) for weight in (0.03, 0.05, 0.1, 0.2, 0.3)]
    _, (recall, ndcg, cold) = chosen_on_validation(candidates, micro_videos)
    assert (recall, ndcg) == pytest.approx((0.0964, 0.0418), abs=WITHIN)
    assert cold == pytest.approx(0.0267, abs=0.01)


def test_tiktok_content_knn_finds_cold_items(micro_videos):
    visual = evaluate(ContentKNN({"visual": 1.0}).fit(micro_videos), micro_videos, "test")
    audio = evaluate(ContentKNN({"audio": 1.0}).fit(micro_videos), micro_videos, "test")
    assert visual[2] == pytest.approx(0.0535, abs=0.003)
    assert audio[2] == pytest.approx(0.0156, abs=0.003)


def test_movielens_floors(films):
    numbers = {
        "popularity": evaluate(Popularity().fit(films), films, "test"),
        "ease": evaluate(EASE(200.0).fit(films), films, "test"),
        "ials": evaluate(IALS(64, 5.0, 2.0).fit(films), films, "test"),
    }
    assert numbers["popularity"][:2] == pytest.approx((0.1058, 0.1235), abs=WITHIN)
    assert numbers["ease"][:2] == pytest.approx((0.2111, 0.2222), abs=5e-4)
    assert numbers["ials"][0] == pytest.approx(0.2085, abs=WITHIN)


def test_movielens_fold_in_reproduces_als_for_users_inside_and_outside(films):
    outside = np.zeros(films.num_users, np.bool_)
    outside[np.random.default_rng(0).permutation(films.num_users)[: films.num_users // 5]] = True
    inside_train = films.train.select(~outside[films.train.user_idx])
    factors = ALSFactorisation(64, 10.0, alpha=1.0).fit(inside_train)
    history = interaction_matrix(films.train)
    folded = (history @ factors.item) @ fold_in_map(factors.item, 10.0)
    exact = solve_users(factors.item, 10.0, history, alpha=1.0)
    assert np.allclose(exact[~outside], factors.user[~outside], atol=1e-5)

    def top(users: np.ndarray) -> Int64:
        scores = users @ factors.item.T
        scores[films.train.user_idx, films.train.item_idx] = -np.inf
        return np.argsort(-scores, axis=1, kind="stable")[:, :20]

    def overlap(rows: Bool) -> float:
        pairs = zip(top(folded)[rows], top(exact)[rows], strict=True)
        return float(np.mean([len(set(a) & set(b)) / 20 for a, b in pairs]))

    assert overlap(~outside) >= 0.95
    assert overlap(outside) >= 0.95
