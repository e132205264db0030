"""`write_bundle`: from a trained model to a folder that recommends without PyTorch."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from avrec import __version__
from avrec.bundle.parts import PROGRAMS
from avrec.bundle.plain_reader import FileRecord
from avrec.bundle.schema import CARD, GRAPHS, ITEM_TOWER, MANIFEST, PARITY, USER_TOWER, Dims, Manifest
from avrec.core.dataset import Dataset
from avrec.core.errors import ArtefactError
from avrec.core.files import atomic_folder, atomic_write, sha256_file, write_json
from avrec.export.card import model_card
from avrec.export.graph_files import export_onnx, export_program, export_torchscript
from avrec.export.graphs import ItemTowerGraph, UserTowerGraph
from avrec.export.licences import licences
from avrec.export.newcomers import newcomer_tables
from avrec.export.options import ExportOptions
from avrec.export.parity import ParityReport, check_parity
from avrec.export.parts import Sources, write_parts
from avrec.export.sample import EveryItem, ItemSample
from avrec.export.tables import Tables
from avrec.models.two_tower import CatalogueFeatures, TwoTower
from avrec.training.media_store import LevelReader, media_encoders


@dataclass(frozen=True)
class BundleInfo:
    """What a model does not know of itself.

    Attributes:
        seed: of the training run.
        config: the run's configuration as plain JSON data, without paths of this machine.
        operating_point_name: which setting was chosen on validation, for example `overall` or `cold98`.
        metrics: measured numbers; each key names its split, as in `test/recall@20`; NaN where there was nothing to measure on.
        encoder_licences: {modality: what the source of its encoder's weights says}.
        data_licence: what the data's owner says; None to take what is known of the data set.
    """

    seed: int
    config: Mapping[str, Any] = field(default_factory=dict)
    operating_point_name: str = "overall"
    metrics: Mapping[str, float] = field(default_factory=dict)
    encoder_licences: Mapping[str, str] = field(default_factory=dict)
    data_licence: str | None = None


def write_bundle(
    model: TwoTower,
    catalogue: CatalogueFeatures,
    dataset: Dataset,
    folder: str | Path,
    *,
    info: BundleInfo,
    clips: Mapping[str, LevelReader] | None = None,
    options: ExportOptions = ExportOptions(),  # noqa: B008
) -> Path:
    """Export both towers, compare them with PyTorch, and write the bundle whole or not at all.

    Args:
        model: trained, its operating point in force.
        catalogue: the features of every item, of media the steps; they are used, not stored.
        dataset: what the model was trained for; each user's whole log becomes the history that is served from.
        folder: where the bundle is to stand; an older bundle there is replaced, anything else is refused.
        info: what the model does not know of itself.
        clips: {modality: the catalogue's raw clips} of each media encoder, to compare on.
        options: what the bundle is given beside tables and graphs.

    Returns:
        The folder.

    Raises:
        ArtefactError: the folder holds something else, model and data do not fit, or what is exported differs from
            PyTorch (see `avrec.export.parity.DEFINITION`).
        MissingExtraError: the extra `export` is not installed.
    """
    folder = Path(folder)
    _refuse_other_folder(folder)
    tables = Tables.of(model, catalogue, dataset)
    sources = _sources(model, catalogue, dataset, info, clips or {})
    sample = ItemSample.of(sources.items)
    item, user = ItemTowerGraph(model.item_tower), UserTowerGraph(model.user_tower)
    with atomic_folder(folder) as draft:
        for name, graph in {ITEM_TOWER: item, USER_TOWER: user}.items():
            properties = {"avrec_version": __version__, "data_hash": dataset.content_hash, "tower": name}
            export_onnx(graph, draft / f"{name}.onnx", properties)
            export_torchscript(graph, draft / f"{name}.pt")
            if options.programs:
                export_program(graph, draft / PROGRAMS[name])
        tables.write(draft)
        newcomer_tables(model, catalogue, dataset, tables.history).write(draft)
        manifest = _manifest(model, dataset, tables, info)
        parity = check_parity(draft, manifest, item, user, tables, sample)
        _refuse_difference(folder, parity)
        write_json(draft / PARITY, parity.to_json())
        _write_manifest(draft, manifest, model_card(manifest, parity, None))  # a bundle that can be opened
        parts = write_parts(draft, sources, options)
        _write_manifest(draft, manifest, model_card(manifest, parity, parts))
    return folder


def _sources(
    model: TwoTower,
    catalogue: CatalogueFeatures,
    dataset: Dataset,
    info: BundleInfo,
    clips: Mapping[str, LevelReader],
) -> Sources:
    items = EveryItem(model, catalogue, clips)
    stated = licences(items.encoders, info.encoder_licences, dataset.name, info.data_licence)
    return Sources(dataset, stated, items)


def _refuse_other_folder(folder: Path) -> None:
    """`atomic_folder` replaces what stands there; it must not replace somebody's home.

    A bundle is told by its graph, since other artefacts have a `manifest.json` too.
    """
    if folder.exists() and not (folder.is_dir() and (not any(folder.iterdir()) or (folder / GRAPHS[0]).is_file())):
        raise ArtefactError(f"{folder}: exists and is no bundle, so it is not replaced. Name another folder.")


def _refuse_difference(folder: Path, parity: ParityReport) -> None:
    if not parity.passed:
        raise ArtefactError(
            f"{folder}: not written, since the exported graphs differ from PyTorch: relative errors "
            f"{dict(parity.relative_error)}, at most {parity.tolerance} is accepted; equal lists "
            f"{dict(parity.equal_lists)} of {parity.num_users} users; {parity.equal_new_items} of {parity.num_new_items} "
            "cold items embed to what the table holds. Look for an operation that exports differently, or for stand-ins "
            "that are not the mean of the content neighbours."
        )


def _write_manifest(folder: Path, manifest: Manifest, card: str) -> None:
    """The card, and the manifest with every file that stands in the folder."""
    with atomic_write(folder / CARD) as file:
        file.write(card.encode("utf-8"))
    write_json(folder / MANIFEST, replace(manifest, files=_records(folder)).to_json())


def _records(folder: Path) -> dict[str, FileRecord]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    return {path.relative_to(folder).as_posix(): FileRecord(sha256_file(path), path.stat().st_size) for path in paths}


def _manifest(model: TwoTower, dataset: Dataset, tables: Tables, info: BundleInfo) -> Manifest:
    """The manifest as it is before any file is listed."""
    tower = model.item_tower
    return Manifest(
        avrec_version=__version__,
        data_name=dataset.name,
        data_hash=dataset.content_hash,
        seed=info.seed,
        config=dict(info.config),
        dims=Dims(
            num_users=dataset.num_users,
            num_items=dataset.num_items,
            num_events=len(tables.history),
            id_dim=tower.id_dim,
            content_dim=tower.content_dim,
        ),
        modalities=tower.modalities,
        feature_dims=dict(tower.feature_dims),
        media={name: encoder.spec for name, encoder in media_encoders(model).items()},
        max_history_items=model.user_tower.max_history_items,
        operating_point_name=info.operating_point_name,
        operating_point=asdict(tower.operating_point),
        metrics={name: value if math.isfinite(value) else None for name, value in info.metrics.items()},
        files={},
    )
