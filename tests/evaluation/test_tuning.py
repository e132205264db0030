import numpy as np
import pytest

from avrec.core.dataset import Dataset
from avrec.core.errors import ConfigError
from avrec.core.interactions import Interactions
from avrec.evaluation.tuning import objective_value, tune
from tests.evaluation.world import Matrix, random_dataset


class Blend:
    """Scores that know the validation part to some degree."""

    def __init__(self, weight):
        self.weight = weight

    def fit(self, dataset):
        noise = np.random.default_rng(0).random((dataset.num_users, dataset.num_items))
        known = np.zeros_like(noise)
        known[dataset.validation.user_idx, dataset.validation.item_idx] = 1
        return Matrix(self.weight * known + noise)


def candidates(*weights):
    return [({"weight": weight}, Blend(weight)) for weight in weights]


def test_the_best_on_validation_is_kept_with_all_that_was_tried():
    data = random_dataset(0)
    tuned = tune(candidates(0.0, 2.0, 0.5), data)
    assert tuned.settings == {"weight": 2.0}
    assert [trial.settings["weight"] for trial in tuned.trials] == [0.0, 2.0, 0.5]
    assert tuned.validation.part == "validation"
    assert max(trial.objective for trial in tuned.trials) == objective_value(tuned.validation, "recall@20+ndcg@20")
    assert tuned.trials[1].metrics["recall@20"] == tuned.validation.metrics["recall@20"]


def test_the_first_of_equals_is_kept():
    assert tune(candidates(2.0, 3.0), random_dataset(0)).settings == {"weight": 2.0}


def test_permuted_test_labels_change_no_choice():
    data = random_dataset(1)
    items = np.random.default_rng(2).permutation(data.num_items)
    permuted = Interactions.from_events(data.test.user_idx, items[data.test.item_idx], data.num_users, data.num_items)
    weights = (0.0, 0.1, 0.2, 0.05)
    one, other = (tune(candidates(*weights), d) for d in (data, Dataset(**{**vars(data), "test": permuted})))
    assert one.settings == other.settings
    assert list(one.trials) == list(other.trials)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("recall", "'recall' is not a metric with a cutoff; write for instance recall@20"),
        ("recall@20+ndcg@0", "'ndcg@0' is not a metric with a cutoff"),
        ("precision@20", r"objective 'precision@20': \['precision@20'\] was not measured; there are"),
    ],
)
def test_an_objective_that_was_not_measured_is_an_error(objective, message):
    with pytest.raises(ConfigError, match=message):
        tune(candidates(1.0), random_dataset(0), objective)


def test_no_candidates_is_an_error():
    with pytest.raises(ConfigError, match="tune was given no candidates"):
        tune([], random_dataset(0))
