"""Steps that reach into encoders against loops over single pairs and items in float64, and what may move in a stage."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from avrec.core.errors import ConfigError
from avrec.losses.softmax import Softmax
from avrec.models.encoders.base import RAW
from avrec.training.batches import ItemLoader, TensorBatch
from avrec.training.encoder_module import EncoderModule, EncoderTraining
from avrec.training.media_store import media_encoders
from avrec.training.module import LossWeights, TwoTowerModule
from avrec.training.optimiser import ParameterGroups
from avrec.training.stages import run_stage
from tests.models.tiny_encoders import efficientnet, whisper
from tests.training.media_world import (
    CONTENT,
    HELD_OUT,
    LACKS,
    MediaWorld,
    allowed,
    encoder_stage,
    item_sampler,
    make_world,
    media_context,
    media_dataset,
    media_model,
    module_of,
)
from tests.training.world import adam, state_of

BLOCKS = {"audio": 1, "video": "all"}
ALIGNED = LossWeights(0.0, 1.0, 0.0, alignment=0.5)


def batch_of(module: EncoderModule, world: MediaWorld, index: int = 0, epoch: int = 0, items: int = 4) -> TensorBatch:
    """A batch as the loader of a stage makes it."""
    before = SimpleNamespace(batch_idx=index - 1)
    trainer = SimpleNamespace(
        current_epoch=epoch, global_rank=0, world_size=1, fit_loop=SimpleNamespace(epoch_loop=before)
    )
    dtype = next(world.model.parameters()).dtype
    return next(iter(ItemLoader(item_sampler(world.dataset, items), trainer, 0, dtype, module.readers.value)))


def whole_batch(module: EncoderModule, world: MediaWorld) -> TensorBatch:
    """Every trained item that is not pseudo-cold."""
    return batch_of(module, world, items=15)


def gradients(module: EncoderModule, loss: Tensor) -> dict[str, Tensor]:
    """Of every parameter that the loss reaches."""
    module.zero_grad()
    loss.backward()
    found = {name: value.grad for name, value in module.model.named_parameters() if value.grad is not None}
    return {name: value.clone() for name, value in found.items() if bool(value.any())}


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Of any element, in parts of the largest element of its tensor, or of a millionth of the largest of all."""
    assert one.keys() == other.keys(), one.keys() ^ other.keys()
    sizes = {name: float(value.abs().max()) for name, value in other.items()}
    floor = 1e-6 * max(sizes.values())
    return max(float((one[name] - other[name]).abs().max()) / max(size, floor) for name, size in sizes.items())


def batch_with(module: EncoderModule, world: MediaWorld, item: int) -> TensorBatch:
    """The batch of the first epoch that holds an item."""
    batches = [batch_of(module, world, index) for index in range(item_sampler(world.dataset).num_batches)]
    return next(batch for batch in batches if item in batch.candidate_idx_N.tolist())


