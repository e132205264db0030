"""A tiny catalogue of raw sound and pictures in memory, and models that read it with tiny random encoders.

Axes: N items, C clips of an item.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from avrec.build.model import learn_from_train
from avrec.core.arrays import Bool, Float32, Int64
from avrec.core.dataset import Dataset, MediaColumn
from avrec.core.ids import IdMap
from avrec.core.interactions import Interactions
from avrec.data.candidates import FullCatalogue
from avrec.data.items_first import ItemsFirstSampler
from avrec.data.samplers import PairPolicy, PairSampler
from avrec.losses.softmax import Softmax
from avrec.models.encoders.base import RAW, MediaEncoder
from avrec.models.fusion.attention import AttentionFusion
from avrec.models.id_table import ItemTable, UserTable
from avrec.models.item_tower import ItemTower
from avrec.models.pooling import NormalizedSum
from avrec.models.two_tower import CatalogueFeatures, TwoTower
from avrec.models.user_tower import UserTower
from avrec.training.encoder_module import EncoderModule, EncoderTraining
from avrec.training.media_store import MediaStore, media_encoders, with_steps
from avrec.training.module import LossWeights
from avrec.training.optimiser import ParameterGroups
from avrec.training.scorer import catalogue_features
from avrec.training.stages import Stage, StageContext
from tests.models.tiny_encoders import media, vit, whisper
from tests.training.world import adam, randomise

NUM_USERS, NUM_ITEMS, NUM_COLD = 23, 18, 3
HELD_OUT = (2, 9)  # pseudo-cold
LACKS = {"audio": (1, 4, 16), "video": (4, 7)}  # 4 lacks both, 16 is cold
POLICY = PairPolicy(max_history_items=4, only_available=True)
CONTENT = LossWeights(0.0, 1.0, 0.0)
BOTH = LossWeights(1.0, 1.0, 0.0)


def media_dataset() -> Dataset:
    """23 users with 3 to 7 weighted events in time; the last 3 items are never trained; some lack sound, pictures or both."""
    rng = np.random.default_rng(3)

    def part(low: int, high: int, num_items: int) -> Interactions:
        counts = rng.integers(low, high, NUM_USERS)
        users = np.repeat(np.arange(NUM_USERS), counts)
        items = np.concatenate([rng.permutation(num_items)[:count] for count in counts])
        weights = rng.integers(1, 5, len(users)) / np.float32(2)
        stamps = rng.integers(0, 40 * 86_400, len(users))
        return Interactions.from_events(users, items, NUM_USERS, NUM_ITEMS, weights, stamps)

    train = part(3, 8, NUM_ITEMS - NUM_COLD)
    columns = {
        kind: MediaColumn(tuple(None if item in absent else f"{item}.mp4" for item in range(NUM_ITEMS)))
        for kind, absent in LACKS.items()
    }
    ids = [IdMap([f"{row:02d}" for row in range(number)]) for number in (NUM_USERS, NUM_ITEMS)]
    nothing = train.select(np.zeros(len(train), np.bool_))
    return Dataset(
        "media", "media", ids[0], ids[1], train, part(1, 3, NUM_ITEMS), nothing, media=columns, media_root="nowhere"
    )


@dataclass
class Memory:
    """The clips of one kind by item, as a `ClipReader` gives them; keeps what it was asked for."""

    values: np.ndarray
    valid: Float32
    present: Bool
    names: tuple[str | None, ...]
    asked: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, encoder: MediaEncoder, column: MediaColumn, seed: int = 0) -> "Memory":
        """Random media in the precision of the clip cache, the last clip of each file partly padding."""
        values = media(encoder, len(column.paths), seed).numpy().copy()
        values = values if values.dtype == np.uint8 else values.astype(np.float16)
        valid = np.ones((len(values), encoder.spec.num_clips), np.float32)
        valid[:, -1] = np.random.default_rng(seed).uniform(0.4, 1, len(values))
        values[~column.present] = 0
        return cls(values, valid, column.present, column.paths)

    def read(self, idx: Int64) -> tuple[np.ndarray, Float32]:
        """Clips and valid shares."""
        assert self.present[idx].all(), "only what is present may be read"
        self.asked += np.asarray(idx).tolist()
        return self.values[idx], self.valid[idx]


class MemoryStore(MediaStore):
    """A store whose clips are in memory already."""

    def __init__(self, dataset: Dataset, folder: Path, memory: dict[str, Memory], batch_items: int = 5) -> None:
        super().__init__(dataset, folder, batch_items=batch_items)
        self.memory = memory

    def clips(self, encoder: MediaEncoder) -> Memory:  # type: ignore[override]
        """Nothing is decoded."""
        return self.memory[encoder.kind]


def media_model(
    dataset: Dataset,
    encoders: dict[str, Callable[[], MediaEncoder]] | None = None,
    dim: int = 8,
    dropout: float = 0.0,
    seed: int = 0,
) -> TwoTower:
    """Tiny encoders under attention, the towers of `tests.training.world`; what is counted is not yet learned."""
    torch.manual_seed(seed)
    makers = {"audio": whisper, "video": vit} if encoders is None else encoders
    made = {name: make() for name, make in makers.items()}
    for encoder in made.values():
        encoder.head.dropout.p = dropout
    fusion = AttentionFusion(dict.fromkeys(made, 8), num_heads=2, modality_dropout=dropout)
    item_tower = ItemTower(made, fusion, dim)
    return TwoTower(
        item_tower,
        UserTower(dim, item_tower.content_dim, NormalizedSum(0.5), NormalizedSum(0.5), POLICY.max_history_items),
        ItemTable(dataset.num_items, dim),
        UserTable(dataset.num_users, dim, enabled=True),
    )


@dataclass
class MediaWorld:
    """A data set with its steps, the model that made them, its store and the content bank."""

    dataset: Dataset
    model: TwoTower
    store: MemoryStore
    catalogue: CatalogueFeatures

    def encoder(self, name: str) -> MediaEncoder:
        """A media encoder of the model."""
        return media_encoders(self.model)[name]

    def bank(self) -> dict[str, Tensor]:
        """A copy of the steps of all items."""
        return {name: value.clone() for name, value in self.catalogue.values.items()}

    def exact_bank(self, levels: dict[str, int]) -> dict[str, Tensor]:
        """The steps by the encoders as they stand, from the clips or the caches at these levels, written out here."""
        found = {}
        for name, value in self.catalogue.values.items():
            encoder, level = self.encoder(name), levels.get(name, RAW)
            reader = self.store.level(encoder, level)
            found[name] = torch.zeros_like(value)
            for item in np.flatnonzero(reader.present):
                values, valid = (torch.from_numpy(array) for array in reader.read(np.array([item])))
                with torch.no_grad():
                    found[name][item] = encoder.steps(values, valid, level)[0]
        return found


def make_world(folder: Path, double: bool = False, random_heads: bool = True, **options: object) -> MediaWorld:
    """A model whose bank was made by itself; everything above the trunks random unless told otherwise."""
    dataset = media_dataset()
    model = media_model(dataset, **options)
    if random_heads:
        trunks = {name: encoder.trunk.state_dict() for name, encoder in media_encoders(model).items()}
        trunks = {name: {key: value.clone() for key, value in state.items()} for name, state in trunks.items()}
        randomise(model)
        for name, encoder in media_encoders(model).items():
            encoder.trunk.load_state_dict(trunks[name])
    memory = {
        encoder.kind: Memory.of(encoder, dataset.media[encoder.kind], seed)
        for seed, encoder in enumerate(media_encoders(model).values())
    }
    store = MemoryStore(dataset, folder / "cache", memory)
    model = model.double() if double else model
    dataset = with_steps(dataset, model, store)
    learn_from_train(model, dataset)
    catalogue = catalogue_features(dataset, model.item_tower.modalities)
    if double:
        catalogue.values.update({name: value.double() for name, value in catalogue.values.items()})
    return MediaWorld(dataset, model, store, catalogue)


def allowed() -> Tensor:
    """Items that are not pseudo-cold."""
    return torch.tensor([item not in HELD_OUT for item in range(NUM_ITEMS)])


def item_sampler(dataset: Dataset, items_per_batch: int = 4, users_per_item: int = 3) -> ItemsFirstSampler:
    """The sampler of an encoder stage, pseudo-cold items left out."""
    return ItemsFirstSampler(dataset.train, items_per_batch, users_per_item, 5, POLICY, exclude=~allowed().numpy())


def module_of(
    world: MediaWorld, blocks: dict[str, object], weights: LossWeights = CONTENT, **options: object
) -> EncoderModule:
    """The module of a stage that trains these blocks, beside a trainer of one process."""
    for name, encoder in media_encoders(world.model).items():
        encoder.set_trainable(blocks.get(name, 0))
    readers = {name: world.store.level(world.encoder(name), world.encoder(name).boundary_level) for name in blocks}
    module = EncoderModule(
        world.model,
        world.catalogue,
        Softmax(),
        weights,
        adam(),
        lambda model: {},
        allowed(),
        readers=readers,
        training=EncoderTraining(blocks, **options),
        available_sec=item_sampler(world.dataset).available_sec,
    )
    module._trainer = type("Alone", (), {"world_size": 1, "global_rank": 0})()
    logged: dict[str, float] = {}
    module.logged = logged
    module.log_dict = lambda found, **_: logged.update({name: float(value) for name, value in found.items()})
    module.log = lambda name, value, **_: logged.update({name: float(value)})
    return module


def encoder_stage(
    blocks: dict[str, object], max_epochs: int = 2, weights: LossWeights = CONTENT, **options: object
) -> Stage:
    """A stage of items first, 4 at a time."""
    keys = ("checkpointing", "bank_weight", "items_per_batch", "users_per_item")
    training = {key: options.pop(key) for key in keys if key in options}
    sizes = {"items_per_batch": 4, "users_per_item": 3, "batch_items": 5}
    settings = {"name": "stage", "optimizer": ParameterGroups(torch.optim.Adam, 0.01)} | options
    return Stage(
        max_epochs=max_epochs, weights=weights, encoders=EncoderTraining(blocks, **(sizes | training)), **settings
    )


def media_context(
    world: MediaWorld,
    folder: Path,
    callbacks: Callable[[], list[Callback]] = list,
    objectives: Sequence[float] | None = None,
    **trainer: object,
) -> StageContext:
    """A quiet trainer on the processor; the validation objective is told beforehand, or rises with every call."""
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    told = iter(range(1, 1000) if objectives is None else objectives)
    return StageContext(
        sampler=PairSampler(world.dataset.train, FullCatalogue(), batch_size=45, seed=5, policy=POLICY),
        catalogue=world.catalogue,
        loss=Softmax(),
        validate=lambda model, weights: {"objective": float(next(told))},
        make_trainer=partial(
            pl.Trainer, accelerator="cpu", devices=1, use_distributed_sampler=False, **quiet, **trainer
        ),
        make_logger=lambda stage: False,
        callbacks=callbacks,
        folder=folder,
        content_items_A=allowed(),
        media=world.store,
        make_item_sampler=lambda items, users: item_sampler(world.dataset, items, users),
    )
