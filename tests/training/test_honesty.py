"""Honesty, by planted patterns: what is learned is there, what is not there is not learned, and test decides nothing."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from avrec.baselines.popularity import Popularity
from avrec.core.dataset import Dataset, Feature
from avrec.core.interactions import Interactions
from avrec.data.candidates import FullCatalogue
from avrec.data.histories import Histories
from avrec.data.samplers import Batch, PairPolicy, PairSampler
from avrec.evaluation.evaluate import evaluate
from avrec.factors.als import ALS
from avrec.training.averaging import EpochAveraging
from avrec.training.batches import TensorBatch
from avrec.training.calibration import CalibrationGrid
from avrec.training.checkpoints import load_tensors
from avrec.training.factor_segment import FactorGrid
from avrec.training.fit import calibrate, train
from avrec.training.module import LossWeights, TwoTowerModule
from avrec.training.propagation import Mix
from avrec.training.scorer import TwoTowerScorer, View, catalogue_features
from tests.training.test_stages import equal
from tests.training.world import (
    CONTENT,
    IDS,
    NUM_BLOCKS,
    adam,
    block_world,
    make_context,
    make_model,
    make_stage,
    random_world,
    without_test,
)

BOTH = LossWeights(1.0, 1.0)
GRID = CalibrationGrid((0.0, 3.0), (0.5, 1.0), (0.0, 0.3), (0.0,), (-2.0, -1.0, 0.0))
MIXES = (Mix(), Mix(p3=0.3, content=0.2))
FACTORS = FactorGrid({"als": ALS(num_factors=4, regularisation=3.0, alpha=10.0)}, (0.3,), min_gain=-1.0)


def trained(dataset, folder, weights, epochs=8, sampler=None, **options):
    model = make_model(dataset, **options)
    train(model, [make_stage(weights, epochs, name="only")], make_context(dataset, model, folder, sampler))
    return model


def measure(model, dataset, view: View, part="validation"):
    catalogue = catalogue_features(dataset, model.item_tower.modalities)
    return evaluate(TwoTowerScorer(model, catalogue, view), dataset, part, (2, 10)).metrics


def other_tests(dataset: Dataset) -> dict[str, Dataset]:
    """The same data set with test labels permuted, all gone, and out of reach."""
    rng = np.random.default_rng(4)
    test = dataset.test
    permuted = Interactions.from_events(test.user_idx, rng.permutation(test.item_idx), test.num_users, test.num_items)
    assert not np.array_equal(permuted.item_idx, test.item_idx)
    return {
        "permuted": replace(dataset, test=permuted),
        "deleted": replace(dataset, test=test.select(np.zeros(len(test), np.bool_))),
        "untouchable": without_test(dataset),
    }


def everything_chosen(dataset: Dataset, folder) -> dict[str, object]:
    """All that a run leaves behind: both checkpoints of two stages, the calibrated model, and what was chosen."""
    model = make_model(dataset, dropout=0.2)
    averaging = partial(EpochAveraging, start_epoch=1)
    stages = [make_stage(IDS, 3, name="ids", averaging=averaging), make_stage(BOTH, 2, name="both", patience=1)]
    summaries = train(model, stages, make_context(dataset, model, folder))
    catalogue = catalogue_features(dataset, model.item_tower.modalities)
    found = calibrate(model, catalogue, dataset, MIXES, GRID, factors=FACTORS)
    checkpoints = {}
    for path in sorted(folder.glob("*/*.ckpt")):
        value = load_tensors(path)
        checkpoints[f"{path.parent.name}/{path.name}"] = {
            key: value.get(key) for key in ("epoch", "global_step", "state_dict", "optimizer_states", "averaging_state")
        }
    assert len(checkpoints) == 4
    return {
        "summaries": summaries,
        "checkpoints": checkpoints,
        "model": dict(model.state_dict()),
        "operating_points": found.operating_points,
        "frontier": found.frontier,
        "mix": found.mix,
        "beside": found.beside,
        "objective": found.objective,
    }


def test_other_test_labels_change_no_checkpoint_and_no_choice(tmp_path):
    dataset = block_world()
    before = everything_chosen(dataset, tmp_path / "before")
    for name, other in other_tests(dataset).items():
        after = everything_chosen(other, tmp_path / name)
        for key, value in before.items():
            assert equal(after[key], value), (name, key)


def test_other_validation_labels_do_change_the_choice(tmp_path):
    """The comparison above is able to fail."""
    dataset = block_world()
    rng = np.random.default_rng(4)
    part = dataset.validation
    permuted = Interactions.from_events(part.user_idx, rng.permutation(part.item_idx), part.num_users, part.num_items)
    one, other = (
        everything_chosen(data, tmp_path / name)
        for name, data in (("before", dataset), ("after", replace(dataset, validation=permuted)))
    )
    assert not equal(one["frontier"], other["frontier"])
    assert not equal(one["model"], other["model"])


def with_permuted_items(dataset: Dataset) -> Dataset:
    """Who did something and how popular things are stay; who did what is lost."""
    rng = np.random.default_rng(0)
    train_part = dataset.train
    pairs = np.stack([train_part.user_idx, rng.permutation(train_part.item_idx)], axis=1)
    user, item = np.unique(pairs, axis=0).T
    return replace(
        dataset,
        train=Interactions.from_events(user, item, dataset.num_users, dataset.num_items),
        content_hash="permuted",
    )


def test_planted_blocks_are_found_and_permuted_interactions_bring_recall_to_chance(tmp_path):
    dataset = block_world(with_cold=False)
    chance = 10 / (dataset.num_items - dataset.cold_items.sum() - 6)
    recall = measure(trained(dataset, tmp_path / "true", IDS), dataset, "collaborative")["recall@10"]
    permuted = with_permuted_items(dataset)
    lost = measure(trained(permuted, tmp_path / "permuted", IDS), permuted, "collaborative")["recall@10"]
    popular = evaluate(Popularity().fit(dataset), dataset, "validation", (10,)).metrics["recall@10"]
    assert recall > 0.95
    assert popular < 2.5 * chance
    assert lost < 2.5 * chance


def leaks(batch: Batch) -> int:
    """Rows whose history holds the item that is to be found."""
    own = (batch.history_idx == batch.positive[:, None]) & batch.history_mask
    return int(own.any(axis=1).sum())


class LeakyHistories(Histories):
    """Forgets to take the positive out of the history."""

    def _other_events(self, pairs):
        indptr, position = self.train.positions(self.user_idx[pairs])
        return np.repeat(np.arange(len(pairs)), np.diff(indptr)), position


class Leaky(PairSampler):
    """Draws leaky histories."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.histories.__class__ = LeakyHistories