class Naive:
    """The content losses of a batch by their definitions: every item by itself, every pair by itself."""

    def __init__(self, world: MediaWorld, blocks: dict[str, object], bank: dict[str, Tensor]) -> None:
        self.world, self.blocks, self.bank = world, blocks, bank

    def steps(self, name: str, item: int, fresh: bool) -> Tensor:
        encoder = self.world.encoder(name)
        reader = self.world.store.level(encoder, encoder.boundary_level)
        if not fresh or name not in self.blocks or not reader.present[item]:
            return self.bank[name][item : item + 1]
        values, valid = (torch.from_numpy(array) for array in reader.read(np.array([item])))
        return encoder.encode(values, encoder.boundary_level, encoder.pooled_level, valid.double())

    def content(self, item: int, fresh: bool) -> Tensor:
        tower = self.world.model.item_tower
        masks = {name: torch.tensor([item not in LACKS[name]]) for name in tower.modalities}
        return tower.content({name: self.steps(name, item, fresh) for name in tower.modalities}, masks)[0][0]

    def taste(self, batch: TensorBatch, row: int) -> Tensor:
        mask = batch.history_mask_BL[row]
        past = zip(batch.history_idx_BL[row][mask].tolist(), batch.history_weight_BL[row][mask].tolist(), strict=True)
        visible = [(item, weight) for item, weight in past if item not in HELD_OUT]
        total = sum(weight for _, weight in visible)
        zero = torch.zeros(8, dtype=torch.float64)
        return sum((weight * self.content(item, False) for item, weight in visible), zero) / max(total, 1e-9) ** 0.5

    def scores(self, batch: TensorBatch) -> Tensor:
        columns = [self.content(item, True) for item in batch.candidate_idx_N.tolist()]
        rows = [[self.taste(batch, row) @ column for column in columns] for row in range(len(batch.user_idx_B))]
        return self.world.model.content_log_scale.exp() * torch.stack([torch.stack(row) for row in rows])

    def content_loss(self, batch: TensorBatch) -> Tensor:
        scores, items = self.scores(batch), batch.candidate_idx_N.tolist()
        trained = int((allowed() & (self.world.model.item_evidence_N > 0)).sum())
        log_q = float(np.float32(math.log(len(items) / trained)))
        losses = []
        for row, positive in enumerate(batch.positive_B.tolist()):
            known = set(self.world.dataset.train.item_idx[self.rows_of(int(batch.user_idx_B[row]))].tolist())
            columns = [
                place
                for place, item in enumerate(items)
                if item == positive or (item not in known and item not in self.unmet(batch)[row])
            ]
            logits = [scores[row, place] - (0 if items[place] == positive else log_q) for place in columns]
            losses.append(torch.logsumexp(torch.stack(logits), 0) - scores[row, items.index(positive)])
        return torch.stack(losses).mean()

    def rows_of(self, user: int) -> slice:
        return slice(*self.world.dataset.train.indptr[user : user + 2])

    def unmet(self, batch: TensorBatch) -> list[set[int]]:
        """What nobody had met when each pair happened."""
        train, now = self.world.dataset.train, batch.pair_sec_B
        if now is None:
            return [set()] * len(batch.user_idx_B)
        first = {item: train.timestamp[train.item_idx == item].min() for item in np.unique(train.item_idx).tolist()}
        return [{item for item, since in first.items() if since > time} for time in now.tolist()]

    def bank_loss(self, batch: TensorBatch) -> Tensor:
        model = self.world.model
        items = [item for item in range(15) if item not in HELD_OUT and model.item_evidence_N[item] > 0]
        columns = {item: self.content(item, False) for item in items}
        losses = []
        for row, positive in enumerate(batch.positive_B.tolist()):
            history = set(batch.history_idx_BL[row][batch.history_mask_BL[row]].tolist())
            taste = self.taste(batch, row)
            score = {item: model.content_log_scale.exp() * (taste @ columns[item]) for item in items}
            others = [
                score[item] for item in items if item not in history - {positive} and item not in self.unmet(batch)[row]
            ]
            losses.append(torch.logsumexp(torch.stack(others), 0) - score[positive])
        return torch.stack(losses).mean()


@pytest.fixture
def world(tmp_path):
    return make_world(tmp_path, double=True)


