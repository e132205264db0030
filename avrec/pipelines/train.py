"""`avrec train`: prepare, fit, calibrate on validation, and evaluate once."""

import json
import logging
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities import rank_zero_only

from avrec import __version__
from avrec.build.instantiate import instantiate
from avrec.build.model import Sizes, build_model, learn_from_train, load_pretrained, save
from avrec.build.side import packed
from avrec.core.arrays import Bool
from avrec.core.dataset import Dataset
from avrec.core.errors import ConfigError
from avrec.core.files import read_json, write_json
from avrec.data.items_first import ItemsFirstSampler
from avrec.data.samplers import PairSampler
from avrec.models.two_tower import CatalogueFeatures, TwoTower
from avrec.pipelines.claims import AFTERWARDS, CLAIM_FILE, differences, portable
from avrec.pipelines.evaluate import check_reranking, chosen_protocol, evaluate_model_file
from avrec.pipelines.media import media_store, print_rates
from avrec.pipelines.prepare import RUN_FILE, load, prepared_folder
from avrec.pipelines.report import write_report
from avrec.pipelines.side import fitted_side
from avrec.training.fit import Calibrated, calibrate, train
from avrec.training.initialise import Start
from avrec.training.media_store import MediaStore, media_encoders, with_steps
from avrec.training.rates import Rates
from avrec.training.scorer import catalogue_features
from avrec.training.stages import Stage, StageContext, boundaries
from avrec.training.validation import Validator, pseudo_cold_items

MODEL_FILE = "model.pt"


@dataclass(frozen=True)
class TrainResult:
    """What a run made.

    Attributes:
        objective: validation Recall@20 + NDCG@20 after calibration; what sweeps maximise.
        model_file: the trained model, None on ranks other than the first.
        metrics: those of the test evaluation; empty for a trial of a sweep.
    """

    objective: float
    model_file: Path | None
    metrics: dict[str, float]


def run(config: DictConfig) -> TrainResult:
    """Train a model; unless this is a trial of a sweep, evaluate it on the test part beside tuned baselines."""
    _quieten()
    pl.seed_everything(config.seed, workers=True, verbose=False)
    torch.set_num_threads(int(config.num_threads))
    folder = Path(config.run_dir)
    prepared = prepared_folder(config)
    dataset = load(prepared, media_root=config.data.get("media_root"))
    chosen_protocol(config, dataset, prepared)  # before anything is trained
    plain = _plain(config)
    dataset, side = fitted_side(config, dataset)
    sizes = Sizes.of(dataset, plain["modalities"], plain["encoder"])
    model = build_model(plain, sizes)
    check_reranking(config, model, dataset)
    settings = portable(plain)  # once: the model that it starts from may be gone by the end
    claimed = {key: value for key, value in settings.items() if key not in AFTERWARDS}
    _claim(folder, {"data_hash": dataset.content_hash, "code_version": __version__, "config": claimed})
    _announce(model, dataset, prepared, folder)
    load_pretrained(model)
    start: Start = instantiate(config.start)
    began = start(model, dataset)  # before media are encoded, since another model's encoders may come with it
    store = media_store(config, dataset, model)
    stages: list[Stage] = list(instantiate(config.stages).values())
    dataset = with_steps(dataset, model, store, boundaries(media_encoders(model), stages))
    learn_from_train(model, dataset)
    catalogue = catalogue_features(dataset, model.item_tower.modalities)

    pseudo_cold = pseudo_cold_items(dataset, config.pseudo_cold_share, config.seed) if sizes.modalities else None
    context = _context(config, dataset, catalogue, folder, pseudo_cold, store)
    summaries = train(model, stages, context)
    if rank_zero_only.rank != 0:  # type: ignore[attr-defined]  # set by Lightning
        return TrainResult(sum(summary["objective"] for summary in summaries), None, {})

    dataset = with_steps(dataset, model, store)  # exactly, by the encoders as they are kept
    catalogue = catalogue_features(dataset, model.item_tower.modalities)
    mixes = list(instantiate(config.propagation).values())
    factors, grid = instantiate(config.factors), instantiate(config.grid)
    calibrated = calibrate(model, catalogue, dataset, mixes, grid, pseudo_cold, factors)
    print(calibrated, flush=True)
    points = [point.as_dict() for point in calibrated.frontier]
    operating = calibrated.operating_points, points
    save(folder / MODEL_FILE, model, sizes, settings, dataset.content_hash, *operating, side=packed(side))
    record = _record(plain, prepared, dataset, calibrated, summaries, store.rates if store else None)
    write_json(folder / RUN_FILE, record | {"start": began})
    if config.multirun:
        return TrainResult(calibrated.objective, folder / MODEL_FILE, {})
    if store is not None:
        print_rates(store.rates)
    metrics = evaluate_model_file(folder / MODEL_FILE, dataset, config, folder)
    write_report(folder, folder / MODEL_FILE, dataset, prepared, store)
    print(f"run: {folder}\nnext: avrec export ckpt={folder / MODEL_FILE} bundle_dir={folder / 'bundle'}")
    return TrainResult(calibrated.objective, folder / MODEL_FILE, metrics)


