"""The untrained user tower against ALS on MovieLens-100K: matrix factorisation folded in, for users it saw and users it did not."""

from dataclasses import replace

import numpy as np
import pytest

from avrec.baselines.ials import IALS
from avrec.build.compose import compose
from avrec.build.model import Sizes, build_model, learn_from_train
from avrec.core.query import UserQuery
from avrec.data.prepare import PrepareOptions, prepare
from avrec.data.prepared import load_dataset
from avrec.data.sources.movielens import MovieLensSource
from avrec.data.splits import UserTimeSplit
from avrec.evaluation.evaluate import evaluate
from avrec.factors.als import ALS
from avrec.models.two_tower import CatalogueFeatures
from avrec.retrieval.exact import top_of_scores
from avrec.training.initialise import FactorStart
from avrec.training.scorer import TwoTowerScorer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def movies(shared_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("movies") / "prepared"
    split = UserTimeSplit(validation_share=0.0, test_share=0.2, ties="file")
    return load_dataset(prepare(MovieLensSource(shared_data / "data" / "ml-100k"), split, PrepareOptions(), folder))


def folded(dataset, alpha):
    """The untrained two towers with ALS folded in, over the plain sum of whole histories."""
    overrides = ["data=prepared", "modalities=[]", "pooling=sum", "user_tower.max_history_items=2000"]
    model = build_model(compose("train", overrides), Sizes.of(dataset, []))
    learn_from_train(model, dataset)
    FactorStart(ALS(64, regularisation=10.0, alpha=alpha, seed=0))(model, dataset)
    return TwoTowerScorer(model, CatalogueFeatures({}, {}))


def overlap(one, other, dataset, users):
    query = UserQuery.of_users(users, dataset.train)
    first, second = (top_of_scores(scorer.score(query), 20)[0] for scorer in (one, other))
    return np.mean([len(set(a) & set(b)) / 20 for a, b in zip(first.tolist(), second.tolist(), strict=True)])


def test_at_alpha_1_the_untrained_tower_lists_what_als_lists(movies):
    inside = np.arange(movies.num_users) % 5 != 0
    kept = replace(movies, train=movies.train.select(inside[movies.train.user_idx]))
    tower, als = folded(kept, 1.0), IALS(64, 1.0, 10.0).fit(kept)
    shares = {
        name: overlap(tower, als, movies, np.flatnonzero(part))
        for name, part in (("inside", inside), ("outside", ~inside))
    }
    print(f"top-20 overlap with ALS at alpha 1: {shares}")
    assert min(shares.values()) >= 0.95


def test_the_untrained_tower_recalls_as_the_best_als(movies):
    """At alpha 1 the tower *is* ALS. At alpha 5, ALS's best, a fixed map lacks each user's own correction: .007 of recall."""
    found = {}
    for alpha in (1.0, 5.0):
        als = evaluate(IALS(64, alpha, 10.0 / alpha).fit(movies), movies, "test", (20,)).metrics
        tower = evaluate(folded(movies, alpha), movies, "test", (20,)).metrics
        found[alpha] = als["recall@20"], tower["recall@20"]
        print(
            f"alpha {alpha}: ALS {als['recall@20']:.4f} / {als['ndcg@20']:.4f}, untrained tower {tower['recall@20']:.4f} / {tower['ndcg@20']:.4f}"
        )
    best_als = max(als for als, _ in found.values())
    assert found[1.0][0] == pytest.approx(found[1.0][1], abs=2e-4)
    assert max(tower for _, tower in found.values()) >= best_als - 0.005