def stale(world: MediaWorld, seed: int = 0) -> dict[str, Tensor]:
    """Move the bank away from what the encoders give, absent rows apart."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in world.catalogue.values.items():
        noise = torch.randn(value.shape, generator=generator, dtype=value.dtype)
        value += 0.5 * noise * world.catalogue.masks[name][:, None, None]
    return world.bank()


@pytest.mark.parametrize("lacking", [1, 4, 7])
@pytest.mark.parametrize("blocks", [BLOCKS, {"video": 2}], ids=["both", "video alone"])
def test_scores_and_gradients_are_those_of_one_pair_at_a_time(world, blocks, lacking):
    bank = stale(world)
    module = module_of(world, blocks, bank_weight=0.0)
    batch = batch_with(module, world, lacking)
    naive = Naive(world, blocks, bank)
    scores = module.content_scores(batch, module.fresh(batch))
    assert torch.allclose(scores, naive.scores(batch), rtol=0, atol=1e-9)
    for name, value in world.catalogue.values.items():
        value.copy_(bank[name])
    found = gradients(module, module.losses(batch)["content"])
    expected = gradients(module, naive.content_loss(batch))
    assert largest_difference(found, expected) < 1e-9
    assert {name.split(".")[2] for name in found if ".trunk." in name} == set(blocks)


def test_the_bank_loss_is_over_all_trained_items_and_stops_at_the_bank(world):
    bank = stale(world)
    module = module_of(world, BLOCKS, bank_weight=0.7)
    batch = batch_of(module, world)
    naive = Naive(world, BLOCKS, bank)
    parts = module.losses(batch)
    assert set(parts) == {"content", "bank"}
    assert parts["bank"].item() == pytest.approx(0.7 * naive.bank_loss(batch).item(), rel=1e-9)
    found = gradients(module, parts["bank"])
    assert largest_difference(found, gradients(module, 0.7 * naive.bank_loss(batch))) < 1e-9
    assert not [name for name in found if ".trunk." in name]
    assert [name for name in found if ".head." in name]


def test_the_log_of_these_tests_has_items_that_nobody_had_met_yet(world):
    module = module_of(world, BLOCKS)
    assert any(Naive(world, BLOCKS, world.bank()).unmet(batch_of(module, world)))


def test_a_large_bank_is_drawn_alike_on_every_rank_and_holds_the_batch(world, monkeypatch):
    module = module_of(world, BLOCKS)
    batch = batch_of(module, world)
    monkeypatch.setattr("avrec.training.encoder_module.MAX_BANK", 5)
    seen = []
    content = module.column_content

    def listening(batch, fresh, items=None):
        seen.append(items)
        return content(batch, fresh, items)

    module.column_content = listening
    first = module._bank_loss(batch)
    torch.rand(3)
    assert torch.equal(module._bank_loss(batch), first)
    columns = [items.tolist() for items in seen[1::2]]
    assert columns[0] == columns[1] == sorted(columns[0])
    assert set(batch.candidate_idx_N.tolist()) <= set(columns[0])
    assert 5 <= len(columns[0]) < 13
    assert not set(columns[0]) & {*HELD_OUT, 15, 16, 17}


def test_what_was_encoded_is_written_back_and_nothing_else(world):
    before = stale(world)
    module = module_of(world, BLOCKS)
    batch = batch_of(module, world, index=1)
    fresh = module.fresh(batch)
    module.losses(batch)
    items = batch.candidate_idx_N
    others = torch.ones(18, dtype=torch.bool).index_fill(0, items, False)
    for name, bank in world.catalogue.values.items():
        assert torch.equal(bank[items], fresh[name].detach())
        assert torch.equal(bank[others], before[name][others])
        assert not bank.requires_grad
        assert not bank[list(LACKS[name])].any()
        present = [item for item in items.tolist() if item not in LACKS[name]]
        assert not torch.isclose(bank[present], before[name][present]).any(), "each step was stale"


def test_an_encoder_that_is_not_trained_is_not_encoded(world):
    before = stale(world)
    module = module_of(world, {"audio": 1})
    batch = batch_of(module, world)
    assert set(batch.inputs) == set(module.fresh(batch)) == {"audio"}
    module.losses(batch)
    assert torch.equal(world.catalogue.values["video"], before["video"])
    assert not torch.equal(world.catalogue.values["audio"], before["audio"])


def test_staleness_is_told_and_is_nothing_where_nothing_moved(tmp_path):
    world = make_world(tmp_path, double=True, dropout=0.4)
    module = module_of(world, {"audio": "all", "video": "all"})
    module.train()
    batch = whole_batch(module, world)
    for name, steps in module.fresh(batch).items():
        world.catalogue.values[name][batch.candidate_idx_N] = steps.detach()
    exact = world.bank()
    module.losses(batch)
    cosines = ["train/audio_bank_cosine", "train/video_bank_cosine"]
    assert module.logged["train/fresh_stale_gap"] == 0.0
    assert [module.logged[name] for name in cosines] == pytest.approx([1.0, 1.0], abs=1e-12)

    for name, value in world.catalogue.values.items():
        value.copy_(exact[name])
    moved = stale(world)
    module.losses(batch)
    for name in ("audio", "video"):
        items = [item for item in batch.candidate_idx_N.tolist() if item not in LACKS[name]]
        pairs = [(exact[name][item].flatten(), moved[name][item].flatten()) for item in items]
        expected = np.mean([float(one @ other / (one.norm() * other.norm())) for one, other in pairs])
        assert module.logged[f"train/{name}_bank_cosine"] == pytest.approx(expected)
        assert expected < 0.99
    assert module.logged["train/fresh_stale_gap"] != 0.0
    assert module.training and module.model.training


def test_the_gap_is_that_of_the_positives_in_deviations_of_the_scores(world):
    bank = stale(world)
    module = module_of(world, BLOCKS)
    batch = batch_of(module, world)
    naive = Naive(world, BLOCKS, bank)
    module.content_scores(batch, module.fresh(batch))
    scores, scale = naive.scores(batch), world.model.content_log_scale.exp()
    gaps = [
        scores[row, batch.candidate_idx_N.tolist().index(item)]
        - scale * naive.taste(batch, row) @ naive.content(item, False)
        for row, item in enumerate(batch.positive_B.tolist())
    ]
    assert module.logged["train/fresh_stale_gap"] == pytest.approx((torch.stack(gaps).mean() / scores.std()).item())


def test_a_mark_of_freshness_is_seen_and_earns_nothing(world):
    """All columns are equally fresh: what is added to each of them for being fresh cancels in the softmax."""
    module = module_of(world, {"audio": "all", "video": "all"}, bank_weight=0.0)
    batch = whole_batch(module, world)
    for name, steps in module.fresh(batch).items():
        world.catalogue.values[name][batch.candidate_idx_N] = steps.detach()
    honest = module.losses(batch)["content"].item()
    assert module.logged["train/fresh_stale_gap"] == 0.0
    mark = module.user_content(batch).detach().mean(dim=0)
    content = module.column_content
    module.column_content = lambda batch, fresh, items=None: content(batch, fresh, items) + (3 * mark if fresh else 0)
    marked = module.losses(batch)["content"].item()
    assert marked == pytest.approx(honest, rel=1e-12)
    assert module.logged["train/fresh_stale_gap"] > 0.3


def test_a_mark_that_the_encoder_itself_adds_is_seen(world):
    module = module_of(world, {"audio": "all", "video": "all"})
    batch = whole_batch(module, world)
    fresh = module.fresh(batch)
    for name, steps in fresh.items():
        world.catalogue.values[name][batch.candidate_idx_N] = steps.detach()
    leaves = {name: steps.detach().requires_grad_() for name, steps in fresh.items()}
    module.content_scores(batch, leaves)[batch.target_BN].mean().backward()
    for name, leaf in leaves.items():  # the one direction of all items that raises the scores of positives most
        encoder, mark = world.encoder(name), leaf.grad.mean(dim=0)
        steps = type(encoder).steps
        encoder.steps = lambda *given, encoder=encoder, mark=mark, steps=steps: (
            steps(encoder, *given) + 5 * mark / mark.norm()
        )
    module.losses(batch)
    assert module.logged["train/fresh_stale_gap"] > 0.05


# --- what is frozen, and where a stage starts from


def test_what_is_below_the_boundary_and_its_batch_norms_stay_and_what_is_above_moves(tmp_path):
    world = make_world(tmp_path, encoders={"audio": whisper, "video": efficientnet})
    before = state_of(world.model)
    run_stage(world.model, encoder_stage({"audio": 1, "video": 2}), 0, media_context(world, tmp_path))
    after = state_of(world.model)
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    kinds = {"audio": 0, "video": 0}
    for kind, blocks in (("audio", 1), ("video", 2)):
        encoder, place = world.encoder(kind), f"item_tower.encoders.{kind}."
        parameters = dict(encoder.trunk.named_parameters())
        for name in encoder.trunk.state_dict():
            learns = name in parameters and encoder.depth_of(f"trunk.{name}") > encoder.num_blocks - blocks
            learns = learns and name not in encoder.trunk.constants
            if "k_proj.bias" in name or "squeeze" in name:  # no gradient of a softmax; gates may be shut
                continue
            assert (f"{place}trunk.{name}" in moved) == learns, name
            kinds[kind] += learns
        assert f"{place}head.project.weight" in moved
    assert min(kinds.values()) > 8
    norms = [name for name in after if "running_" in name or "num_batches" in name]
    assert len(norms) > 10 and not moved & set(norms)


@pytest.mark.parametrize("kind, blocks", [("audio", 1), ("audio", 2), ("video", 1), ("video", 3)])
def test_gradients_from_the_cache_are_those_from_the_media(world, tmp_path, kind, blocks):
    weights = LossWeights(0.0, 1.0, 0.0)
    module = module_of(world, {kind: blocks}, weights, bank_weight=0.0)
    encoder = world.encoder(kind)
    level = encoder.boundary_level
    assert level == 3 - blocks
    clips = world.store.clips(encoder)
    trained = [name for name, value in world.model.named_parameters() if value.requires_grad and ".trunk." in name]
    bank = world.bank()

    def found(reader, start: int) -> dict[str, Tensor]:
        world.catalogue.values[kind].copy_(bank[kind])
        module.readers.value[kind] = reader
        encoder.boundary_level = start
        batch = batch_of(module, world, index=1)
        encoder.boundary_level = start
        return gradients(module, module.losses(batch)["content"])

    with torch.no_grad():
        exact = encoder.encode(torch.from_numpy(clips.values), RAW, level, torch.from_numpy(clips.valid).double())
    raw = found(clips, RAW)
    assert largest_difference(found(replace(clips, values=exact.numpy()), level), raw) < 1e-9
    half = found(world.store.level(encoder, level), level)
    one, other = (torch.cat([part[name].flatten() for name in sorted(raw)]) for part in (half, raw))
    assert 0 < (one - other).norm() / other.norm() < 0.01
    assert {name for name in raw if ".trunk." in name} >= {name for name in trained if "k_proj.bias" not in name}


def test_checkpointing_computes_blocks_twice_and_changes_nothing(tmp_path):
    states, calls = [], []
    for checkpointing in (False, True):
        world = make_world(tmp_path / str(checkpointing))
        counted = []
        for encoder in media_encoders(world.model).values():
            encoder.trunk.blocks[-1].register_forward_pre_hook(
                lambda *_, counted=counted: counted.append(torch.is_grad_enabled())
            )
        stage = encoder_stage({"audio": 2, "video": "all"}, 1, checkpointing=checkpointing)
        run_stage(world.model, stage, 0, media_context(world, tmp_path / str(checkpointing)))
        states.append(state_of(world.model))
        calls.append(sum(counted))
    assert calls[1] == 2 * calls[0] > 0
    for name, value in states[0].items():
        assert torch.allclose(states[1][name], value, rtol=1e-5, atol=1e-6), name


def test_pseudo_cold_items_are_neither_encoded_nor_history(tmp_path):
    world = make_world(tmp_path, double=True)
    module = module_of(world, {"audio": "all", "video": "all"})
    for memory in world.store.memory.values():
        memory.asked.clear()
    sampler = item_sampler(world.dataset)
    batches = [batch_of(module, world, index, epoch) for epoch in range(3) for index in range(sampler.num_batches)]
    for name, memory in world.store.memory.items():
        expected = [item for item in range(15) if item not in (*HELD_OUT, *LACKS[name])]
        assert sorted(memory.asked) == sorted(3 * expected)
    items = {item for batch in batches for item in batch.history_idx_BL[batch.history_mask_BL].tolist()}
    assert items and not items & set(HELD_OUT)
    # ... and if a history names one all the same, its content is not seen.
    batch = batches[0]
    mask = batch.history_mask_BL.clone()
    mask[:, 0] = True
    idx = batch.history_idx_BL.clone()
    idx[:, 0] = HELD_OUT[0]
    module.log_dict = lambda *_, **__: None
    with_one = module.user_content(batch._replace(history_mask_BL=mask, history_idx_BL=idx))
    mask[:, 0] = False
    assert torch.equal(with_one, module.user_content(batch._replace(history_mask_BL=mask, history_idx_BL=idx)))


# --- alignment


def test_alignment_reaches_both_heads_and_no_item_that_lacks_one(world):
    bank = stale(world)
    module = module_of(world, {"audio": "all", "video": "all"}, ALIGNED)
    batch = whole_batch(module, world)
    fresh = module.fresh(batch)
    leaves = {name: steps.detach().requires_grad_() for name, steps in fresh.items()}
    loss = module.alignment(batch, leaves)
    loss.backward()
    items = batch.candidate_idx_N.tolist()
    for leaf in leaves.values():
        touched = {item for place, item in enumerate(items) if leaf.grad[place].any()}
        assert touched == set(items) - set(LACKS["audio"]) - set(LACKS["video"])
    both = [place for place, item in enumerate(items) if item not in {*LACKS["audio"], *LACKS["video"]}]
    pooled = {name: world.encoder(name)(steps[both]).mean(dim=1) for name, steps in fresh.items()}
    cosine = torch.stack(
        [torch.stack([functional.cosine_similarity(a, v, dim=0) for v in pooled["video"]]) for a in pooled["audio"]]
    )
    rows = [
        0.5 * (torch.logsumexp(cosine[i] / 0.1, 0) + torch.logsumexp(cosine[:, i] / 0.1, 0)) - cosine[i, i] / 0.1
        for i in range(len(both))
    ]
    assert loss.item() == pytest.approx(float(torch.stack(rows).mean()), rel=1e-9)
    parts = module.losses(batch)
    assert parts["alignment"].item() == pytest.approx(0.5 * loss.item(), rel=1e-9)
    with_it = gradients(module, sum(parts.values()))
    for name, value in bank.items():
        world.catalogue.values[name].copy_(value)
    module.weights = CONTENT
    without = gradients(module, sum(module.losses(batch).values()))
    for name in ("audio", "video"):
        key = f"item_tower.encoders.{name}.head.project.weight"
        assert (with_it[key] - without[key]).abs().max() > 1e-3 * without[key].abs().max()


def test_alignment_of_items_that_all_lack_one_is_nothing(world):
    module = module_of(world, {"audio": "all", "video": "all"}, ALIGNED)
    batch = whole_batch(module, world)
    module.get_buffer("mask_audio").zero_()
    loss = module.alignment(batch, module.fresh(batch))
    assert loss.item() == 0.0
    assert not gradients(module, loss)


def test_pseudo_cold_items_are_not_aligned(world):
    module = module_of(world, {"audio": "all", "video": "all"}, ALIGNED)
    batch = whole_batch(module, world)
    plain = module.alignment(batch, {})
    everything = torch.arange(15)
    noise = batch._replace(candidate_idx_N=everything)
    assert module.alignment(noise, {}).item() == pytest.approx(plain.item(), rel=1e-12)


# --- dropout at the boundary


def rates_of(model, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    names = {id(value): name for name, value in model.named_parameters()}
    return {names[id(value)]: group["lr"] for group in optimizer.param_groups for value in group["params"]}


@pytest.mark.parametrize("blocks", [0, 1, 2, 3, "all"])
def test_rates_fall_from_block_to_block(blocks):
    model = media_model(media_dataset(), {"audio": whisper, "video": efficientnet})
    for encoder in media_encoders(model).values():
        encoder.set_trainable(blocks)
    groups = ParameterGroups(
        torch.optim.SGD, 0.1, {"item_tower.encoders": 0.2, "item_table": 0.3}, None, encoder_rate=0.01, layer_decay=0.5
    )
    found = rates_of(model, groups(model))
    trunks = {}
    for name, value in model.named_parameters():
        if not value.requires_grad:
            assert name not in found
        elif ".trunk." in name:
            part = name.split(".trunk.")[1].split(".")
            below = {"blocks": 2 - int(part[1]) if part[0] == "blocks" else 0, "norm": 0, "stem": 3}[part[0]]
            assert found[name] == pytest.approx(0.01 * 0.5**below, rel=1e-12), name
            trunks.setdefault(name.split(".")[2], set()).add(found[name])
        elif name.startswith("item_tower.encoders"):
            assert found[name] == 0.2, name
        else:
            assert found[name] == (0.3 if name.startswith("item_table") else 0.1), name
    rates = {0.01 * 0.5**below for below in range(4 if blocks == "all" else blocks)}
    assert trunks == ({"audio": rates, "video": rates} if blocks else {})


def test_without_a_rate_of_their_own_blocks_learn_as_anything_else():
    model = media_model(media_dataset())
    for encoder in media_encoders(model).values():
        encoder.set_trainable("all")
    found = rates_of(model, ParameterGroups(torch.optim.SGD, 0.1, layer_decay=0.5)(model))
    assert set(found.values()) == {0.1}


def test_rates_rise_linearly_over_the_warm_up(world):
    groups = ParameterGroups(torch.optim.SGD, 0.1, {"item_table": 0.4}, encoder_rate=0.01, warmup_steps=4)
    world.encoder("audio").set_trainable(1)
    optimizer = groups(world.model)
    schedule = groups.schedule(optimizer)
    assert schedule is not None
    seen = []
    for _ in range(6):
        seen.append(sorted({group["lr"] for group in optimizer.param_groups}))
        optimizer.step()
        schedule.step()
    shares = [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert seen == [pytest.approx([share * rate for rate in (0.01, 0.1, 0.4)]) for share in shares]
    assert ParameterGroups(torch.optim.SGD, 0.1).schedule(optimizer) is None


# --- what is refused


def test_what_cannot_be_trained_is_told(world):
    with pytest.raises(
        ConfigError, match=r"encoders.blocks names \['adio'\]; there are encoders of \['audio', 'video'\]"
    ):
        EncoderTraining({"adio": 1, "video": 1})
    with pytest.raises(ConfigError, match=r"trains encoders, but its weights content and joint are 0"):
        module_of(world, BLOCKS, LossWeights(1.0, 0.0, 0.0))
    with pytest.raises(ConfigError, match=r"WhisperEncoder: 4 blocks cannot be trained; expected 0 to 3 or 'all'"):
        module_of(world, {"audio": 4})


def test_alignment_without_both_or_with_unlike_tokens_is_told(tmp_path):
    def make(world: MediaWorld) -> TwoTowerModule:
        return TwoTowerModule(world.model, world.catalogue, Softmax(), ALIGNED, adam(), lambda model: {})

    with pytest.raises(ConfigError, match=r"alignment=0.5 aligns sound and picture, but the model has no \['video'\]"):
        make(make_world(tmp_path / "one", encoders={"audio": whisper}))
    both = make_world(tmp_path / "two")
    make(both)
    both.encoder("audio").output_dim = 6
    with pytest.raises(ConfigError, match=r"tokens have the widths \{'audio': 6, 'video': 8\}. Give both encoders one"):
        make(both)