def _quieten() -> None:
    """Leave out what Lightning says about hardware that is not there, its tips, and its own deprecations."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for message in (
        ".*LeafSpec.*",
        ".*in eval mode at the start of training.*",
        ".*smaller than the logging interval.*",
    ):
        warnings.filterwarnings("ignore", message=message, module="pytorch_lightning")


def _plain(config: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


@rank_zero_only
def _claim(folder: Path, identity: dict[str, Any]) -> None:
    """Mark the folder as this run's; a run that was broken off goes on there, another run may not.

    Raises:
        ConfigError: the folder belongs to a run of other settings, data or code.
    """
    record = folder / CLAIM_FILE
    identity = {"format_version": 1} | identity
    if record.is_file():
        found = read_json(record)
        changed = differences(found, json.loads(json.dumps(identity)))
        if changed:
            raise ConfigError(
                f"run_dir: {folder} holds a run with another {', '.join(changed[:5])}. "
                "Choose another run_dir, or repeat the old settings to go on with that run."
            )
    else:
        write_json(record, identity)


@rank_zero_only
def _announce(model: TwoTower, dataset: Dataset, prepared: Path, folder: Path) -> None:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"avrec {__version__}: {dataset.name} ({prepared}), {dataset.num_users:,} users, {dataset.num_items:,} items "
        f"({int(dataset.cold_items.sum()):,} cold), {len(dataset.train):,} / {len(dataset.validation):,} / "
        f"{len(dataset.test):,} events, modalities {list(model.item_tower.modalities) or 'none'}; "
        f"{parameters:,} parameters; writing to {folder}",
        flush=True,
    )


def _context(
    config: DictConfig,
    dataset: Dataset,
    catalogue: CatalogueFeatures,
    folder: Path,
    pseudo_cold: Bool | None,
    store: MediaStore | None,
) -> StageContext:
    loggers = instantiate(config.logger)
    validator = Validator(dataset, catalogue)

    def callbacks() -> list[Callback]:
        return [make() for make in instantiate(config.callbacks).values()]

    def make_logger(stage: str) -> Any:
        made = [make(save_dir=str(folder / "logs"), name=stage) for make in loggers.values()]
        return made or False

    def make_trainer(**options: Any) -> pl.Trainer:
        trainer: pl.Trainer = instantiate(config.trainer)(**options)  # anew: a strategy serves one trainer only
        return trainer

    sampler: PairSampler = instantiate(config.sampler)(
        train=dataset.train,
        candidates=instantiate(config.candidates),
        seed=config.seed,
        renewing=validator.enough_cold,
    )

    def make_item_sampler(items_per_batch: int, users_per_item: int) -> ItemsFirstSampler:
        """Batches of items first, for a stage that trains encoders."""
        return ItemsFirstSampler(
            dataset.train,
            items_per_batch,
            users_per_item,
            config.seed,
            sampler.policy,
            exclude=pseudo_cold,
            renewing=validator.enough_cold,
        )

    return StageContext(
        sampler=sampler,
        catalogue=catalogue,
        loss=instantiate(config.loss),
        validate=validator,
        make_trainer=make_trainer,
        make_logger=make_logger,
        callbacks=callbacks,
        folder=folder / "checkpoints",
        content_items_A=None if pseudo_cold is None else torch.from_numpy(~pseudo_cold),
        media=store,
        make_item_sampler=make_item_sampler,
    )


def _record(
    plain: dict[str, Any],
    prepared: Path,
    dataset: Dataset,
    calibrated: Calibrated,
    summaries: list[dict[str, Any]],
    rates: Rates | None,
) -> dict[str, Any]:
    """What `run.json` holds beside the model: where the data stand, and what was chosen on validation."""
    return {
        "format_version": 1,
        "code_version": __version__,
        "prepared": str(prepared.resolve()),
        "data_hash": dataset.content_hash,
        "seed": plain["seed"],
        "config": plain,
        "stages": summaries,
        "chosen": str(calibrated),
        "propagation": asdict(calibrated.mix),
        "factors": [asdict(beside) for beside in calibrated.beside],
        "friends": [asdict(lent) for lent in calibrated.lent],
        "speed": [] if rates is None else rates.rows(),
        "data_wait_share": {} if rates is None else rates.wait_share,
        "operating_points": {name: asdict(point) for name, point in calibrated.operating_points.items()},
        "validation_objective": calibrated.objective,
    }
