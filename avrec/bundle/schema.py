"""What a bundle's `manifest.json` says, as checked frozen dataclasses, and the names that its writer and reader share."""

import re
from collections.abc import Collection, Mapping, Set
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from avrec.core.errors import ArtefactError
from avrec.core.files import check_format_version

FORMAT_VERSION = 1
KIND = "avrec bundle"
MANIFEST = "manifest.json"
PARITY = "parity.json"
CARD = "card.md"
USER_TOWER = "user_tower"
ITEM_TOWER = "item_tower"
GRAPHS = (f"{USER_TOWER}.onnx", f"{ITEM_TOWER}.onnx")
SCRIPTS = (f"{USER_TOWER}.pt", f"{ITEM_TOWER}.pt")
ITEM_IDS = "items.parquet"
USER_IDS = "users.parquet"
TIMESTAMPS = "history_timestamp.npy"  # absent where the log has no time
OPERATING_POINT = frozenset({"kappa", "content_scale", "cold_offset", "neighbour_weight", "history_smoothing"})

USER_TOWER_INPUTS = ("user_vector", "history_vectors", "weights", "ages", "mask")
USER_TOWER_OUTPUTS = ("vector",)


def item_tower_inputs(modalities: tuple[str, ...]) -> tuple[str, ...]:
    """The item tower's flat inputs: feature and mask of each modality in order, then what a table knows of the item."""
    content = tuple(name for modality in modalities for name in (f"feature_{modality}", f"mask_{modality}"))
    return (*content, "id_vector", "neighbour_vector", "bias", "evidence")


def item_tower_outputs(modalities: tuple[str, ...]) -> tuple[str, ...]:
    """The item tower's outputs; a tower without modalities has no shares."""
    return ("item_vector", "history_vector", "share") if modalities else ("item_vector", "history_vector")


@dataclass(frozen=True)
class FileRecord:
    """What the manifest promises of one file."""

    sha256: str
    bytes: int


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
        feature_dims: width F of each modality's feature.
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
    max_history_items: int
    operating_point_name: str
    operating_point: Mapping[str, float]
    metrics: Mapping[str, float | None]
    files: Mapping[str, FileRecord]

    def arrays(self) -> dict[str, tuple[type, tuple[int, ...]]]:
        """Type and shape of each `.npy` file of this bundle."""
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
        return arrays

    def to_json(self) -> dict[str, Any]:
        """Plain data for `write_json`."""
        return {"kind": KIND, "format_version": FORMAT_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, value: Any, path: str | Path) -> "Manifest":
        """Check plain data read from `path`.

        Raises:
            ArtefactError: another kind or version, or a key is missing, unknown, or holds a value of another type.
        """
        if not isinstance(value, dict) or value.get("kind") != KIND:
            raise ArtefactError(f"{path}: not the manifest of a bundle. Give the folder that `avrec export` wrote.")
        check_format_version(value, path, FORMAT_VERSION)
        reader = _Reader(path)
        reader.keys("manifest", value, {field.name for field in fields(cls)} | {"kind", "format_version"})
        dims = reader.mapping("dims", value["dims"], int)
        reader.keys("dims", dims, {field.name for field in fields(Dims)})
        modalities = tuple(reader.listed("modalities", value["modalities"]))
        feature_dims = reader.mapping("feature_dims", value["feature_dims"], int)
        reader.keys("feature_dims", feature_dims, set(modalities))
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
            max_history_items=reader.typed("max_history_items", value["max_history_items"], int),
            operating_point_name=reader.typed("operating_point_name", value["operating_point_name"], str),
            operating_point=operating_point,
            metrics=reader.mapping("metrics", value["metrics"], float, optional=True),
            files=reader.files(value["files"]),
        )
        reader.positive("dims", dims, or_zero={"content_dim", "id_dim", "num_users", "num_events"})
        reader.positive("feature_dims", feature_dims)
        reader.positive("manifest", {"max_history_items": manifest.max_history_items})
        others = {*GRAPHS, *SCRIPTS, ITEM_IDS, USER_IDS, PARITY, CARD}
        reader.keys("files", manifest.files, others | manifest.arrays().keys())
        return manifest


@dataclass(frozen=True)
class _Reader:
    """Checks of plain values; each error names the manifest and the key."""

    path: str | Path

    def error(self, key: str, found: object, expected: str) -> ArtefactError:
        return ArtefactError(f"{self.path}: '{key}' is {found!r}; expected {expected}. Export the bundle again.")

    def typed(self, key: str, value: Any, kind: type) -> Any:
        number = kind is float and type(value) is int
        if type(value) is not kind and not number:
            raise self.error(key, value, f"a value of type {kind.__name__}")
        return value

    def mapping(self, key: str, value: Any, kind: type, optional: bool = False) -> dict[str, Any]:
        found: dict[str, Any] = self.typed(key, value, dict)
        for name, item in found.items():
            if not (optional and item is None):
                self.typed(f"{key}.{name}", item, kind)
        return found

    def listed(self, key: str, value: Any) -> list[str]:
        names: list[str] = self.typed(key, value, list)
        for name in names:
            self.typed(key, name, str)
        if len(set(names)) != len(names):
            raise self.error(key, names, "distinct names")
        return names

    def positive(self, key: str, counts: Mapping[str, int], or_zero: Collection[str] = ()) -> None:
        for name, count in counts.items():
            if count < 0 or (count == 0 and name not in or_zero):
                raise self.error(f"{key}.{name}", count, "a positive number")

    def keys(self, key: str, value: Mapping[str, Any], expected: Set[str]) -> None:
        if set(value) != expected:
            missing, unknown = sorted(expected - set(value)), sorted(set(value) - expected)
            raise ArtefactError(
                f"{self.path}: '{key}' lacks {missing} and has unknown {unknown}. Export the bundle again."
            )

    def files(self, value: Any) -> dict[str, FileRecord]:
        """The records of the bundle's files; a name that is no bare file name, or unknown, is refused."""
        records = {}
        for name, record in self.typed("files", value, dict).items():
            if not re.fullmatch(r"[A-Za-z0-9_]+\.[a-z]+", name):
                raise self.error("files", name, "a bare file name")
            self.keys(f"files.{name}", self.typed(f"files.{name}", record, dict), {"sha256", "bytes"})
            sha256 = self.typed(f"files.{name}.sha256", record["sha256"], str)
            size = self.typed(f"files.{name}.bytes", record["bytes"], int)
            if not re.fullmatch(r"[0-9a-f]{64}", sha256):
                raise self.error(f"files.{name}.sha256", sha256, "64 hexadecimal digits")
            records[name] = FileRecord(sha256, size)
        return records
