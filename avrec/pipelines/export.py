"""`avrec export`: from a model file to a bundle that serving loads without PyTorch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from avrec.build.model import ModelFile, load
from avrec.bundle.parts import RECALL_REPORT, SMALLER, SMALLER_REPORT
from avrec.core.files import read_json
from avrec.export.options import ExportOptions
from avrec.export.writer import BundleInfo, write_bundle
from avrec.models.encoders.base import MediaEncoder
from avrec.pipelines.media import media_store
from avrec.pipelines.prepare import dataset_of_checkpoint
from avrec.pipelines.side import side_of_model
from avrec.report.card import licence
from avrec.training.media_store import media_encoders, with_steps
from avrec.training.scorer import catalogue_features


def run(config: DictConfig) -> Path:
    """Export `config.ckpt` at the operating point `config.calibration` into `config.bundle_dir`.

    Returns:
        The bundle's folder.
    """
    options = _options(config)
    torch.set_num_threads(int(config.num_threads))
    found = load(config.ckpt, config.calibration)
    dataset = side_of_model(config, found, dataset_of_checkpoint(config, found.data_hash))
    store = media_store(config, dataset, found.model)
    dataset = with_steps(dataset, found.model, store)
    encoders = media_encoders(found.model)
    clips = {name: store.clips(encoder) for name, encoder in encoders.items()} if store else {}
    info = _info(config, found, encoders)
    catalogue = catalogue_features(dataset, found.model.item_tower.modalities)
    folder = write_bundle(found.model, catalogue, dataset, config.bundle_dir, info=info, clips=clips, options=options)
    _tell(folder)
    return folder


def _options(config: DictConfig) -> ExportOptions:
    return ExportOptions(
        index=config.index,
        programs=config.programs,
        triton=config.triton,
        smaller=tuple(config.smaller),
        smaller_max_loss=config.smaller_max_loss,
    )


def _info(config: DictConfig, found: ModelFile, encoders: Mapping[str, MediaEncoder]) -> BundleInfo:
    metrics_file = Path(config.ckpt).parent / "metrics.json"
    metrics = read_json(metrics_file) if metrics_file.is_file() else {}
    return BundleInfo(
        seed=found.seed,
        config=found.config,
        operating_point_name=str(config.calibration),
        metrics={name: value for name, value in metrics.items() if "/" in name and isinstance(value, float)},
        encoder_licences={name: licence(encoder) for name, encoder in encoders.items()},
        data_licence=config.data_licence,
    )


def _tell(folder: Path) -> None:
    """What was written, and what it costs."""
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    search = read_json(folder / RECALL_REPORT)
    if (folder / SMALLER_REPORT).is_file():
        Console(highlight=False).print(_smaller_table(read_json(folder / SMALLER_REPORT)))
    print(f"search: {search['kind']} ({search['reason']}), recall@100 {search['recall']['recall@100']:.4f}")
    print(f"bundle: {folder} ({size / 2**20:.1f} MiB)\nnext: avrec recommend bundle_dir={folder} user=USER_ID")


def _smaller_table(report: Any) -> Table:
    table = Table("graph", "validation Recall@20", "lost", "centred cosine", "MiB", "CPU ms an item")
    rows = [("item_tower", report["item_tower"], "", "")]
    rows += [
        (SMALLER[kind], costs, f"{costs['recall_loss']:.2%}", f"{costs['centred_cosine']:.4f}")
        for kind, costs in report["towers"].items()
    ]
    for name, costs, lost, cosine in rows:
        sizes = f"{costs['bytes'] / 2**20:.1f}", f"{costs['cpu_ms']:.2f}"
        table.add_row(name, f"{costs['recall@20']:.4f}", lost, cosine, *sizes)
    return table
