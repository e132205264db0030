"""Tiny worlds for training: hand-shaped models with random numbers, and planted patterns with a known answer."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from avrec.build.model import learn_from_train
from avrec.core.dataset import Dataset, Feature
from avrec.core.ids import IdMap
from avrec.core.interactions import Interactions
from avrec.data.candidates import FullCatalogue
from avrec.data.samplers import PairPolicy, PairSampler
from avrec.losses.softmax import Softmax
from avrec.models.encoders.feature import FeatureEncoder
from avrec.models.fusion.attention import AttentionFusion
from avrec.models.fusion.concatenation import ConcatenationFusion
from avrec.models.id_table import ItemTable, UserTable
from avrec.models.item_tower import ItemTower
from avrec.models.pooling import NormalizedSum
from avrec.models.two_tower import TwoTower
from avrec.models.user_tower import UserTower
from avrec.training.module import LossWeights
from avrec.training.optimiser import ParameterGroups
from avrec.training.scorer import catalogue_features
from avrec.training.stages import Stage, StageContext
from avrec.training.validation import Validator

NUM_BLOCKS, USERS_EACH, WARM_EACH, COLD_EACH = 8, 8, 10, 2
ITEMS_EACH = WARM_EACH + COLD_EACH
IDS, CONTENT = LossWeights(1.0, 0.0, 0.0), LossWeights(0.0, 1.0, 0.0)


class Untouchable:
    """Stands where a part of the data must not be read: whoever asks it anything is refused."""

    def __getattribute__(self, name: str) -> object:
        raise AssertionError(f"the test part was read: .{name}")


def without_test(dataset: Dataset) -> Dataset:
    return replace(dataset, test=Untouchable())  # type: ignore[arg-type]


def block_world(seed: int = 0, with_cold: bool = True) -> Dataset:
    """8 blocks of 8 users and 12 items, of which 2 are never trained; a user stays in his block and features show it.

    Of a user's block, 6 warm items are train, 1 warm and 1 cold validation, 1 warm and 1 cold test. Item 3 of every block has
    no audio. Chance of a block's item among the first 10 of the 90 unseen ones is 1/9.
    """
    rng = np.random.default_rng(seed)
    num_users, num_items = NUM_BLOCKS * USERS_EACH, NUM_BLOCKS * ITEMS_EACH
    block = np.arange(num_users) // USERS_EACH
    warm = np.array([rng.permutation(WARM_EACH) for _ in range(num_users)]) + (block * ITEMS_EACH)[:, None]
    cold = np.array([rng.permutation(COLD_EACH) for _ in range(num_users)]) + (block * ITEMS_EACH + WARM_EACH)[:, None]

    def part(columns: slice, cold_column: int | None) -> Interactions:
        chosen = warm[:, columns]
        if cold_column is not None and with_cold:
            chosen = np.concatenate([chosen, cold[:, cold_column : cold_column + 1]], axis=1)
        users = np.repeat(np.arange(num_users), chosen.shape[1])
        return Interactions.from_events(users, chosen.ravel(), num_users, num_items)

    features = {}
    for name, dim in (("audio", 12), ("visual", 14)):
        centres = rng.standard_normal((NUM_BLOCKS, dim))
        values = np.repeat(centres, ITEMS_EACH, axis=0) + 0.3 * rng.standard_normal((num_items, dim))
        present = np.ones(num_items, np.bool_)
        if name == "audio":
            present[3::ITEMS_EACH] = False
        features[name] = Feature((values * present[:, None]).astype(np.float32), present)
    return Dataset(
        name="blocks",
        content_hash="blocks",
        users=IdMap([f"u{user:03d}" for user in range(num_users)]),
        items=IdMap([f"i{item:03d}" for item in range(num_items)]),
        train=part(slice(0, 6), None),
        validation=part(slice(6, 7), 0),
        test=part(slice(7, 8), 1),
        features=features,
    )


def random_world(num_cold: int, num_warm: int = 90, num_users: int = 40, seed: int = 0) -> Dataset:
    """Users with 1 to 4 validation targets, warm and cold ones, some of them in train as well; some items lack a modality."""
    rng = np.random.default_rng(seed)
    num_items = num_warm + num_cold

    def part(low: int, high: int, items: int, users: int) -> Interactions:
        counts = rng.integers(low, high, users)
        chosen = np.concatenate([rng.permutation(items)[:count] for count in counts])
        weight = rng.integers(1, 4, len(chosen)).astype(np.float32)
        return Interactions.from_events(np.repeat(np.arange(users), counts), chosen, num_users, num_items, weight)

    features = {}
    for name, width in (("audio", 4), ("visual", 5)):
        present = rng.random(num_items) > 0.15
        values = rng.standard_normal((num_items, width)) * present[:, None]
        features[name] = Feature(values.astype(np.float32), present)
    train = part(1, 12, num_warm, num_users - 2)
    ids = [IdMap([f"{row:03d}" for row in range(number)]) for number in (num_users, num_items)]
    validation, test = part(1, 5, num_items, num_users), part(1, 2, num_items, num_users)
    return Dataset("random", "random", ids[0], ids[1], train, validation, test, features)


def make_model(
    dataset: Dataset,
    fusion: str = "attention",
    dim: int = 8,
    dropout: float = 0.0,
    tied: bool = True,
    user_table: bool = False,
    exponent: float = 0.5,
    max_history_items: int = 50,
    seed: int = 0,
) -> TwoTower:
    """An untrained model whose counts and statistics are those of the data; `fusion` may be attention, concatenation or none."""
    torch.manual_seed(seed)
    widths = {} if fusion == "none" else {name: feature.values.shape[1] for name, feature in dataset.features.items()}
    if fusion == "attention":
        encoders = {name: FeatureEncoder(width, 8, dropout) for name, width in widths.items()}
        fused = AttentionFusion(dict.fromkeys(widths, 8), num_heads=2, modality_dropout=dropout)
    else:
        encoders = {name: FeatureEncoder(width) for name, width in widths.items()}
        fused = ConcatenationFusion(widths, {"audio": 0.5} if "audio" in widths else None) if widths else None
    item_tower = ItemTower(encoders, fused, dim)
    model = TwoTower(
        item_tower,
        UserTower(dim, item_tower.content_dim, NormalizedSum(exponent), NormalizedSum(0.5), max_history_items),
        ItemTable(dataset.num_items, dim, tied=tied, dropout=dropout),
        UserTable(dataset.num_users, dim, enabled=user_table),
    )
    learn_from_train(model, dataset)
    return model


def randomise(model: TwoTower, seed: int = 0, size: float = 0.3) -> TwoTower:
    """Move every parameter from its start, so that nothing is zero or the identity by accident."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(size * torch.randn_like(parameter))
    return model


