"""The three losses against loops over rows, items, heads and dimensions in float64."""

import math

import numpy as np
import pytest
import torch

from avrec.core.dataset import Dataset, Feature
from avrec.core.errors import ConfigError
from avrec.core.ids import IdMap
from avrec.core.interactions import Interactions
from avrec.data.candidates import Candidates, FullCatalogue, InBatch, SharedPool
from avrec.data.samplers import PairSampler
from avrec.losses.softmax import Softmax
from avrec.models.item_tower import OperatingPoint
from avrec.models.two_tower import TwoTower
from avrec.training.batches import TensorBatch
from avrec.training.module import LossWeights, TwoTowerModule
from avrec.training.scorer import catalogue_features
from tests.training.world import CONTENT, IDS, adam, block_world, make_model, make_sampler, randomise

NUM_USERS, NUM_ITEMS, COLD, KAPPA = 10, 13, 12, 3.0
HELD_OUT = [2, 5]
JOINT = LossWeights(0.0, 0.0, 1.0, id_dropout=0.0)


def tiny_world() -> Dataset:
    """10 users with 2 to 6 weighted events; item 12 is never trained, item 1 has no audio, item 4 has nothing."""
    rng = np.random.default_rng(0)
    counts = rng.integers(2, 7, NUM_USERS)
    users = np.repeat(np.arange(NUM_USERS), counts)
    items = np.concatenate([rng.permutation(COLD)[:count] for count in counts])
    train = Interactions.from_events(users, items, NUM_USERS, NUM_ITEMS, rng.integers(1, 5, len(users)) / np.float32(2))
    absent = {"audio": [1, 4], "visual": [4, 7]}
    features = {}
    for name, width in (("audio", 5), ("visual", 6)):
        present = ~np.isin(np.arange(NUM_ITEMS), absent[name])
        values = rng.standard_normal((NUM_ITEMS, width)) * present[:, None]
        features[name] = Feature(values.astype(np.float32), present)
    nothing = train.select(np.zeros(len(train), np.bool_))
    ids = [IdMap([f"{row:02d}" for row in range(number)]) for number in (NUM_USERS, NUM_ITEMS)]
    return Dataset("tiny", "tiny", ids[0], ids[1], train, nothing, nothing, features)


def module_of(
    model: TwoTower, dataset: Dataset, weights: LossWeights, held_out: list[int] | None = None
) -> TwoTowerModule:
    double = model.double()
    catalogue = catalogue_features(dataset, double.item_tower.modalities)
    catalogue.values.update({name: value.double() for name, value in catalogue.values.items()})
    allowed = None if held_out is None else torch.tensor([item not in held_out for item in range(dataset.num_items)])
    return TwoTowerModule(double, catalogue, Softmax(), weights, adam(), lambda model: {}, allowed)


def batch_of(dataset: Dataset, candidates: Candidates | None = None) -> TensorBatch:
    sampler = PairSampler(dataset.train, candidates or FullCatalogue(), batch_size=16, seed=1)
    return TensorBatch.of(sampler.batch(0, 0), torch.float64)


def plain(losses: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in losses.items()}


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


