"""Fits that two ranks and one process repeat alike. `python -m tests.training.ddp_cases FOLDER CASE...` is one rank."""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import nn

from avrec.build.compose import compose
from avrec.build.instantiate import instantiate
from avrec.core.dataset import Dataset, Feature
from avrec.core.ids import IdMap
from avrec.core.interactions import Interactions
from avrec.data.candidates import Candidates, FullCatalogue, HardNegatives, InBatch, SampledNegatives, SharedPool
from avrec.data.samplers import PairPolicy, PairSampler
from avrec.losses.bpr import BPR
from avrec.losses.softmax import Softmax
from avrec.models.two_tower import TwoTower
from avrec.training.averaging import EpochAveraging
from avrec.training.fit import train
from avrec.training.module import LossWeights
from avrec.training.optimiser import ParameterGroups
from avrec.training.ranks import own_ranks
from avrec.training.scorer import catalogue_features
from avrec.training.stages import Stage, StageContext, run_stage
from tests.training.media_world import encoder_stage, make_world, media_context
from tests.training.world import make_model, randomise

NUM_USERS, NUM_ITEMS, NUM_COLD, BATCH_SIZE = 23, 18, 3, 45
EVERYTHING = LossWeights(id=1.0, content=0.7, joint=0.4, id_dropout=0.0)


@dataclass(frozen=True)
class Case:
    """What is scored, by which loss, in which precision and with which optimiser."""

    candidates: Candidates
    loss: nn.Module
    precision: str
    optimizer: Callable[..., torch.optim.Optimizer]

    @property
    def tolerance(self) -> float:
        return 1e-5 if self.precision == "32-true" else 1e-9


SGD = partial(torch.optim.SGD, momentum=0.9)
OBJECTIVES: dict[str, tuple[Candidates, nn.Module]] = {
    "full softmax": (FullCatalogue(), Softmax()),
    "in-batch softmax": (InBatch(), Softmax(temperature=0.8)),
    "sampled softmax": (SampledNegatives(6), Softmax()),
    "bpr": (SampledNegatives(6), BPR()),
}
CASES = {
    f"{name}, {precision}": Case(*objective, precision, SGD)
    for name, objective in OBJECTIVES.items()
    for precision in ("32-true", "64-true")
}
STAGES = "two stages"
MEDIA = "media"
CASES["pool softmax, 64-true"] = Case(SharedPool(12), Softmax(), "64-true", SGD)
CASES["hard softmax, 64-true"] = Case(HardNegatives(16, 3, 2), Softmax(), "64-true", SGD)
CASES["adam, 64-true"] = Case(*OBJECTIVES["full softmax"], "64-true", torch.optim.Adam)


def world() -> Dataset:
    """23 users with 2 to 7 weighted events in time; 3 items are never trained, one lacks audio, one lacks everything."""
    rng = np.random.default_rng(3)
    counts = rng.integers(2, 8, NUM_USERS)
    users = np.repeat(np.arange(NUM_USERS), counts)
    items = np.concatenate([rng.permutation(NUM_ITEMS - NUM_COLD)[:count] for count in counts])
    weights = rng.integers(1, 5, len(users)) / np.float32(2)
    stamps = rng.integers(0, 40 * 86_400, len(users))
    trained = Interactions.from_events(users, items, NUM_USERS, NUM_ITEMS, weights, stamps)
    nothing = trained.select(np.zeros(len(trained), np.bool_))
    features = {}
    for name, width, absent in (("audio", 5, [1, 4]), ("visual", 6, [4])):
        present = ~np.isin(np.arange(NUM_ITEMS), absent)
        values = rng.standard_normal((NUM_ITEMS, width)) * present[:, None]
        features[name] = Feature(values.astype(np.float32), present)
    ids = [IdMap([f"{row:02d}" for row in range(number)]) for number in (NUM_USERS, NUM_ITEMS)]
    return Dataset("tiny", "tiny", ids[0], ids[1], trained, nothing, nothing, features)


def tiny_model() -> TwoTower:
    """Everything trained that can be, every number random, no dropout."""
    return randomise(make_model(world(), user_table=True, max_history_items=4))


