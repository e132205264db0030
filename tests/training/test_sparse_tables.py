"""Id tables whose gradients are sparse: the same gradients, the same fits after a break, and a cost that does not grow."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from avrec.core.errors import ConfigError
from avrec.core.interactions import Interactions
from avrec.data.candidates import FullCatalogue, HardNegatives, InBatch, SampledNegatives, SharedPool
from avrec.data.samplers import PairPolicy, PairSampler
from avrec.losses.bpr import BPR
from avrec.losses.info_nce import InfoNCE
from avrec.losses.softmax import Softmax
from avrec.models.id_table import ItemTable, UserTable
from avrec.models.item_tower import ItemTower
from avrec.models.pooling import NormalizedSum
from avrec.models.two_tower import CatalogueFeatures, TwoTower
from avrec.models.user_tower import UserTower
from avrec.training.averaging import EpochAveraging, ExponentialAveraging
from avrec.training.batches import TensorBatch
from avrec.training.module import LossWeights, TwoTowerModule
from avrec.training.optimiser import ParameterGroups
from avrec.training.row_adagrad import RowAdagrad
from avrec.training.row_adam import RowAdam
from avrec.training.scorer import catalogue_features
from avrec.training.stages import run_stage
from tests.training.test_stages import EPOCHS, Plug, PulledPlugError, equal, last, saver
from tests.training.world import (
    CONTENT,
    IDS,
    adam,
    block_world,
    make_context,
    make_model,
    make_stage,
    randomise,
    same,
    state_of,
)

ROW_ADAM = ParameterGroups(RowAdam, 0.02, weight_decays={"item_table.output_ND": 0.001})
CANDIDATES = {
    "full": FullCatalogue(),
    "in-batch": InBatch(),
    "sampled": SampledNegatives(20),
    "pool": SharedPool(20),
    "hard": HardNegatives(40, 5, 5),
}


def sparse(model: TwoTower) -> TwoTower:
    model.item_table.sparse = model.user_table.sparse = True
    return model


def module_of(model, dataset, weights=IDS, loss=None, optimizer=ROW_ADAM) -> TwoTowerModule:
    catalogue = catalogue_features(dataset, model.item_tower.modalities)
    module = TwoTowerModule(model, catalogue, loss or Softmax(), weights, optimizer, lambda model: {})
    return module.double()


def gradient_of(module, batch):
    module.zero_grad()
    torch.stack(list(module.losses(batch).values())).sum().backward()
    return {name: value.grad for name, value in module.model.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("name", CANDIDATES)
def test_gradients_are_those_of_the_dense_table_and_hold_only_what_the_batch_names(name, tied):
    dataset = block_world()
    batch = TensorBatch.of(PairSampler(dataset.train, CANDIDATES[name], 16, 5).batch(0, 0), torch.float64)
    found = []
    for make in (lambda model: model, sparse):
        model = make(randomise(make_model(dataset, tied=tied, user_table=True)))
        found.append(gradient_of(module_of(model, dataset, LossWeights(1.0, 0.5, 0.5, id_dropout=0.0)), batch))
    dense, rows = found
    assert dense.keys() == rows.keys()
    tables = {"item_table.output_ND", "item_table.bias_N", "user_table.residual_UD"}
    tables |= set() if tied else {"item_table.history_ND"}
    for key, expected in dense.items():
        assert rows[key].is_sparse == (key in tables)
        torch.testing.assert_close(rows[key].to_dense() if key in tables else rows[key], expected)
    named = {*batch.candidate_idx_N.tolist(), *batch.history_idx_BL.flatten().tolist(), *batch.positive_B.tolist()}
    assert set(rows["item_table.output_ND"]._indices()[0].tolist()) == named
    assert set(rows["user_table.residual_UD"]._indices()[0].tolist()) == set(batch.user_idx_B.tolist())


def test_one_mask_of_the_dropout_serves_both_roles_of_a_tied_row():
    table = ItemTable(50, 8, dropout=0.5, sparse=True)
    history, output, bias = table.rows(torch.arange(0, 50, 2))
    assert torch.equal(history, output) and bias.shape == (25,)
    dropped = (output == 0).double().mean()
    assert 0.35 < dropped < 0.65
    torch.testing.assert_close(output[output != 0], (2 * table.output_ND[::2])[output != 0])
    table.eval()
    assert torch.equal(table.rows(torch.tensor([3, 7]))[1], table.output_ND[[3, 7]])
    untied = ItemTable(50, 8, tied=False, dropout=0.5, sparse=True)
    history, output, _ = untied.rows(torch.arange(50))
    assert not torch.equal(history == 0, output == 0)


def fit(folder, *callbacks, candidates=None, averaging=None, optimizer=ROW_ADAM, steps=False, loss=None, **trainer):
    dataset = block_world()
    model = sparse(make_model(dataset, dropout=0.3, user_table=True))
    sampler = PairSampler(dataset.train, candidates or SharedPool(40), 96, 5)
    extra = [saver(folder)] if steps else []
    context = make_context(dataset, model, folder, sampler, lambda: [*callbacks, *extra], **trainer)
    context = context if loss is None else SimpleNamespace(**{**vars(context), "loss": loss})
    stage = make_stage(LossWeights(1.0, 0.5, 0.5), EPOCHS, optimizer=optimizer, averaging=averaging)
    return model, run_stage(model, stage, 0, context)


@pytest.mark.parametrize(
    ("moment", "options"),
    [
        (("batch", 1, 2), {"averaging": partial(EpochAveraging, start_epoch=1)}),
        (("batch", 2, 1), {"averaging": partial(ExponentialAveraging, decay=0.9), "candidates": InBatch()}),
        (("batch", 1, 2), {"accumulate_grad_batches": 2, "candidates": HardNegatives(40, 5, 5)}),
        (("batch", 1, 3), {"optimizer": ParameterGroups(RowAdagrad, 0.01), "gradient_clip_val": 0.5}),
    ],
    ids=["averaged", "exponential", "accumulated", "adagrad, clipped"],
)
def test_a_fit_broken_in_the_middle_of_an_epoch_ends_as_an_unbroken_one(moment, options, tmp_path):
    with pytest.raises(PulledPlugError):
        fit(tmp_path / "broken", Plug(*moment), steps=True, **options)
    broken, summary = fit(tmp_path / "broken", steps=True, **options)
    whole, whole_summary = fit(tmp_path / "whole", steps=True, **options)
    assert same(state_of(broken), state_of(whole)) and summary == whole_summary
    assert equal(last(tmp_path / "broken"), last(tmp_path / "whole"))


def test_clipping_reckons_with_sparse_gradients(tmp_path):
    """A norm that forgot the tables would leave them unclipped: Adam after clipping to nothing does not move."""
    groups = ParameterGroups(partial(RowAdam, eps=1.0), 0.02)
    model, _ = fit(tmp_path, optimizer=groups, gradient_clip_val=1e-9)
    torch.manual_seed(0)
    start = make_model(block_world(), dropout=0.3, user_table=True)
    assert (model.item_table.output_ND - start.item_table.output_ND).abs().max() < 1e-7


@pytest.mark.parametrize("optimizer", [ROW_ADAM, ParameterGroups(RowAdagrad, 0.01)], ids=["adam", "adagrad"])
@pytest.mark.parametrize("name", ["in-batch", "pool", "hard"])
def test_a_stage_with_a_sparse_table_finds_the_blocks(name, optimizer, tmp_path):
    _, summary = fit(tmp_path, candidates=CANDIDATES[name], optimizer=optimizer)
    assert summary["objective"] > 1.0  # recall@20 + NDCG@20 of ids and of content; at random about .4 for ids


class Largest(TorchDispatchMode):
    """The elements of the largest tensor that an operation has made; views of what was there do not count."""

    def __init__(self, known) -> None:
        super().__init__()
        self.known = {tensor.untyped_storage().data_ptr() for tensor in known}
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                dense = tensor._values() if tensor.is_sparse else tensor
                if dense.untyped_storage().data_ptr() not in self.known:
                    self.elements = max(self.elements, dense.untyped_storage().nbytes() // dense.element_size())
        return made


@pytest.mark.parametrize("optimizer", [RowAdam, RowAdagrad])
@pytest.mark.parametrize("name", ["in-batch", "sampled", "pool", "hard"])
def test_no_operation_of_a_step_is_as_large_as_the_table(name, optimizer):
    found = []
    for rows in (2_000, 200_000):
        rng = np.random.default_rng(0)
        users, items = np.repeat(np.arange(0, rows, rows // 40), 6), rng.choice(2_000, (40, 6)) * (rows // 2_000)
        train = Interactions.from_events(users, items.ravel(), rows, rows)
        train = Interactions.from_events(*np.unique(np.stack([train.user_idx, train.item_idx]), axis=1), rows, rows)
        tables = ItemTable(rows, 4, sparse=True), UserTable(rows, 4, enabled=True, sparse=True)
        tower = UserTower(4, 0, NormalizedSum(), NormalizedSum(), 50)
        model = TwoTower(ItemTower({}, None, 4), tower, *tables, 0)
        groups = ParameterGroups(optimizer, 0.01, weight_decays={"item_table": 0.1})
        module = TwoTowerModule(model, CatalogueFeatures({}, {}), BPR(), IDS, groups, lambda model: {})
        sampler = PairSampler(train, CANDIDATES[name], 32, 5, PairPolicy())
        stepper = groups(model)
        batches = [TensorBatch.of(sampler.batch(0, index)) for index in range(3)]
        for batch in batches[:2]:  # the first makes the optimiser's state
            known = [*module.state_dict().values(), module.content_items_A]
            known += [value for state in stepper.state.values() for value in state.values()]
            with Largest(known) as largest:
                stepper.zero_grad()
                module.losses(batch)["id"].backward()
                stepper.step()
        touched = model.item_table.output_ND.grad._nnz()
        found.append(largest.elements)
        assert touched < 400 and largest.elements < 10_000
    assert found[1] < 1.5 * found[0] + 100


def world_of(size):
    return SimpleNamespace(world_size=size)


@pytest.mark.parametrize("table", ["item_table", "user_table"])
def test_a_sparse_table_is_refused_under_several_processes_and_without_its_optimiser(table):
    dataset = block_world()
    model = make_model(dataset, user_table=True)
    getattr(model, table).sparse = True
    module = module_of(model, dataset, optimizer=adam())
    module._trainer = world_of(2)
    with pytest.raises(
        ConfigError, match=rf"{table}: sparse=true under 2 processes is not supported.*trainer.devices=1"
    ):
        module.setup("fit")
    with pytest.raises(
        ConfigError, match=rf"{table}: sparse=true needs the optimiser avrec.*RowAdam, and this stage uses Adam"
    ):
        module.configure_optimizers()
    module._trainer = world_of(1)
    module.setup("fit")
    assert module_of(model, dataset, CONTENT, optimizer=adam()).configure_optimizers()  # it reads no table
    for parameter in getattr(model, table).parameters():
        parameter.requires_grad_(False)
    assert module.configure_optimizers()


def test_a_loss_that_contrasts_users_is_refused_under_several_processes_and_with_columns_of_ones_own():
    dataset = block_world()
    module = module_of(make_model(dataset), dataset, loss=InfoNCE())
    module._trainer = world_of(3)
    with pytest.raises(ConfigError, match="loss: InfoNCE contrasts all users of a batch, but each of 3 processes"):
        module.setup("fit")
    batch = TensorBatch.of(PairSampler(dataset.train, SharedPool(9), 16, 5).batch(0, 0), torch.float64)
    with pytest.raises(
        ConfigError, match=r"loss: InfoNCE needs every user's score of every positive.*candidates=in_batch"
    ):
        module.losses(batch)


def test_what_a_loss_learns_is_trained_and_named():
    dataset = block_world()
    module = module_of(make_model(dataset), dataset, loss=InfoNCE(learn_temperature=True))
    module.make_optimizer = ParameterGroups(RowAdam, 0.1, {"loss.log_scale": 0.25})
    groups = {group["lr"]: group["params"] for group in module.configure_optimizers().param_groups}
    assert groups[0.25] == [module.loss.log_scale]
    fixed = module_of(make_model(dataset), dataset, loss=InfoNCE())
    assert all(
        fixed.loss.log_scale is not one
        for group in fixed.configure_optimizers().param_groups
        for one in group["params"]
    )