def adam(rate: float = 0.02) -> ParameterGroups:
    return ParameterGroups(torch.optim.Adam, rate)


def make_stage(weights: LossWeights = IDS, max_epochs: int = 3, **options: object) -> Stage:
    settings = {"name": "stage", "optimizer": adam()} | options
    return Stage(max_epochs=max_epochs, weights=weights, **settings)


def make_sampler(dataset: Dataset, batch_size: int = 96, seed: int = 5, **options: object) -> PairSampler:
    return PairSampler(dataset.train, FullCatalogue(), batch_size=batch_size, seed=seed, policy=PairPolicy(**options))


def make_context(
    dataset: Dataset,
    model: TwoTower,
    folder: Path,
    sampler: PairSampler | None = None,
    callbacks: Callable[[], list[Callback]] = list,
    validate: Callable[..., dict[str, float]] | None = None,
    content_items: Sequence[bool] | None = None,
    **trainer: object,
) -> StageContext:
    """A quiet trainer on the processor; what is not named is as in `conf/trainer/cpu.yaml`."""
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    catalogue = catalogue_features(dataset, model.item_tower.modalities)
    return StageContext(
        sampler=sampler or make_sampler(dataset),
        catalogue=catalogue,
        loss=Softmax(),
        validate=validate or Validator(dataset, catalogue),
        make_trainer=partial(
            pl.Trainer, accelerator="cpu", devices=1, use_distributed_sampler=False, **quiet, **trainer
        ),
        make_logger=lambda stage: False,
        callbacks=callbacks,
        folder=folder,
        content_items_A=None if content_items is None else torch.tensor(content_items),
    )


def state_of(model: TwoTower) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


class Ends(Callback):
    """Keeps the trained weights at the end of every epoch, as the optimiser left them."""

    def __init__(self) -> None:
        self.states: list[dict[str, torch.Tensor]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: object) -> None:
        if trainer.fit_loop.epoch_loop.batch_idx + 1 == trainer.num_training_batches:
            self.states.append(state_of(pl_module.model))
