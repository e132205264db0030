"""`avrec report`: `report.html` and `model_card.md` of a run, from what its folder and its data set hold."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from omegaconf import DictConfig, open_dict

from avrec.build.model import ModelFile, load
from avrec.core.clips import MediaKind
from avrec.core.dataset import Dataset
from avrec.core.errors import ArtefactError, ConfigError, MissingExtraError, require
from avrec.core.files import read_json
from avrec.data.media_errors import MediaProblem
from avrec.evaluation.evaluate import evaluate
from avrec.evaluation.protocols import HONEST, protocol_named
from avrec.media.limits import Limits
from avrec.pipelines.media import media_store
from avrec.pipelines.prepare import RUN_FILE, dataset_of_checkpoint
from avrec.pipelines.side import side_of_model
from avrec.report.card import CARD_FILE, write_card
from avrec.report.page_run import RunRecord
from avrec.training.media_store import MediaStore, media_encoders, with_steps
from avrec.training.scorer import TwoTowerScorer, catalogue_features

EXTRA = "report"
PACKAGES = ("jinja2", "matplotlib")


def run(config: DictConfig) -> Path | None:
    """Write the report of the run in `config.run_dir`.

    Returns:
        `report.html`, None where the extra `report` is not installed.

    Raises:
        ArtefactError: the folder holds no run.
    """
    torch.set_num_threads(int(config.num_threads))
    path = Path(config.ckpt)
    if not path.is_file():
        with suppress(OSError):
            Path(config.run_dir).rmdir()  # Hydra made it; only an empty folder can be removed so
        raise ArtefactError(f"{path}: no such file. Give run_dir=FOLDER of a run that avrec train has finished.")
    record = path.parent / RUN_FILE
    kept = read_json(record) if record.is_file() else {}
    if config.media.folder is None:
        with open_dict(config):
            config.media.folder = kept.get("config", {}).get("media", {}).get("folder", "data/media")
    found = load(path)
    dataset = side_of_model(config, found, dataset_of_checkpoint(config, found.data_hash))
    store = media_store(config, dataset, found.model)
    dataset = with_steps(dataset, found.model, store)
    prepared = Path(config.data.path or kept.get("prepared", ""))
    return write_report(Path(config.run_dir), path, dataset, prepared, store)


def write_report(folder: Path, path: Path, dataset: Dataset, prepared: Path, store: MediaStore | None) -> Path | None:
    """Write `model_card.md` and, with the extra `report`, `report.html`; one sentence says where they are.

    Args:
        folder: of the run.
        path: its model file.
        dataset: that it was trained on, with the steps of its media encoders.
        prepared: the folder of that data set.
        store: of its media; None for a model that reads none.

    Returns:
        The page, None where it was left out.
    """
    record = RunRecord.read(folder, prepared)
    found = _at_reported_point(path, record)
    write_card(folder / CARD_FILE, record, found, dataset)
    print(f"card: {folder / CARD_FILE}")
    try:
        for package in PACKAGES:
            require(package, EXTRA)
    except MissingExtraError:
        print(
            f"report: left out, since the extra '{EXTRA}' is not installed. Get it with: pip install 'avrec[{EXTRA}]'"
        )
        return None
    page = _write_page(record, found, dataset, store)
    print(f"report: {page}")
    return page


def _at_reported_point(path: Path, record: RunRecord) -> ModelFile:
    try:
        return load(path, record.calibration)
    except ConfigError:  # metrics.json is of another evaluation
        return load(path)


def _write_page(record: RunRecord, found: ModelFile, dataset: Dataset, store: MediaStore | None) -> Path:
    from avrec.report.page import write_page  # matplotlib and jinja2 come with an extra
    from avrec.report.page_subject import LIST, Subject

    scorer = TwoTowerScorer(found.model, catalogue_features(dataset, found.model.item_tower.modalities))
    protocol = protocol_named(str(record.metrics.get("protocol_name", HONEST.name)))
    question = evaluation = None
    if len(dataset.test):
        question = protocol.question(dataset, "test")
        evaluation = evaluate(scorer, dataset, "test", (LIST,), protocol, keep=LIST)
    subject = Subject(record, dataset, scorer, question, evaluation, _problems(found, store))
    return write_page(subject, Limits() if store is None else store.limits)


def _problems(found: ModelFile, store: MediaStore | None) -> dict[MediaKind, Mapping[str, MediaProblem]]:
    """What was wrong with media files, as their clips were read."""
    if store is None:
        return {}
    return {one.kind: store.clips(one).report.problems for one in media_encoders(found.model).values()}
