"""What every baseline promises. A new one adds a line to `BASELINES`."""

import numpy as np
import pytest

from avrec.baselines.bpr import BPR
from avrec.baselines.content_knn import ContentKNN
from avrec.baselines.ease import EASE
from avrec.baselines.hybrid import Hybrid
from avrec.baselines.ials import IALS
from avrec.baselines.item_knn import ItemKNN
from avrec.baselines.p3alpha import P3alpha
from avrec.baselines.popularity import Popularity
from avrec.baselines.recent_popularity import RecentPopularity
from avrec.baselines.rp3beta import RP3beta
from avrec.baselines.svd import SVD
from avrec.baselines.user_knn import UserKNN
from avrec.core.query import Recommender, Scorer, UserQuery
from tests.baselines.world import COLD_ITEM, ITEMS_EACH, NUM_ITEMS, USERS_EACH, block_world, known, strangers

BASELINES: dict[str, Recommender] = {
    "popularity": Popularity(),
    "recent_popularity": RecentPopularity(half_life_days=2.0),
    "recent_popularity_window": RecentPopularity(half_life_days=None, window_days=3.0),
    "item_knn": ItemKNN(num_neighbours=6),
    "item_knn_shrunk": ItemKNN(num_neighbours=6, shrinkage=10.0),
    "user_knn": UserKNN(num_neighbours=15),
    "user_knn_shrunk": UserKNN(num_neighbours=15, shrinkage=4.0),
    "p3alpha": P3alpha(),
    "p3alpha_cut": P3alpha(alpha=0.6, num_neighbours=6),
    "rp3beta": RP3beta(alpha=0.8, beta=0.3),
    "ease": EASE(regularisation=5.0),
    "ials": IALS(num_factors=3, alpha=3.0, regularisation=0.3),
    "bpr": BPR(num_factors=3, learning_rate=0.1, regularisation=0.1),
    "svd": SVD(num_factors=3),
    "content_knn": ContentKNN(num_neighbours=7),
    "content_knn_audio": ContentKNN({"audio": 1.0}, num_neighbours=7),
    "hybrid": Hybrid(num_neighbours=7),
    "hybrid_of_ease": Hybrid(EASE(regularisation=5.0), content_weight=0.3, modalities=["visual"]),
}
PERSONAL = [name for name in BASELINES if "popularity" not in name]
WITH_CONTENT = [name for name in BASELINES if name.startswith(("content", "hybrid"))]


@pytest.fixture(scope="module", params=BASELINES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def fitted(name: str) -> Scorer:
    return BASELINES[name].fit(block_world())


def test_scores_are_finite_float32_of_the_catalogue(name):
    dataset = block_world()
    scorer = fitted(name)
    assert isinstance(scorer, Scorer)
    for query in (known(dataset), known(dataset, dataset.history("test")), strangers(known(dataset))):
        scores = scorer.score(query)
        assert scores.shape == (len(query), NUM_ITEMS)
        assert scores.dtype == np.float32 and np.isfinite(scores).all()


def test_a_stranger_scores_like_a_known_user_with_the_same_history(name):
    query = known(block_world())
    scorer = fitted(name)
    assert np.array_equal(scorer.score(query), scorer.score(strangers(query)))


def test_a_batch_answers_as_its_users_one_by_one(name):
    dataset = block_world()
    scorer = fitted(name)
    together = scorer.score(known(dataset))
    for user in (0, 25, 59, 60):
        alone = scorer.score(UserQuery.of_users(np.array([user]), dataset.train))
        assert np.allclose(alone[0], together[user], atol=1e-5)


def test_an_empty_batch_and_an_empty_history_are_answered(name):
    dataset = block_world()
    scorer = fitted(name)
    assert scorer.score(UserQuery.of_users(np.array([], np.int64), dataset.train)).shape == (0, NUM_ITEMS)
    empty = scorer.score(UserQuery.of_users(np.array([dataset.num_users - 1]), dataset.train))
    assert name not in PERSONAL or name == "bpr" or not empty.any()  # BPR is left with its item biases


def test_fitting_twice_gives_the_same_bits(name):
    query = known(block_world())
    assert np.array_equal(fitted(name).score(query), fitted(name).score(query))


def test_only_the_training_part_is_read(name):
    dataset = block_world()
    nothing = dataset.train.select(np.zeros(len(dataset.train), np.bool_))
    blind = type(dataset)(
        dataset.name,
        dataset.content_hash,
        dataset.users,
        dataset.items,
        dataset.train,
        nothing,
        nothing,
        dataset.features,
    )
    query = known(dataset)
    assert np.array_equal(BASELINES[name].fit(blind).score(query), fitted(name).score(query))


def test_scoring_does_not_change_the_scorer_or_the_query(name):
    query = known(block_world())
    scorer = fitted(name)
    first = scorer.score(query).copy()
    scorer.score(query)[:] = 7  # the caller may mask in place
    assert np.array_equal(scorer.score(query), first)
    assert np.array_equal(query.item_idx, known(block_world()).item_idx)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("personal", PERSONAL)
def test_planted_blocks_are_recovered(personal, seed):
    """The two unseen trained items of a user's block come before every item of the other blocks."""
    dataset = block_world(seed)
    scores = BASELINES[personal].fit(dataset).score(known(dataset))[:-1].copy()
    scores[dataset.train.user_idx, dataset.train.item_idx] = -np.inf
    scores[:, COLD_ITEM::ITEMS_EACH] = -np.inf  # nobody trains on the last item of a block
    places = 1 if personal == "content_knn_audio" else 2  # one item of block 0 has no audio
    best = np.argsort(-scores, axis=1)[:, :places] // ITEMS_EACH
    assert (best == np.arange(len(scores))[:, None] // USERS_EACH).all()


@pytest.mark.parametrize("with_content", WITH_CONTENT)
def test_content_finds_an_item_nobody_has_seen(with_content):
    dataset = block_world()
    scores = fitted(with_content).score(known(dataset))[:-1]
    assert dataset.cold_items[COLD_ITEM]
    other_blocks = scores[:USERS_EACH, ITEMS_EACH:]
    assert (scores[:USERS_EACH, COLD_ITEM] > other_blocks.max(axis=1)).all()


@pytest.mark.parametrize("collaborative", [name for name in PERSONAL if name not in WITH_CONTENT])
def test_without_content_an_unseen_item_scores_zero(collaborative):
    dataset = block_world()
    assert not fitted(collaborative).score(known(dataset))[:, dataset.cold_items].any()


@pytest.mark.parametrize("personal", PERSONAL)
def test_the_history_given_at_test_counts(personal):
    """Train + validation as the history changes the answer; the fitted model is the same."""
    dataset = block_world()
    scorer = fitted(personal)
    assert not np.array_equal(scorer.score(known(dataset)), scorer.score(known(dataset, dataset.history("test"))))


@pytest.mark.parametrize("baseline", list(BASELINES))
def test_one_user_is_enough(baseline):
    dataset = block_world()
    single = dataset.train.select(dataset.train.user_idx == 0)
    nothing = single.select(np.zeros(len(single), np.bool_))
    alone = type(dataset)(
        dataset.name, dataset.content_hash, dataset.users, dataset.items, single, nothing, nothing, dataset.features
    )
    assert np.isfinite(BASELINES[baseline].fit(alone).score(known(alone))).all()
