"""Who is shown on the page, and why something was suggested, against loops."""

import numpy as np
import pytest

from avrec.evaluation.evaluate import evaluate
from avrec.evaluation.question import Question
from avrec.report.people import NUM_TILES, people, reasons
from avrec.training.scorer import TwoTowerScorer, catalogue_features
from tests.training.world import block_world, make_model, randomise


@pytest.fixture(scope="module")
def world():
    dataset = block_world()
    model = randomise(make_model(dataset), size=1.0)
    scorer = TwoTowerScorer(model, catalogue_features(dataset, ("audio", "visual")))
    return dataset, scorer, Question.of(dataset, "test"), evaluate(scorer, dataset, "test", (20,), keep=20)


def test_people_go_from_the_best_served_to_the_worst(world):
    dataset, scorer, question, evaluation = world
    found = people(question, evaluation, scorer)
    recalls = [person.recall for person in found]
    assert len(found) == 10 and recalls == sorted(recalls, reverse=True)
    assert (
        recalls[0] == evaluation.per_user["recall@20"].max() and recalls[-1] == evaluation.per_user["recall@20"].min()
    )
    for person in found:
        past = dataset.history("test")
        own = past.item_idx[past.indptr[person.user] : past.indptr[person.user + 1]].tolist()
        assert person.history == own[::-1][:NUM_TILES] and person.num_history == len(own)
        assert not set(person.suggestions) & set(own)
        target = dataset.test.item_idx[dataset.test.indptr[person.user] : dataset.test.indptr[person.user + 1]]
        assert person.hits == [item in target for item in person.suggestions] and person.num_targets == len(target)
        scores = scorer.score(question.query(np.array([person.user])))[0].copy()
        scores[own] = -np.inf
        assert person.suggestions == np.argsort(-scores)[:NUM_TILES].tolist()


def test_reasons_are_the_parts_that_lift_a_score_above_its_kind(world):
    dataset, scorer, question, _ = world
    users = scorer.user_vectors(question.query(question.users[:3]))
    lists = np.array([[0, 10, 3], [11, 5, 40], [22, 95, 7]])  # 10, 11, 22, 95 are cold, 3 has no sound
    found = reasons(scorer, users, lists)
    assert list(found) == ["ids", "bias", "audio", "visual"]
    dim, vectors, cold = scorer.model.item_tower.id_dim, scorer.item_vectors, dataset.cold_items
    for row in range(3):
        for place in range(3):
            item = lists[row, place]
            above = vectors[item] - vectors[cold == cold[item]].mean(axis=0)
            content = float(users[row, dim + 1 :] @ above[dim + 1 :])
            parts = {
                "ids": float(users[row, :dim] @ above[:dim]),
                "bias": float(users[row, dim] * above[dim]),
                "audio": content * float(scorer.share[item, 0]),
                "visual": content * float(scorer.share[item, 1]),
            }
            lifting = {name: max(value, 0.0) for name, value in parts.items()}
            total = sum(lifting.values())
            for name, value in lifting.items():
                expected = value / total if total > 0 else 0.0
                assert found[name][row, place] == pytest.approx(expected, abs=1e-4), (name, item)
    assert found["audio"][0, 2] == 0, "it has no sound"


def test_a_model_of_ids_alone_has_no_other_reasons():
    dataset = block_world()
    scorer = TwoTowerScorer(randomise(make_model(dataset, fusion="none")), catalogue_features(dataset, ()))
    question = Question.of(dataset, "test")
    found = reasons(scorer, scorer.user_vectors(question.query(question.users[:2])), np.array([[0], [1]]))
    assert list(found) == ["ids", "bias"]
    total = found["ids"] + found["bias"]
    assert np.all((np.abs(total - 1) < 1e-6) | (total == 0))
