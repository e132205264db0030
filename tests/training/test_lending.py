"""What friends lend: the vector by a loop, the choice on planted friends, and one answer from memory, file and scorer."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from avrec.core.query import UserQuery
from avrec.core.sparse import SparseRows
from avrec.evaluation.evaluate import evaluate
from avrec.models.item_tower import OperatingPoint
from avrec.training.calibration import CalibrationGrid
from avrec.training.fit import NEVER, calibrate
from avrec.training.lending import Newcomers, lend
from avrec.training.propagation import Mix
from avrec.training.scorer import TwoTowerScorer, catalogue_features
from tests.training.world import USERS_EACH, block_world, make_model, randomise, without_test

EVERYONE = np.arange(64)


def friends_of(block_of_friend):
    """Three friends a user, from the block that is named for each block."""
    user = np.repeat(EVERYONE, 3)
    place = (user + np.tile([1, 2, 5], len(EVERYONE))) % USERS_EACH
    friend = block_of_friend(user // USERS_EACH) * USERS_EACH + place
    return SparseRows.from_entries(user, friend, len(EVERYONE), len(EVERYONE))


def planted(friends, noise=0.7):
    """The block world with friends, and an item table that knows the blocks, but not well."""
    dataset = replace(without_test(block_world()), social=friends)
    model = make_model(dataset, "none", user_table=True)
    blocks = torch.nn.functional.one_hot(torch.arange(dataset.num_items) // 12, 8).float()
    with torch.no_grad():
        torch.manual_seed(1)
        model.item_table.output_ND.copy_(blocks + noise * torch.randn_like(blocks))
        model.user_tower.constant_D.normal_()
        model.user_table.residual_UD.normal_(std=0.1)
    return dataset, model, catalogue_features(dataset, ())


def test_the_vector_of_a_user_is_his_own_and_his_friends_by_a_loop():
    dataset, model, catalogue = planted(friends_of(lambda block: block))
    before = TwoTowerScorer(model, catalogue).user_vectors(UserQuery.of_users(EVERYONE, dataset.train))
    (chosen,) = lend(model, catalogue, dataset, (0.4,), (3.0,))
    assert (chosen.strength, chosen.kappa) == (0.4, 3.0)
    after = TwoTowerScorer(model, catalogue).user_vectors(UserQuery.of_users(EVERYONE, dataset.train))
    constant = model.user_tower.constant_D.detach().numpy()
    for user in EVERYONE:
        span = slice(dataset.social.indptr[user], dataset.social.indptr[user + 1])
        mean = (before[dataset.social.column[span], :8] - constant).mean(axis=0)
        weight = 0.4 * 3.0 / (dataset.train.user_counts[user] + 3.0)
        assert after[user, :8] == pytest.approx(before[user, :8] + weight * mean, abs=1e-5)
    assert np.array_equal(after[:, 8:], before[:, 8:])


def test_without_kappa_everybody_takes_on_the_same():
    dataset, model, catalogue = planted(friends_of(lambda block: block))
    before = TwoTowerScorer(model, catalogue).user_vectors(UserQuery.of_users(EVERYONE, dataset.train))[:, :8]
    lend(model, catalogue, dataset, (0.5,), (None,))
    taste = before - model.user_tower.constant_D.detach().numpy()
    means = np.stack([taste[dataset.social.column[3 * user : 3 * user + 3]].mean(axis=0) for user in EVERYONE])
    assert model.friends_UD.numpy() == pytest.approx(0.5 * means, abs=1e-5)


def test_a_stranger_has_no_friends():
    dataset, model, catalogue = planted(friends_of(lambda block: block))
    nothing = UserQuery(np.array([-1, 0]), np.zeros(3, np.int64), *(np.zeros(0, kind) for kind in ("i8", "f4", "f4")))
    lend(model, catalogue, dataset, (0.5,), (None,))
    vectors = TwoTowerScorer(model, catalogue).user_vectors(nothing)
    assert vectors[0, :8] == pytest.approx(model.user_tower.constant_D.detach().numpy())
    assert np.abs(vectors[1, :8] - vectors[0, :8]).max() > 0.1


def test_friends_of_one_taste_are_chosen_and_friends_of_another_are_not():
    grid = (0.0, 0.3, 1.0), (5.0, None)
    dataset, model, catalogue = planted(friends_of(lambda block: block))
    chosen, *others = lend(model, catalogue, dataset, *grid)
    nothing = next(lent for lent in others if lent.strength == 0)
    assert len(others) == 4  # 0 is tried once
    assert chosen.strength > 0 and chosen.newcomers > nothing.newcomers + 0.1 and chosen.known >= nothing.known
    assert chosen.score == max(lent.score for lent in (chosen, *others))
    assert model.friends_UD.shape == (64, 8)

    dataset, model, catalogue = planted(friends_of(lambda block: (block + 1) % 8))
    chosen, *_ = lend(model, catalogue, dataset, (0.0, 1.0), (5.0, None))  # .3 may win a little: it lifts what all know
    assert chosen.strength == 0 and chosen.kappa is None
    assert model.friends_UD.shape == (0, 8)


def test_newcomers_are_asked_with_their_last_events_and_known_users_as_they_are():
    dataset, model, catalogue = planted(friends_of(lambda block: block))
    scorer = TwoTowerScorer(model, catalogue, "collaborative")
    users = np.array([3, 4, 6, 60])
    query = UserQuery.of_users(users, dataset.train)
    found = Newcomers(scorer).user_vectors(query)
    for place, user in enumerate(users.tolist()):
        events = np.arange(query.indptr[place + 1] - user % 4, query.indptr[place + 1])
        values = (query.item_idx[events], query.weight[events], query.age_days[events])
        alone = UserQuery(users[place : place + 1], np.array([0, user % 4]), *values)
        assert found[place] == pytest.approx(scorer.user_vectors(alone)[0], abs=1e-6)


def test_what_is_measured_is_what_is_lent_to_known_users_and_to_newcomers():
    """A newcomer is weighed by the events that he is left with."""
    dataset, model, catalogue = planted(friends_of(lambda block: block))
    scorer = TwoTowerScorer(model, catalogue, "collaborative")
    (lent,) = lend(model, catalogue, dataset, (1.0,), (2.0,))
    known_UD = model.friends_UD.clone()
    for told, found in ((scorer, lent.known), (Newcomers(scorer), lent.newcomers)):
        left_U = dataset.train.user_counts if told is scorer else EVERYONE % 4
        weight_U = torch.from_numpy((6 + 2) / (left_U + 2)).float()  # all have 6 training events
        model.set_friends(known_UD * weight_U[:, None])
        if told is not scorer:
            model.user_evidence_U.zero_()  # who is new has taught no vector of his own
        metrics = evaluate(told, dataset, "validation", (20,)).metrics
        assert found == pytest.approx(metrics["recall@20"] + metrics["ndcg@20"], abs=1e-6)


def test_calibration_lends_before_it_measures_and_the_file_keeps_it(tmp_path):
    dataset, model, catalogue = planted(friends_of(lambda block: block))
    found = calibrate(model, catalogue, dataset, [Mix()], CalibrationGrid(friend_strengths=(0.0, 1.0)))
    assert found.lent[0].strength == 1.0
    metrics = evaluate(TwoTowerScorer(model, catalogue), dataset, "validation", (20,)).metrics
    assert found.objective == pytest.approx(metrics["recall@20"] + metrics["ndcg@20"])
    torch.save(model.state_dict(), tmp_path / "state.pt")
    again = make_model(dataset, "none", user_table=True)
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    again.set_operating_point(OperatingPoint(content_scale=0.0, cold_offset=NEVER))
    query = UserQuery.of_users(EVERYONE, dataset.train)
    score = TwoTowerScorer(model, catalogue).score(query)
    assert np.array_equal(TwoTowerScorer(again, catalogue).score(query), score)
    with torch.no_grad():
        again.set_friends(None)
    assert not np.allclose(TwoTowerScorer(again, catalogue).score(query), score)


def test_a_file_with_friends_of_another_catalogue_is_refused():
    _, model, _ = planted(friends_of(lambda block: block))
    state = model.state_dict() | {"friends_UD": torch.zeros(63, 8)}
    with pytest.raises(RuntimeError, match="size mismatch for friends_UD"):
        model.load_state_dict(state)


def test_without_friends_nothing_is_lent_and_earlier_loans_end():
    dataset, model, catalogue = planted(None)
    model.set_friends(torch.ones(64, 8))
    assert lend(model, catalogue, dataset, (0.0, 1.0), (None,)) == ()
    assert model.friends_UD.shape == (0, 8)


def test_the_content_segment_is_nobody_elses():
    dataset = replace(without_test(block_world()), social=friends_of(lambda block: block))
    model = randomise(make_model(dataset))
    catalogue = catalogue_features(dataset, model.item_tower.modalities)
    query = UserQuery.of_users(EVERYONE, dataset.train)
    before = TwoTowerScorer(model, catalogue).user_vectors(query)
    lend(model, catalogue, dataset, (1.0,), (None,))
    after = TwoTowerScorer(model, catalogue).user_vectors(query)
    assert np.array_equal(after[:, 8:], before[:, 8:])
    assert np.abs(after[:, :8] - before[:, :8]).max() > 0.1
