"""What a bundle's `manifest.json` says, as checked frozen dataclasses, and the names that its writer and reader share."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from avrec.bundle.media_specs import MediaSpec, read_specs, specs_to_json
from avrec.bundle.newcomer_tables import expected_files
from avrec.bundle.parts import TOWERS, files_of_parts
from avrec.bundle.plain_reader import FileRecord, PlainReader
from avrec.core.errors import ArtefactError
from avrec.core.files import check_format_version

FORMAT_VERSION = 2  # 2: an item tower may take raw media
KIND = "avrec bundle"
MANIFEST = "manifest.json"
PARITY = "parity.json"
CARD = "card.md"
USER_TOWER, ITEM_TOWER = TOWERS
GRAPHS = (f"{USER_TOWER}.onnx", f"{ITEM_TOWER}.onnx")
SCRIPTS = (f"{USER_TOWER}.pt", f"{ITEM_TOWER}.pt")
ITEM_IDS = "items.parquet"
USER_IDS = "users.parquet"
TIMESTAMPS = "history_timestamp.npy"  # absent where the log has no time
SHARES = "shares.npy"  # absent where the items have no modality
MODALITY_VECTORS = "modality_vectors_{}.npy"  # one for each modality, by its place; older bundles have none
ANY_WIDTH = -1
OPERATING_POINT = frozenset({"kappa", "content_scale", "cold_offset", "neighbour_weight", "history_smoothing"})

USER_TOWER_INPUTS = ("user_vector", "history_vectors", "weights", "ages", "mask")
USER_TOWER_OUTPUTS = ("vector",)
KNOWN_OF_ITEM = ("id_vector", "neighbour_vector", "bias", "evidence")


def item_tower_inputs(modalities: tuple[str, ...], media: Collection[str]) -> tuple[str, ...]:
    """The item tower's flat inputs: content and mask of each modality in order, then what a table knows of the item.

    Args:
        modalities: in the tower's order.
        media: those that come as raw clips with the valid share of each; the others come as finished features.
    """
    content = [
        name for modality in modalities for name in (*content_inputs(modality, modality in media), f"mask_{modality}")
    ]
    return (*content, *KNOWN_OF_ITEM)


def content_inputs(modality: str, is_media: bool) -> tuple[str, ...]:
    """The inputs that hold one modality's content."""
    return (f"clips_{modality}", f"valid_{modality}") if is_media else (f"feature_{modality}",)


def item_tower_outputs(modalities: tuple[str, ...]) -> tuple[str, ...]:
    """The item tower's outputs; a tower without modalities has no shares."""
    return ("item_vector", "history_vector", "share") if modalities else ("item_vector", "history_vector")


@dataclass(frozen=True)
class Dims:
    """Sizes of the tables.

    Attributes:
        num_users: known users.
        num_items: items in the catalogue.
        num_events: events of the known users' histories.
        id_dim: width D of the id segment.
        content_dim: width C of the content segment, 0 without content.
    """

    num_users: int
    num_items: int
    num_events: int
    id_dim: int
    content_dim: int

    @property
    def item_dim(self) -> int:
        """Width of item and user vectors, D + 1 + C."""
        return self.id_dim + 1 + self.content_dim

    @property
    def history_dim(self) -> int:
        """Width of the history table, D + C."""
        return self.id_dim + self.content_dim


