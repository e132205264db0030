"""The frontier against the evaluator itself, setting by setting, and the rules that choose."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from avrec.core.dataset import Dataset, Feature
from avrec.core.query import held_out_query
from avrec.evaluation.evaluate import evaluate
from avrec.models.item_tower import OperatingPoint
from avrec.models.two_tower import TwoTower
from avrec.training import calibration
from avrec.training.calibration import CalibrationGrid, frontier, ranks_by_offset
from avrec.training.fit import calibrate
from avrec.training.operating_rules import NEVER, FrontierPoint, choose, pareto
from avrec.training.propagation import Mix, Neighbourhoods, apply_mix
from avrec.training.scorer import TwoTowerScorer, catalogue_features, content_table
from avrec.training.validation import Validator
from tests.evaluation.world import naive_rank
from tests.training.world import IDS, block_world, make_model, random_world, randomise, without_test

GRID = CalibrationGrid(
    kappas=(0.0, 4.0),
    scales=(0.5, 2.0),
    neighbour_weights=(0.0, 0.3),
    smoothings=(0.0, 0.4),
    offsets=(-2.0, -0.5, 0.0, 0.7),
)


def model_of(dataset: Dataset, fusion: str, **options: object) -> TwoTower:
    """Random numbers everywhere, with the stand-ins and the neighbours of the data."""
    model = randomise(make_model(dataset, fusion, **options), size=0.5)
    start = {name: value.clone() for name, value in model.item_table.state_dict().items()}
    content = content_table(model, catalogue_features(dataset, model.item_tower.modalities))
    apply_mix(model, start, Neighbourhoods(dataset.train, content, ~dataset.cold_items), Mix(p3=0.2))
    return model


def compare_with_evaluator(
    model: TwoTower, dataset: Dataset, grid: CalibrationGrid, block: int = 16
) -> list[FrontierPoint]:
    """Put every setting into the model and ask the evaluator."""
    catalogue = catalogue_features(dataset, model.item_tower.modalities)
    points = frontier(model, catalogue, without_test(dataset), dataset.cold_items, grid, block)
    axes = (grid.kappas, grid.scales, grid.neighbour_weights, grid.smoothings, [*grid.offsets, NEVER])
    assert len({point.point for point in points}) == len(points) == math.prod(map(len, axes))
    assert {point.point.kappa for point in points} == set(grid.kappas)
    assert {point.point.neighbour_weight for point in points} == set(grid.neighbour_weights)
    assert {point.point.history_smoothing for point in points} == set(grid.smoothings)
    for point in points:
        model.set_operating_point(point.point)
        metrics = evaluate(TwoTowerScorer(model, catalogue), dataset, "validation", (20,)).metrics
        found = {name: value for name, value in point.as_dict().items() if "@" in name}
        assert found == pytest.approx({name: metrics[name] for name in found}, abs=1e-6), point.point
    return points


@pytest.mark.parametrize("num_cold", [5, 80], ids=["few cold", "many cold"])
@pytest.mark.parametrize(
    ("fusion", "options"),
    [("attention", {}), ("concatenation", {}), ("attention", {"tied": False, "user_table": True})],
    ids=["attention", "concatenation", "untied, own vectors"],
)
def test_every_setting_scores_as_the_evaluator_says(fusion, options, num_cold):
    dataset = random_world(num_cold)
    assert dataset.validation.user_counts.max() > 1
    points = compare_with_evaluator(model_of(dataset, fusion, **options), dataset, GRID)
    for name in ("recall", "cold_recall", "warm_recall"):
        assert len({round(getattr(point, name), 6) for point in points}) > 3


def test_among_the_items_alive_too():
    dataset = random_world(30)
    alive_N = np.random.default_rng(5).random(dataset.num_items) < 0.6
    alive_N[dataset.validation.item_idx] = True
    dataset = replace(dataset, item_table=pa.table({"alive_in_validation": alive_N}))
    found = compare_with_evaluator(model_of(dataset, "attention"), dataset, GRID)
    assert not alive_N.all() and len({point.recall for point in found}) > 1


def test_the_operating_point_stays_as_it_was():
    dataset = random_world(20)
    model = model_of(dataset, "attention")
    catalogue = catalogue_features(dataset, model.item_tower.modalities)
    before = OperatingPoint(2.0, 0.5, 0.25, 0.125, 0.75)
    frontier(model, catalogue, dataset, dataset.cold_items, GRID)
    model.set_operating_point(before)
    found = frontier(model, catalogue, dataset, dataset.cold_items, GRID)
    assert model.item_tower.operating_point == before
    model.set_operating_point(OperatingPoint())
    assert frontier(model, catalogue, dataset, dataset.cold_items, GRID) == found


def test_content_that_is_of_no_use_does_not_bury_the_ids():
    """Every item has nearly the same content, so a cold item scores far above what any offset of the grid takes away."""
    dataset, rng = random_world(80), np.random.default_rng(0)
    noise = rng.standard_normal((dataset.num_items, 6)).astype(np.float32)
    dataset = replace(dataset, features={"visual": Feature(noise, np.ones(dataset.num_items, np.bool_))})
    model = make_model(dataset, "concatenation")
    with torch.no_grad():
        model.item_table.bias_N.copy_(torch.from_numpy(dataset.validation.item_counts))  # what ids know: the answer
        model.item_tower.encoders["visual"].preprocess.mean_F.sub_(10.0)
    catalogue = catalogue_features(dataset, model.item_tower.modalities)
    grid = CalibrationGrid(kappas=(0.0,), neighbour_weights=(0.0,), smoothings=(0.0,), offsets=(-10.0, -1.0))
    points = frontier(model, catalogue, dataset, dataset.cold_items, grid)
    best, without = choose(points, "overall"), [point for point in points if point.point.cold_offset != NEVER]
    metrics = evaluate(TwoTowerScorer(model, catalogue, "collaborative"), dataset, "validation", (20,)).metrics
    assert best.point.cold_offset == NEVER
    assert best.score == pytest.approx(metrics["recall@20"] + metrics["ndcg@20"], abs=1e-6)
    assert best.score > 1.1 * max(point.score for point in without)


def tied_world() -> tuple[Dataset, TwoTower]:
    """Small whole numbers as ids and one-hot features: hundreds of scores are exactly equal, on either side of the border."""
    dataset = random_world(30)
    rng = np.random.default_rng(1)
    one_hot = np.eye(5, dtype=np.float32)[rng.integers(0, 5, dataset.num_items)]
    dataset = replace(dataset, features={"visual": Feature(one_hot, np.ones(dataset.num_items, np.bool_))})
    model = make_model(dataset, "concatenation", dim=3, exponent=0.0)
    with torch.no_grad():
        encoder = model.item_tower.encoders["visual"].preprocess
        encoder.mean_F.zero_()
        encoder.scale_F.fill_(1.0)
        model.item_table.output_ND.copy_(torch.from_numpy(rng.integers(-1, 2, (dataset.num_items, 3))))
        model.item_table.bias_N.zero_()
    return dataset, model


def test_exact_ties_count_half_as_in_the_evaluator():
    dataset, model = tied_world()
    model.user_tower.content_pooling.exponent = 0.0
    # An offset of 0 puts cold items without a match exactly on the level of a warm one.
    grid = CalibrationGrid(
        kappas=(0.0,), scales=(1.0,), neighbour_weights=(0.0,), smoothings=(0.0,), offsets=(-1.0, 0.0, 0.5)
    )
    points = compare_with_evaluator(model, dataset, grid)
    catalogue = catalogue_features(dataset, model.item_tower.modalities)
    model.set_operating_point(points[1].point)
    users = np.arange(dataset.num_users)
    scores = TwoTowerScorer(model, catalogue).score(held_out_query(dataset, "validation", users, dataset.train))
    pairs = zip(dataset.validation.user_idx, dataset.validation.item_idx, strict=True)
    ranks = [naive_rank(scores[user], item, range(dataset.num_items)) for user, item in pairs]
    assert sum(rank % 1 == 0.5 for rank in ranks) > 20


@pytest.mark.parametrize("num_cold", [0, 3, 70, 149])
@pytest.mark.parametrize("levels", [12, 10_000], ids=["ties", "distinct"])
def test_ranks_by_offset_equal_a_loop_up_to_the_cut_off(num_cold, levels, monkeypatch):
    monkeypatch.setattr(calibration, "TARGETS", 4)  # several pieces, the last not full
    rng = np.random.default_rng(num_cold + levels)
    users, items, offsets = 6, 150, [-1.5, 0.0, 0.25, 2.0]
    scores = rng.integers(0, levels, (users, items)).astype(np.float32) * np.float32(4 / levels)
    cold = np.zeros(items, np.bool_)
    cold[rng.permutation(items)[:num_cold]] = True
    seen = [rng.permutation(items)[:20] for _ in range(users)]
    best = np.argsort(-scores, axis=1)
    targets = [
        np.unique([*rng.integers(0, items, user % 3), *best[user, [2, 9]], seen[user][0]]) for user in range(users)
    ]
    row = np.repeat(np.arange(users), [len(own) for own in targets])
    found = ranks_by_offset(
        torch.tensor(scores),
        (torch.arange(users).repeat_interleave(20), torch.tensor(np.concatenate(seen))),
        torch.tensor(row),
        torch.tensor(np.concatenate(targets)),
        torch.tensor(cold),
        torch.tensor(offsets),
    )
    near = 0
    for (place, (user, target)), (column, offset) in itertools.product(
        enumerate(zip(row, np.concatenate(targets), strict=True)), enumerate(offsets)
    ):
        candidates = [item for item in range(items) if item not in seen[user] or item in targets[user]]
        expected = naive_rank(scores[user] + np.float32(offset) * cold, target, candidates)
        if expected <= 20:
            near += 1
            assert float(found[place, column]) == expected
        else:
            assert float(found[place, column]) > 20
    assert 20 < near < 4 * len(row)


def test_pseudo_cold_items_count_as_cold():
    """The same as in a model that never had evidence of them, as far as the candidates go."""
    dataset = random_world(0, num_warm=60)
    model = model_of(dataset, "attention")
    catalogue = catalogue_features(dataset, model.item_tower.modalities)
    cold = np.zeros(dataset.num_items, np.bool_)
    cold[::4] = True
    grid = CalibrationGrid((0.0,), (1.0,), (0.2,), (0.0,), offsets=(-0.5, 0.3))
    points = frontier(model, catalogue, dataset, cold, grid)
    for point in points:
        scorer = TwoTowerScorer(model, catalogue)
        users = np.flatnonzero(dataset.validation.user_counts)
        vectors = torch.from_numpy(scorer.user_vectors(held_out_query(dataset, "validation", users, dataset.train)))
        evidence = model.item_evidence_N.clone()
        model.item_evidence_N[torch.from_numpy(cold)] = 0
        model.set_operating_point(point.point)
        scores = (vectors @ model.item_vectors(catalogue)[0].T).detach().numpy()
        model.item_evidence_N.copy_(evidence)
        model.set_operating_point(OperatingPoint())
        shares = []
        for row, user in enumerate(users):
            span = slice(dataset.validation.indptr[user], dataset.validation.indptr[user + 1])
            targets = dataset.validation.item_idx[span].tolist()
            known = set(dataset.train.item_idx[dataset.train.indptr[user] : dataset.train.indptr[user + 1]].tolist())
            candidates = [item for item in range(dataset.num_items) if item not in known or item in targets]
            own = [naive_rank(scores[row], item, candidates) <= 20 for item in targets if cold[item]]
            shares += [sum(own) / len(own)] if own else []
        assert point.cold_recall == pytest.approx(np.mean(shares), abs=1e-6)


def point_of(recall: float, cold: float, ndcg: float = 0.0, offset: float = 0.0) -> FrontierPoint:
    return FrontierPoint(OperatingPoint(cold_offset=offset), recall, ndcg, cold, recall)


def test_overall_is_the_best_score_and_cold98_the_coldest_within_two_percent():
    best, near, just, outside = (
        point_of(0.10, 0.01),
        point_of(0.099, 0.05),
        point_of(0.0981, 0.06),
        point_of(0.0979, 0.9),
    )
    points = [outside, just, best, near]
    assert choose(points, "overall") is best
    assert choose(points, "cold98") is just
    assert choose([best, outside], "cold98") is best


def test_balanced_is_the_best_harmonic_mean_of_cold_and_warm_recall():
    warm, even, cold = point_of(0.5, 0.1), point_of(0.3, 0.3), point_of(0.1, 0.6)
    assert choose([warm, cold, even], "balanced") is even
    assert choose([warm, point_of(0.9, 0.0)], "balanced") is warm
    assert choose([point_of(0.3, 0.3), better := point_of(0.3, 0.3, ndcg=0.2)], "balanced") is better


def test_the_score_is_recall_and_ndcg_over_all_targets():
    recall, ndcg = point_of(0.10, 0.0, 0.01), point_of(0.09, 0.0, 0.03)
    assert choose([recall, ndcg], "overall") is ndcg
    assert ndcg.score == pytest.approx(0.12)


def test_of_equals_the_better_in_the_other_number_is_chosen():
    worse, better = point_of(0.099, 0.05), point_of(0.10, 0.05)
    assert choose([worse, better], "cold98") is better
    assert choose([better, worse], "cold98") is better
    colder = point_of(0.10, 0.06)
    assert choose([better, colder], "overall") is colder


def test_the_pareto_frontier_by_hand():
    kept = [point_of(0.10, 0.01), point_of(0.09, 0.04), point_of(0.05, 0.20)]
    beaten = [point_of(0.10, 0.005), point_of(0.08, 0.04), point_of(0.05, 0.19), point_of(0.09, 0.04)]
    assert pareto([beaten[0], *kept[::-1], *beaten[1:]]) == kept


def test_the_pareto_frontier_by_a_loop():
    rng = np.random.default_rng(0)
    points = [point_of(float(one), float(other)) for one, other in rng.integers(0, 12, (60, 2)) / 12]
    values = {(point.score, point.cold_recall) for point in points}
    unbeaten = {
        (score, cold)
        for score, cold in values
        if not any((s >= score and c >= cold) and (s, c) != (score, cold) for s, c in values)
    }
    found = [(point.score, point.cold_recall) for point in pareto(points)]
    assert set(found) == unbeaten
    assert found == sorted(unbeaten, reverse=True)
    assert (choose(points, "overall").score, choose(points, "overall").cold_recall) == found[0]
    assert (choose(points, "cold98").score, choose(points, "cold98").cold_recall) in unbeaten


MIXES = (Mix(), Mix(p3=0.3, content=0.2))


def test_calibration_never_reads_the_test_part():
    dataset = without_test(random_world(40))
    with pytest.raises(AssertionError, match="the test part was read"):
        len(dataset.target("test").user_counts)
    for fusion in ("attention", "none"):
        model = randomise(make_model(dataset, fusion))
        catalogue = catalogue_features(dataset, model.item_tower.modalities)
        Validator(dataset, catalogue)(model, IDS)
        calibrate(model, catalogue, dataset, MIXES, GRID)


def test_the_calibrated_model_scores_what_was_promised():
    dataset = block_world()
    model = randomise(make_model(dataset), size=0.1)
    catalogue = catalogue_features(dataset, model.item_tower.modalities)
    found = calibrate(model, catalogue, dataset, MIXES, GRID)
    by_rule = found.operating_points
    assert model.item_tower.operating_point.content_scale == pytest.approx(by_rule["overall"].content_scale)
    metrics = evaluate(TwoTowerScorer(model, catalogue), dataset, "validation", (20,)).metrics
    assert found.objective == pytest.approx(metrics["recall@20"] + metrics["ndcg@20"], abs=1e-6)
    assert found.frontier[0].score == pytest.approx(found.objective)
    assert found.frontier == pareto(found.frontier)
    model.set_operating_point(by_rule["cold98"])
    cold98 = evaluate(TwoTowerScorer(model, catalogue), dataset, "validation", (20,)).metrics
    assert cold98["recall@20"] + cold98["ndcg@20"] >= 0.98 * found.objective - 1e-6
    assert cold98["cold/recall@20"] >= metrics["cold/recall@20"] - 1e-6


def test_the_propagation_is_the_one_that_serves_best_beside_content():
    """Against each by itself; by its ids alone another would win in one of these worlds."""
    mixes = (*MIXES, Mix(p3=0.5, hops=1), Mix(jaccard=0.3), Mix(content=0.6))
    rough = replace(GRID, kappas=(0.0,), scales=(0.5,), neighbour_weights=(0.0,), smoothings=(0.0,), offsets=(-2.0,))
    otherwise = 0
    for seed in range(4):
        dataset = block_world(seed=seed)
        model = randomise(make_model(dataset), size=0.1)
        catalogue = catalogue_features(dataset, model.item_tower.modalities)
        start = {name: value.clone() for name, value in model.state_dict().items()}
        alone, beside = [], []
        for mix in mixes:
            model.load_state_dict(start)
            beside.append(calibrate(model, catalogue, dataset, [mix], rough).objective)
            ids = evaluate(TwoTowerScorer(model, catalogue, "collaborative"), dataset, "validation", (20,)).metrics
            alone.append(ids["recall@20"] + ids["ndcg@20"])
        model.load_state_dict(start)
        found = calibrate(model, catalogue, dataset, mixes, GRID)
        assert found.mix == mixes[int(np.argmax(beside))]
        otherwise += np.argmax(alone) != np.argmax(beside)
    assert otherwise


def test_a_model_of_ids_alone_shows_cold_items_last_and_is_measured_so():
    dataset = random_world(60)
    model = randomise(make_model(dataset, "none"))
    with torch.no_grad():
        model.item_table.bias_N.sub_(20.0)  # every warm score is below 0, where a cold item stands without an offset
    catalogue = catalogue_features(dataset, ())
    found = calibrate(model, catalogue, dataset, [Mix()], GRID)
    metrics = evaluate(TwoTowerScorer(model, catalogue), dataset, "validation", (20,)).metrics
    assert found.objective == pytest.approx(metrics["recall@20"] + metrics["ndcg@20"], abs=1e-9)
    assert metrics["cold/recall@20"] == 0.0
    assert metrics["warm/recall@20"] > 0.1
    assert set(found.operating_points) == {"overall", "cold98", "balanced"}