def with_time(dataset: Dataset) -> Dataset:
    """Few distinct seconds, so that many events stand beside one another."""
    rng = np.random.default_rng(0)
    part = dataset.train
    stamps = rng.integers(0, 4, len(part))
    return replace(
        dataset,
        train=Interactions.from_events(
            part.user_idx, part.item_idx, part.num_users, part.num_items, part.weight, stamps
        ),
    )


@pytest.mark.parametrize("dataset", [random_world(0), with_time(random_world(0))], ids=["no time", "time"])
@pytest.mark.parametrize("options", [{}, {"history": "others"}, {"long_user_items": 4, "max_history_items": 6}])
def test_no_history_holds_its_positive_and_a_planted_leak_is_seen(dataset, options):
    honest = PairSampler(dataset.train, FullCatalogue(), 32, 0, PairPolicy(**options))
    batches = [honest.batch(epoch, index) for epoch in range(3) for index in range(honest.num_batches)]
    assert sum(map(leaks, batches)) == 0
    assert sum(int(batch.history_mask.sum()) for batch in batches) > 100
    leaky = Leaky(dataset.train, FullCatalogue(), 32, 0, PairPolicy(**options | {"history": "others"}))
    assert sum(leaks(leaky.batch(0, index)) for index in range(leaky.num_batches)) > 50