@dataclass(frozen=True)
class Manifest:
    """The whole `manifest.json`.

    Attributes:
        avrec_version: the version that wrote the bundle.
        data_name: the data set's name.
        data_hash: the prepared data set's content hash.
        seed: of the training run.
        config: the run's configuration as plain data; never instantiated from here.
        dims: sizes of the tables.
        modalities: in the order of the item tower's inputs and shares.
        feature_dims: width F of each modality that comes as a finished feature.
        media: what is cut out of a file for each of the other modalities, which come as raw clips.
        max_history_items: how many events, the last ones, the user tower takes.
        operating_point_name: which setting was chosen on validation.
        operating_point: its numbers, the fields of `avrec.models.item_tower.OperatingPoint`.
        metrics: measured ones, their keys naming the split, None where there was nothing to measure on; empty when none
            were given.
        files: every file of the bundle but the manifest.
    """

    avrec_version: str
    data_name: str
    data_hash: str
    seed: int
    config: Mapping[str, Any]
    dims: Dims
    modalities: tuple[str, ...]
    feature_dims: Mapping[str, int]
    media: Mapping[str, MediaSpec]
    max_history_items: int
    operating_point_name: str
    operating_point: Mapping[str, float]
    metrics: Mapping[str, float | None]
    files: Mapping[str, FileRecord]

    def arrays(self) -> dict[str, tuple[type, tuple[int, ...]]]:
        """Type and shape of each `.npy` file of this bundle; `ANY_WIDTH` where the file alone knows."""
        dims = self.dims
        arrays: dict[str, tuple[type, tuple[int, ...]]] = {
            "item_vectors.npy": (np.float32, (dims.num_items, dims.item_dim)),
            "history_vectors.npy": (np.float32, (dims.num_items, dims.history_dim)),
            "user_vectors.npy": (np.float32, (dims.num_users, dims.id_dim)),
            "id_vectors.npy": (np.float32, (dims.num_items, dims.id_dim)),
            "content_vectors.npy": (np.float32, (dims.num_items, dims.content_dim)),
            "evidence.npy": (np.float32, (dims.num_items,)),
            "history_indptr.npy": (np.int64, (dims.num_users + 1,)),
            "history_item_idx.npy": (np.int64, (dims.num_events,)),
            "history_weight.npy": (np.float32, (dims.num_events,)),
        }
        if TIMESTAMPS in self.files:
            arrays[TIMESTAMPS] = (np.int64, (dims.num_events,))
        if SHARES in self.files:
            arrays[SHARES] = (np.float32, (dims.num_items, len(self.modalities)))
        for place in range(len(self.modalities)):
            if MODALITY_VECTORS.format(place) in self.files:
                arrays[MODALITY_VECTORS.format(place)] = (np.float32, (dims.num_items, ANY_WIDTH))
        return arrays

    def to_json(self) -> dict[str, Any]:
        """Plain data for `write_json`."""
        plain = asdict(self) | {"media": specs_to_json(self.media)}
        return {"kind": KIND, "format_version": FORMAT_VERSION, **plain}

    @classmethod
    def from_json(cls, value: Any, path: str | Path) -> "Manifest":
        """Check plain data read from `path`.

        Raises:
            ArtefactError: another kind or version, or a key is missing, unknown, or holds a value of another type.
        """
        if not isinstance(value, dict) or value.get("kind") != KIND:
            raise ArtefactError(f"{path}: not the manifest of a bundle. Give the folder that `avrec export` wrote.")
        check_format_version(value, path, FORMAT_VERSION)
        reader = PlainReader(path)
        reader.keys("manifest", value, {field.name for field in fields(cls)} | {"kind", "format_version"})
        dims = reader.mapping("dims", value["dims"], int)
        reader.keys("dims", dims, {field.name for field in fields(Dims)})
        modalities = tuple(reader.listed("modalities", value["modalities"]))
        feature_dims = reader.mapping("feature_dims", value["feature_dims"], int)
        media = read_specs(reader, value["media"])
        reader.keys("feature_dims", feature_dims, set(modalities) - media.keys())
        reader.keys("media", media, set(modalities) - feature_dims.keys())
        operating_point = reader.mapping("operating_point", value["operating_point"], float)
        reader.keys("operating_point", operating_point, OPERATING_POINT)
        manifest = cls(
            avrec_version=reader.typed("avrec_version", value["avrec_version"], str),
            data_name=reader.typed("data_name", value["data_name"], str),
            data_hash=reader.typed("data_hash", value["data_hash"], str),
            seed=reader.typed("seed", value["seed"], int),
            config=reader.typed("config", value["config"], dict),
            dims=Dims(**dims),
            modalities=modalities,
            feature_dims=feature_dims,
            media=media,
            max_history_items=reader.typed("max_history_items", value["max_history_items"], int),
            operating_point_name=reader.typed("operating_point_name", value["operating_point_name"], str),
            operating_point=operating_point,
            metrics=reader.mapping("metrics", value["metrics"], float, optional=True),
            files=reader.files(value["files"]),
        )
        reader.positive("dims", dims, or_zero={"content_dim", "id_dim", "num_users", "num_events"})
        reader.positive("feature_dims", feature_dims)
        reader.positive("manifest", {"max_history_items": manifest.max_history_items})
        others = {*GRAPHS, *SCRIPTS, ITEM_IDS, USER_IDS, PARITY, CARD} | files_of_parts(manifest.files, media)
        reader.keys("files", manifest.files, others | manifest.arrays().keys() | expected_files(manifest.files))
        return manifest