def sampler_of(dataset: Dataset, candidates: Candidates) -> PairSampler:
    return PairSampler(dataset.train, candidates, batch_size=BATCH_SIZE, seed=5, policy=PairPolicy(max_history_items=4))


class Recorder(Callback):
    """Keeps the loss and the gradient of every step, and the weights at the end."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.rows: list[int] = []
        self.arrays: dict[str, np.ndarray] = {}

    def on_before_optimizer_step(self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: object) -> None:
        step = len(self.losses)
        for name, parameter in module.model.named_parameters():  # type: ignore[union-attr]
            if parameter.grad is not None:
                self.arrays[f"gradient {step:02d} {name}"] = parameter.grad.numpy().copy()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: object, outputs: object, batch: object, index: int
    ) -> None:
        self.losses.append(float(outputs["loss"]))  # type: ignore[index]
        self.rows.append(len(batch.user_idx_B))  # type: ignore[attr-defined]

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        state = module.model.state_dict()  # type: ignore[union-attr]
        self.arrays |= {f"weight {name}": value.numpy().copy() for name, value in state.items()}

    def save(self, path: Path) -> None:
        np.savez(path, losses=np.array(self.losses), rows=np.array(self.rows), **self.arrays)


def context_of(dataset: Dataset, case: Case, folder: Path, recorder: Callback, trainer: str) -> StageContext:
    """The trainer of `conf/trainer`, without its voice."""
    node = compose("train", [f"trainer={trainer}"]).trainer

    def make_trainer(**options: object) -> pl.Trainer:
        return instantiate(node)(precision=case.precision, enable_progress_bar=False, **options)

    excluded = torch.tensor([item not in (2, 9) for item in range(NUM_ITEMS)])
    return StageContext(
        sampler=sampler_of(dataset, case.candidates),
        catalogue=catalogue_features(dataset, ("audio", "visual")),
        loss=case.loss,
        validate=lambda model, weights: {"objective": float(model.item_table.bias_N.sum())},
        make_trainer=make_trainer,
        make_logger=lambda stage: False,
        callbacks=lambda: [recorder],
        folder=folder,
        content_items_A=excluded,
    )


def fit_case(case: Case, folder: Path, trainer: str) -> Recorder:
    """One stage of the case, every dropout off."""
    model, dataset = tiny_model(), world()
    recorder = Recorder()
    stage = Stage("only", 1, ParameterGroups(case.optimizer, 0.05), EVERYTHING)
    run_stage(model, stage, 0, context_of(dataset, case, folder, recorder, trainer))
    return recorder


def fit_two_stages(folder: Path, trainer: str) -> Recorder:
    """Content alone with the ids frozen, then everything with weights averaged; every dropout on."""
    dataset = world()
    model = make_model(dataset, user_table=True, dropout=0.3, max_history_items=4)
    recorder = Recorder()
    content = LossWeights(id=0.0, content=1.0)
    everything = LossWeights(id=1.0, content=1.0, joint=1.0, id_dropout=0.3)
    optimizer = ParameterGroups(torch.optim.Adam, 0.02)
    frozen = ["item_table", "user_tower"]
    stages = [
        Stage("content", 2, optimizer, content, frozen=frozen),
        Stage("everything", 2, optimizer, everything, averaging=partial(EpochAveraging, start_epoch=1)),
    ]
    case = Case(*OBJECTIVES["sampled softmax"], "32-true", torch.optim.Adam)
    train(model, stages, context_of(dataset, case, folder, recorder, trainer))
    recorder.arrays |= {f"final {name}": value.numpy().copy() for name, value in model.state_dict().items()}
    return recorder


def media_stages() -> list[Stage]:
    """Frozen with all losses; the top blocks from caches, 5 items a batch; one that is undone; all from the media.

    With 2 items a batch some batches have one item, so the second rank has none, and some ranks have items without sound.
    """
    optimizer = ParameterGroups(SGD, 0.02, encoder_rate=0.01, layer_decay=0.7, warmup_steps=3)
    all_losses = LossWeights(id=1.0, content=0.7, joint=0.4, id_dropout=0.0, alignment=0.3)
    content = LossWeights(id=0.0, content=1.0, alignment=0.3)
    cached = {"items_per_batch": 5, "weights": content, "optimizer": optimizer}
    everything = {"items_per_batch": 2, "weights": all_losses, "optimizer": optimizer, "checkpointing": True}
    return [
        Stage("joint", 2, optimizer, all_losses),
        encoder_stage({"audio": 1, "video": 2}, 2, name="top", min_gain=0.0, **cached),
        encoder_stage({"audio": 2}, 1, name="undone", min_gain=0.0, **cached),
        encoder_stage({"audio": "all", "video": "all"}, 2, name="full", **everything),
    ]


MEDIA_OBJECTIVES = [0.25, 0.5, 0.5, 0.625, 0.75, 0.75, 0.5, 0.25, 0.875]  # with a start where a stage may be undone


class MediaRecorder(Recorder):
    """Keeps the items that this rank encoded, too, and damages a block of a cache after the first stage."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.encoded: list[tuple[int, int]] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: object, outputs: object, batch: object, index: int
    ) -> None:
        super().on_train_batch_end(trainer, module, outputs, batch, index)
        inputs = batch.inputs  # type: ignore[attr-defined]
        self.encoded.append(tuple(len(inputs[name].row) if name in inputs else -1 for name in ("audio", "video")))

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.is_global_zero and type(module).__name__ == "TwoTowerModule":
            for path in self.folder.glob("cache/encoded/audio-*/parts/*.bin"):
                content = bytearray(path.read_bytes())
                content[len(content) // 2] ^= 0x40
                path.write_bytes(content)

    def after(self, stage: int, state: dict[str, torch.Tensor], bank: dict[str, torch.Tensor]) -> None:
        """Keep what a stage left."""
        for kind, values in (("weight", state), ("bank", bank)):
            self.arrays |= {f"{kind} {stage} {name}": value.numpy().copy() for name, value in values.items()}

    def save(self, path: Path) -> None:
        self.arrays["encoded"] = np.array(self.encoded)
        super().save(path)


def fit_media(folder: Path, trainer: str) -> MediaRecorder:
    """The stages of a model that reads media; the ranks share one cache, which they fill at once.

    Every record has a checksum of its own, so that the rank whose item is damaged mends it while the other goes on.
    """
    with mock.patch("avrec.data.record_parts.BLOCK_BYTES", 1):
        return _fit_media(folder, trainer)


def _fit_media(folder: Path, trainer: str) -> MediaRecorder:
    world = make_world(folder, double=True)
    for name, value in world.catalogue.values.items():  # the trainer doubles a copy of its own
        world.catalogue.values[name] = value.float()
    world.store.fill(world.encoder("audio"), [1, 2])
    node = compose("train", [f"trainer={trainer}"]).trainer
    recorder = MediaRecorder(folder)

    def make_trainer(**options: object) -> pl.Trainer:
        return instantiate(node)(precision="64-true", enable_progress_bar=False, **options)

    context = media_context(world, folder, lambda: [recorder], MEDIA_OBJECTIVES)
    context = replace(context, make_trainer=make_trainer)
    with own_ranks():
        for index, stage in enumerate(media_stages()):
            summary = run_stage(world.model, stage, index, context)
            recorder.after(index, world.model.state_dict(), world.bank())
            recorder.arrays[f"undone {index}"] = np.array(summary["undone"])
    return recorder


@contextmanager
def quiet() -> Iterator[None]:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


FITS: dict[str, Callable[[Path, str], Recorder]] = {STAGES: fit_two_stages, MEDIA: fit_media}


def main(folder: Path, names: list[str]) -> None:
    """One of the two ranks: what each case or stage left goes into `folder`."""
    torch.set_num_threads(1)
    rank = os.environ["LOCAL_RANK"]
    with quiet():
        for name in names:
            work = folder / f"work {name}"
            recorder = FITS[name](work, "ddp") if name in FITS else fit_case(CASES[name], work, "ddp")
            recorder.save(folder / f"{name} rank {rank}.npz")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
