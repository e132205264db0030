"""`Bundle`: a bundle's folder, opened with everything checked before it is used."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from avrec.bundle.newcomer_tables import NewcomerTables
from avrec.bundle.onnx_file import check_self_contained
from avrec.bundle.plain_reader import FileRecord
from avrec.bundle.schema import (
    ANY_WIDTH,
    GRAPHS,
    ITEM_IDS,
    MANIFEST,
    MODALITY_VECTORS,
    SHARES,
    TIMESTAMPS,
    USER_IDS,
    Manifest,
)
from avrec.core.arrays import Float32
from avrec.core.errors import ArtefactError, DataError
from avrec.core.files import read_json, read_npy, read_table, sha256_file
from avrec.core.ids import IdMap
from avrec.core.interactions import Interactions

MAX_GRAPH_BYTES = 2 * 2**30  # the limit of protobuf


@dataclass(frozen=True)
class Bundle:
    """An opened bundle; the arrays are memory maps, so processes on one machine share them.

    Attributes:
        folder: where it lies.
        manifest: what it says of itself.
        users: known users.
        items: the catalogue.
        user_vectors: (U, D) own vector of each user.
        item_vectors: (N, D + 1 + C) what a user's vector is multiplied with.
        history_vectors: (N, D + C) what the user tower takes of each item of a history.
        id_vectors: (N, D) the trained id vector of each item by itself.
        content_vectors: (N, C) the fused content of each item by itself, zero for an item without any modality.
        evidence: (N,) training events of each item; an item with none is cold.
        history: everything each known user is known to have consumed.
        shares: (N, M) how much each modality made up of each item's content; None where there is none.
        modality_vectors: modality -> (N, W) its encoder's output, averaged over time, zero for an item without it.
        newcomers: what those without a history are answered with.
    """

    folder: Path
    manifest: Manifest
    users: IdMap
    items: IdMap
    user_vectors: Float32
    item_vectors: Float32
    history_vectors: Float32
    id_vectors: Float32
    content_vectors: Float32
    evidence: Float32
    history: Interactions
    shares: Float32 | None = None
    modality_vectors: Mapping[str, Float32] = field(default_factory=dict)
    newcomers: NewcomerTables = field(kw_only=True)

    @classmethod
    def open(cls, folder: str | Path, verify: bool = True) -> "Bundle":
        """Open a bundle.

        Args:
            folder: what `write_bundle` made.
            verify: compare every file's sha256 with the manifest. Without it only names, sizes, shapes and the graphs
                are checked, which is enough where the folder was verified before and nobody else writes to it.

        Raises:
            ArtefactError: a file is missing, damaged, exchanged, of another version, or leads out of the folder; it is
                named.
        """
        folder = Path(folder)
        manifest = Manifest.from_json(read_json(folder / MANIFEST), folder / MANIFEST)
        for name, record in manifest.files.items():
            check_file(folder, name, record, verify)
        for name in GRAPHS:
            read_graph(folder, name, manifest.files[name])
        arrays = _read_arrays(folder, manifest)
        dims = manifest.dims
        history = Interactions(
            num_users=dims.num_users,
            num_items=dims.num_items,
            indptr=arrays["history_indptr.npy"],
            item_idx=arrays["history_item_idx.npy"],
            weight=arrays["history_weight.npy"],
            timestamp=arrays.get(TIMESTAMPS),
        )
        if verify:
            _check_history(folder, history)
        return cls(
            folder=folder,
            manifest=manifest,
            users=_read_ids(folder / USER_IDS, "user_id", dims.num_users),
            items=_read_ids(folder / ITEM_IDS, "item_id", dims.num_items),
            user_vectors=arrays["user_vectors.npy"],
            item_vectors=arrays["item_vectors.npy"],
            history_vectors=arrays["history_vectors.npy"],
            id_vectors=arrays["id_vectors.npy"],
            content_vectors=arrays["content_vectors.npy"],
            evidence=arrays["evidence.npy"],
            history=history,
            shares=arrays.get(SHARES),
            modality_vectors={
                name: arrays[MODALITY_VECTORS.format(place)]
                for place, name in enumerate(manifest.modalities)
                if MODALITY_VECTORS.format(place) in arrays
            },
            newcomers=NewcomerTables.read(folder, manifest.files, dims.num_users, dims.num_items, dims.item_dim),
        )

    def graph(self, name: str) -> bytes:
        """The bytes of a tower's ONNX graph, compared with the manifest whatever `verify` was.

        Raises:
            ArtefactError: the file changed since the bundle was opened.
        """
        file_name = f"{name}.onnx"
        return read_graph(self.folder, file_name, self.manifest.files[file_name])


def check_file(folder: Path, name: str, record: FileRecord, verify: bool) -> None:
    """Check that `name` is a regular file below `folder` with the size, and with `verify` the sha256, of its record.

    Raises:
        ArtefactError: it is not.
    """
    path = folder / name
    if not path.is_file():
        raise ArtefactError(f"{path}: listed in {MANIFEST}, but there is no such file. Copy the whole bundle again.")
    if folder.resolve() not in path.resolve().parents:
        raise ArtefactError(f"{path}: a link that leaves the bundle's folder. Put the file itself there.")
    size = path.stat().st_size
    if size != record.bytes:
        raise ArtefactError(f"{path}: {size} bytes; {MANIFEST} says {record.bytes}. Copy the whole bundle again.")
    if verify:
        _compare_sha256(path, sha256_file(path), record)


def read_graph(folder: Path, name: str, record: FileRecord) -> bytes:
    """Bytes of an ONNX file, read once, so that the bytes that were checked are the bytes that run.

    Raises:
        ArtefactError: too large, not as recorded, or with tensors in other files.
    """
    path = folder / name
    if record.bytes > MAX_GRAPH_BYTES:
        raise ArtefactError(f"{path}: {record.bytes} bytes; a graph has at most {MAX_GRAPH_BYTES}.")
    check_file(folder, name, record, verify=False)
    data = path.read_bytes()
    _compare_sha256(path, hashlib.sha256(data).hexdigest(), record)
    check_self_contained(data, path)
    return data


def _compare_sha256(path: Path, found: str, record: FileRecord) -> None:
    if found != record.sha256:
        raise ArtefactError(
            f"{path}: sha256 {found}; {MANIFEST} says {record.sha256}. The file was changed or exchanged: "
            "copy the whole bundle again."
        )


def _read_arrays(folder: Path, manifest: Manifest) -> dict[str, np.ndarray]:
    arrays = {}
    for name, (dtype, shape) in manifest.arrays().items():
        array = read_npy(folder / name, ndim=len(shape))
        fits = all(found == asked or asked == ANY_WIDTH for found, asked in zip(array.shape, shape, strict=True))
        if not fits or array.dtype != dtype:
            raise ArtefactError(
                f"{folder / name}: {array.dtype} {array.shape}; {MANIFEST} asks for {np.dtype(dtype)} {shape}. "
                "Export the bundle again."
            )
        arrays[name] = array
    return arrays


def _read_ids(path: Path, column: str, count: int) -> IdMap:
    try:
        ids = IdMap(read_table(path, [column])[column])
    except (DataError, pa.ArrowException) as error:
        raise ArtefactError(f"{path}: column '{column}': {error} Export the bundle again.") from error
    if len(ids) != count:
        raise ArtefactError(f"{path}: {len(ids)} rows; {MANIFEST} says {count}. Export the bundle again.")
    return ids


def _check_history(folder: Path, history: Interactions) -> None:
    indptr = history.indptr
    if indptr[0] != 0 or indptr[-1] != len(history) or (np.diff(indptr) < 0).any():
        raise ArtefactError(f"{folder / 'history_indptr.npy'}: not a row pointer. Export the bundle again.")
    if len(history) and not 0 <= history.item_idx.min() <= history.item_idx.max() < history.num_items:
        raise ArtefactError(
            f"{folder / 'history_item_idx.npy'}: an item outside 0 ... {history.num_items - 1}. Export the bundle again."
        )