def hit_rate(model, dataset, sampler: PairSampler) -> float:
    """Share of training pairs whose positive is among the first 10 of what its user has not seen, histories as in training."""
    catalogue = catalogue_features(dataset, model.item_tower.modalities)
    module = TwoTowerModule(model.eval(), catalogue, torch.nn.Identity(), IDS, adam(), lambda model: {})
    hits, pairs = 0, 0
    for index in range(sampler.num_batches):
        batch = TensorBatch.of(sampler.batch(1000, index))
        scores = module.id_scores(batch).detach().masked_fill(~batch.valid_BN & ~batch.target_BN, -torch.inf)
        rank = (scores > scores[batch.target_BN][:, None]).sum(dim=1)
        hits, pairs = hits + int((rank < 10).sum()), pairs + len(rank)
    return hits / pairs


def test_a_leak_shows_as_an_absurd_gap_between_training_and_validation(tmp_path):
    """There is nothing to learn here: whoever is right about most of the training pairs has seen the answers."""
    dataset = random_world(0, num_users=400)
    gaps = {}
    for name, kind in (("honest", PairSampler), ("leaky", Leaky)):
        sampler = kind(dataset.train, FullCatalogue(), 128, 5)
        model = trained(dataset, tmp_path / name, IDS, 4, sampler, fusion="none", dim=16)
        gaps[name] = hit_rate(model, dataset, sampler) - measure(model, dataset, "collaborative")["recall@10"]
    assert gaps["honest"] < 0.35  # what 400 users' coincidences let a table of 90 x 16 numbers remember
    assert gaps["leaky"] > 0.55


def with_shuffled_content(dataset: Dataset, seed: int = 0) -> Dataset:
    rows = np.random.default_rng(seed).permutation(dataset.num_items)
    features = {name: Feature(value.values[rows], value.present[rows]) for name, value in dataset.features.items()}
    return replace(dataset, features=features)


@pytest.mark.parametrize("fusion", ["attention", "concatenation"])
def test_content_finds_cold_items_and_shuffled_content_finds_none(fusion, tmp_path):
    dataset = block_world()
    chance = 2 / int(dataset.cold_items.sum())
    assert chance == 1 / NUM_BLOCKS
    model = trained(dataset, tmp_path / "true", CONTENT, fusion=fusion)
    true = measure(model, dataset, "content", "test")
    assert true["cold_only/recall@2"] > 0.9
    assert true["cold/recall@10"] > 0.5
    # The same model with the rows of its content permuted, and a model that never saw true content.
    shuffled = with_shuffled_content(dataset)
    learned = trained(shuffled, tmp_path / "shuffled", CONTENT, fusion=fusion)
    for other in (measure(model, shuffled, "content", "test"), measure(learned, shuffled, "content", "test")):
        assert other["cold_only/recall@2"] < 2.5 * chance
        assert other["cold/recall@10"] < 0.25


def test_the_calibrated_model_recommends_cold_items_by_content_only(tmp_path):
    dataset = block_world()
    model = trained(dataset, tmp_path, BOTH)
    catalogue = catalogue_features(dataset, model.item_tower.modalities)
    found = calibrate(model, catalogue, dataset, MIXES, GRID)
    model.set_operating_point(found.operating_points["cold98"])
    true = measure(model, dataset, "hybrid", "test")
    assert true["recall@10"] > 0.8
    assert true["cold/recall@10"] > 0.8
    shuffled = with_shuffled_content(dataset)
    rows = torch.from_numpy(np.random.default_rng(0).permutation(dataset.num_items))
    model.neighbour_vector_ND.copy_(model.neighbour_vector_ND[rows].clone())
    assert measure(model, shuffled, "hybrid", "test")["cold/recall@10"] < true["cold/recall@10"] / 4