class Naive:
    """The losses of a model by their definitions, one pair at a time."""

    def __init__(self, model: TwoTower, dataset: Dataset, held_out: list[int] | None = None) -> None:
        self.model, self.dataset, self.held_out = model, dataset, held_out or []
        self.seen = [
            dict(
                zip(
                    *(values[start:end].tolist() for values in (dataset.train.item_idx, dataset.train.weight)),
                    strict=True,
                )
            )
            for start, end in zip(dataset.train.indptr[:-1], dataset.train.indptr[1:], strict=True)
        ]
        table = model.item_table
        self.output = array(table.output_ND)
        self.history = self.output if table.tied else array(table.history_ND)
        self.bias = array(table.bias_N)
        has_content = bool(model.item_tower.modalities)
        self.content = {item: self.content_of(item) for item in range(dataset.num_items)} if has_content else {}

    def token(self, name: str, item: int) -> np.ndarray:
        encoder = self.model.item_tower.encoders[name]
        statistics = encoder.preprocess
        value = (self.dataset.features[name].values[item] - array(statistics.mean_F)) * array(statistics.scale_F)
        unit = value / max(np.linalg.norm(value), 1e-12)
        head = dict(encoder.head.named_parameters())
        return array(head["weight"]) @ unit + array(head["bias"]) if head else unit

    def content_of(self, item: int) -> np.ndarray:
        fusion = self.model.item_tower.fusion
        names = self.model.item_tower.modalities
        present = [name for name in names if self.dataset.features[name].present[item]]
        if hasattr(fusion, "weights"):
            parts = [fusion.weights[name] * self.token(name, item) * (name in present) for name in names]
            vector = np.concatenate(parts)
        else:
            tokens = [self.token(name, item) + array(fusion.modality_MD)[names.index(name)] for name in present]
            tokens = tokens or [array(fusion.absent_D)]
            heads, width = fusion.num_heads, fusion.output_dim // fusion.num_heads
            mixed = []
            for head in range(heads):
                part = slice(head * width, (head + 1) * width)
                keys = [(array(fusion.key.weight) @ token)[part] for token in tokens]
                logits = [float(key @ array(fusion.query_D)[part]) / math.sqrt(width) for key in keys]
                mass = [math.exp(logit) for logit in logits]
                values = [(array(fusion.value.weight) @ token)[part] for token in tokens]
                mixed.append(sum(share * value for share, value in zip(mass, values, strict=True)) / sum(mass))
            vector = array(fusion.output.weight) @ np.concatenate(mixed) + array(fusion.output.bias)
        return vector / max(np.linalg.norm(vector), 1e-12)

    def scores(self, user: int, positive: int, items: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """By ids and by content."""
        model = self.model
        known = {item: weight for item, weight in self.seen[user].items() if item != positive}
        size = sum(known.values())
        pooled = sum((weight * self.history[item] for item, weight in known.items()), np.zeros(model.item_table.dim))
        vector = array(model.user_tower.map_DD) @ (pooled / math.sqrt(size)) + array(model.user_tower.constant_D)
        if model.user_table.enabled:
            evidence = len(self.seen[user])
            vector = vector + array(model.user_table.residual_UD)[user] * evidence / (evidence + model.user_table.kappa)
        ids = [float(vector @ self.output[item] + self.bias[item]) for item in items]
        if not self.content:
            return np.array(ids), np.zeros(len(items))
        visible = {item: weight for item, weight in known.items() if item not in self.held_out}
        taste = np.zeros(model.item_tower.content_dim)
        for item, weight in visible.items():
            taste += weight * self.content[item] / math.sqrt(sum(visible.values()))
        scale = math.exp(float(array(model.content_log_scale)))
        return np.array(ids), np.array([scale * float(taste @ self.content[item]) for item in items])

    def loss(self, batch: TensorBatch, part: str, hidden: set[int] = frozenset()) -> float:
        """Mean loss over the rows; `hidden` are items whose ids the joint loss does not see."""
        shared, total = batch.candidate_idx_N.tolist(), 0.0
        log_q_of = dict(zip(shared, batch.log_q_N.tolist()[-len(shared) :], strict=True))
        counts = self.dataset.train.item_counts
        for user, positive in zip(batch.user_idx_B.tolist(), batch.positive_B.tolist(), strict=True):
            if part == "content" and positive in self.held_out:
                continue
            items = [positive, *(item for item in shared if item != positive)]
            ids, content = self.scores(user, positive, items)
            gate = np.array([0.0 if item in hidden else counts[item] / (counts[item] + KAPPA) for item in items])
            gate = np.where(np.isin(items, self.held_out), 1.0, gate)
            scores = {"id": ids, "content": content, "joint": gate * ids + (1 - gate) * content}[part]
            mass = 0.0
            for item, score in zip(items, scores, strict=True):
                if item == positive:
                    own = math.exp(score)
                elif item not in self.seen[user] and not (part == "content" and item in self.held_out):
                    mass += math.exp(score - log_q_of[item])
            total -= math.log(own / (own + mass))
        return total / len(batch.user_idx_B)


@pytest.mark.parametrize("candidates", [FullCatalogue(), InBatch(), SharedPool(9)], ids=["full", "in-batch", "pool"])
@pytest.mark.parametrize("fusion", ["attention", "concatenation"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_each_loss_equals_a_naive_loop(fusion, candidates, tied):
    dataset = tiny_world()
    model = randomise(make_model(dataset, fusion, tied=tied, user_table=not tied))
    model.set_operating_point(OperatingPoint(kappa=KAPPA))
    batch = batch_of(dataset, candidates)
    module = module_of(model, dataset, LossWeights(0.7, 0.4, 2.0, id_dropout=0.0))
    naive = Naive(model, dataset)
    expected = {"id": 0.7 * naive.loss(batch, "id"), "content": 0.4 * naive.loss(batch, "content")}
    expected["joint"] = 2.0 * naive.loss(batch, "joint")
    found = module.losses(batch)
    assert plain(found) == pytest.approx(expected, rel=1e-10)


def test_rows_are_divided_by_the_pairs_of_all_ranks():
    dataset = tiny_world()
    module = module_of(make_model(dataset), dataset, LossWeights(1.0, 1.0, 1.0, 0.0))
    batch = batch_of(dataset)
    whole, half = module.losses(batch), module.losses(batch._replace(global_size=2 * batch.global_size))
    assert {name: 2 * value for name, value in plain(half).items()} == pytest.approx(plain(whole), rel=1e-12)


def test_seen_items_and_items_that_were_never_trained_have_no_part_in_a_loss():
    dataset = tiny_world()
    model = randomise(make_model(dataset))
    module = module_of(model, dataset, LossWeights(1.0, 1.0, 1.0, 0.0))
    batch = batch_of(dataset)
    before = plain(module.losses(batch))
    with torch.no_grad():
        model.item_table.output_ND[COLD] += 100.0
        model.item_table.bias_N[COLD] += 100.0
    assert plain(module.losses(batch)) == before
    one = next(row for row in range(len(batch.user_idx_B)) if not batch.valid_BN[row].all())
    seen = batch.candidate_idx_N[~batch.valid_BN[one]]
    with torch.no_grad():
        model.item_table.bias_N[seen] += 100.0
    rows = module.loss(module.id_scores(batch), batch.target_BN, batch.valid_BN, batch.log_q_N)
    assert rows[one] < 20


@pytest.mark.parametrize("candidates", [FullCatalogue(), SharedPool(9)], ids=["full", "pool"])
@pytest.mark.parametrize("fusion", ["attention", "concatenation"])
def test_held_out_items_are_neither_row_column_nor_history_of_the_content_loss(fusion, candidates):
    dataset = tiny_world()
    model = randomise(make_model(dataset, fusion))
    model.set_operating_point(OperatingPoint(kappa=KAPPA))
    batch = batch_of(dataset, candidates)
    assert np.isin(batch.positive_B.numpy(), HELD_OUT).any()
    module = module_of(model, dataset, LossWeights(1.0, 1.0, 1.0, 0.0), HELD_OUT)
    naive = Naive(model, dataset, HELD_OUT)
    found = plain(module.losses(batch))
    assert found == pytest.approx({part: naive.loss(batch, part) for part in ("id", "content", "joint")}, rel=1e-10)


@pytest.mark.parametrize("weights", [CONTENT, LossWeights(0, 0, 1.0, id_dropout=0.5)], ids=["content", "joint"])
def test_no_gradient_reaches_the_features_of_held_out_items(weights):
    dataset = tiny_world()
    model = randomise(make_model(dataset))
    for held_out in ([], HELD_OUT):
        module = module_of(model, dataset, weights, held_out)
        feature = module.feature_visual.requires_grad_(True)
        torch.manual_seed(0)
        torch.stack(list(module.losses(batch_of(dataset)).values())).sum().backward()
        moved = feature.grad.abs().sum(dim=1) > 0
        assert moved[HELD_OUT].any() == (not held_out)
        assert moved.sum() >= 6


def test_without_id_dropout_the_joint_score_is_gated_by_evidence_and_with_all_of_it_content_alone():
    dataset = tiny_world()
    model = randomise(make_model(dataset))
    batch = batch_of(dataset)
    values = {}
    for kappa in (0.0, KAPPA):
        model.set_operating_point(OperatingPoint(kappa=kappa))
        for dropout in (0.0, 1.0):
            module = module_of(model, dataset, LossWeights(1.0, 1.0, 1.0, dropout))
            values[kappa, dropout] = plain(module.losses(batch))
    assert values[0.0, 0.0]["joint"] == pytest.approx(values[0.0, 0.0]["id"], rel=1e-12)
    assert values[KAPPA, 0.0]["joint"] == pytest.approx(Naive(model, dataset).loss(batch, "joint"), rel=1e-10)
    for kappa in (0.0, KAPPA):
        assert values[kappa, 1.0]["joint"] == pytest.approx(values[kappa, 1.0]["content"], rel=1e-12)
    assert abs(values[KAPPA, 0.0]["joint"] - values[0.0, 0.0]["joint"]) > 1e-3


def test_id_dropout_hides_each_item_from_all_users_of_the_batch(monkeypatch):
    dataset = tiny_world()
    model = randomise(make_model(dataset))
    model.set_operating_point(OperatingPoint(kappa=KAPPA))
    batch = batch_of(dataset)
    draw = torch.rand(len(batch.candidate_idx_N), dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    monkeypatch.setattr(torch, "rand_like", lambda tensor: draw)
    hidden = set(batch.candidate_idx_N[draw < 0.4].tolist())
    assert 2 <= len(hidden) <= len(draw) - 2
    module = module_of(model, dataset, LossWeights(0.0, 0.0, 1.0, id_dropout=0.4))
    assert module.losses(batch)["joint"].item() == pytest.approx(
        Naive(model, dataset).loss(batch, "joint", hidden), rel=1e-10
    )


def test_id_dropout_hides_an_item_in_the_pool_and_in_a_column_of_its_own_alike():
    dataset = tiny_world()
    model = randomise(make_model(dataset))
    model.set_operating_point(OperatingPoint(kappa=KAPPA))
    batch = batch_of(dataset, SharedPool(9))
    assert np.isin(batch.positive_B.numpy(), batch.candidate_idx_N.numpy()).any()
    drawn = torch.rand(dataset.num_items, generator=torch.Generator().manual_seed(batch.noise_seed))
    named = batch.places.items_R
    hidden = set(named[drawn[named] < 0.4].tolist())
    assert 2 <= len(hidden) <= len(named) - 2
    module = module_of(model, dataset, LossWeights(0.0, 0.0, 1.0, id_dropout=0.4))
    assert module.losses(batch)["joint"].item() == pytest.approx(
        Naive(model, dataset).loss(batch, "joint", hidden), rel=1e-10
    )


@pytest.mark.parametrize(
    ("weights", "parts", "untouched"),
    [(IDS, {"id"}, "content_scores"), (CONTENT, {"content"}, "id_scores"), (JOINT, {"joint"}, None)],
    ids=["id", "content", "joint"],
)
def test_a_part_with_weight_0_is_not_computed(weights, parts, untouched, monkeypatch):
    dataset = tiny_world()
    module = module_of(make_model(dataset), dataset, weights)
    if untouched:
        monkeypatch.delattr(TwoTowerModule, untouched)
    assert set(module.losses(batch_of(dataset))) == parts


def test_a_model_of_ids_alone_trains_without_features():
    dataset = tiny_world()
    model = randomise(make_model(dataset, "none"))
    batch = batch_of(dataset)
    found = module_of(model, dataset, IDS).losses(batch)
    assert found["id"].item() == pytest.approx(Naive(model, dataset).loss(batch, "id"), rel=1e-10)


def gradients(model: TwoTower, dataset: Dataset, weights: LossWeights) -> dict[str, float]:
    for parameter in model.parameters():
        parameter.grad = None
    torch.stack(list(module_of(model, dataset, weights).losses(batch_of(dataset)).values())).sum().backward()
    named = model.named_parameters()
    return {name: 0.0 if value.grad is None else float(value.grad.abs().sum()) for name, value in named}


def test_content_moves_the_encoders_and_ids_the_table_and_neither_the_other():
    dataset = tiny_world()
    model = randomise(make_model(dataset))
    by_ids, by_content = gradients(model, dataset, IDS), gradients(model, dataset, CONTENT)
    learned = {name for name in by_ids if name.startswith("item_tower.") or name == "content_log_scale"}
    assert len(learned) == 12
    assert {name for name, size in by_content.items() if size > 0} == learned
    moved = {name for name, size in by_ids.items() if size > 0}
    assert moved == {"item_table.output_ND", "item_table.bias_N", "user_tower.constant_D"}


@pytest.mark.parametrize("weights", [IDS, CONTENT, LossWeights(0, 0, 1.0)], ids=["id", "content", "joint"])
@pytest.mark.parametrize("fusion", ["attention", "concatenation"])
def test_each_loss_falls_when_trained(weights, fusion):
    dataset = block_world()
    model = make_model(dataset, fusion)
    module = module_of(model, dataset, weights)
    optimizer = adam(0.03)(model)
    sampler = make_sampler(dataset)
    batches = [TensorBatch.of(sampler.batch(0, index), torch.float64) for index in range(4)]

    def total() -> float:
        torch.manual_seed(0)
        return sum(value.item() for batch in batches for value in module.losses(batch).values()) / len(batches)

    before = total()
    for _ in range(5):
        for batch in batches:
            optimizer.zero_grad()
            torch.stack(list(module.losses(batch).values())).sum().backward()
            optimizer.step()
    # Features that are used as they are have one number to learn: the scale.
    assert total() < before - (0.04 if weights is CONTENT and fusion == "concatenation" else 0.4)


def test_the_step_repeats_its_dropout_from_the_batch():
    dataset = tiny_world()
    module = module_of(make_model(dataset, dropout=0.5), dataset, LossWeights(1.0, 1.0, 1.0, 0.5))
    module.log_dict = module.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    module._trainer = type("Alone", (), {"world_size": 1})()
    batch = batch_of(dataset)
    torch.manual_seed(11)
    first = module.training_step(batch._replace(noise_seed=4), 0)
    torch.rand(17)
    assert module.training_step(batch._replace(noise_seed=4), 5) == first
    assert module.training_step(batch._replace(noise_seed=5), 0) != first


def test_weights_that_cannot_be_trained_are_refused():
    dataset = tiny_world()
    with pytest.raises(ConfigError, match=r"content=1.0 and joint=0.0 train content, but the model has no modalities"):
        module_of(make_model(dataset, "none"), dataset, LossWeights(1.0, 1.0))
    with pytest.raises(ConfigError, match=r"no loss has a weight above 0 .* Give id, content or joint one"):
        module_of(make_model(dataset), dataset, LossWeights(0.0, 0.0, 0.0))
