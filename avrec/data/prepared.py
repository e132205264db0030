"""`load_dataset`: from a prepared folder to a `Dataset`, after checking that it is what its manifest says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from avrec.core.arrays import Bool, Float32, Int64
from avrec.core.clips import MEDIA_KINDS, MediaKind
from avrec.core.dataset import Dataset, Feature, MediaColumn
from avrec.core.errors import ArtefactError, DataError
from avrec.core.files import check_format_version, read_json, read_npy, read_table
from avrec.core.ids import IdMap
from avrec.core.interactions import Interactions
from avrec.data.arrow import is_text
from avrec.data.content_hash import content_hash
from avrec.data.layout import (
    FORMAT_VERSION,
    KIND,
    MANIFEST,
    PARTS,
    WEIGHT_SCALE,
    feature_file,
    path_column,
    presence_column,
    table_file,
)
from avrec.data.side_reader import AGAIN, SIDE_COLUMNS, read_side

COLUMNS = {
    "interactions": ["user_idx", "item_idx", "event", "weight", "timestamp", "split"],
    "users": ["user_idx", "user_id"],
    "items": ["item_idx", "item_id"],
    **SIDE_COLUMNS,
}


def load_dataset(folder: str | Path, verify: bool = True, media_root: str | Path | None = None) -> Dataset:
    """Read a prepared data set.

    Args:
        folder: what `prepare` wrote.
        verify: recompute the content hash; without it only sizes, ranges and orders are checked.
        media_root: where the media files stand now; where they stood at preparation when None.

    Raises:
        ArtefactError: a file is missing, damaged, of another format version, or its content is not what was written.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    media = [kind for kind in MEDIA_KINDS if kind in manifest.get("media", {})]
    tables = {name: _read_table(folder, name, rows) for name, rows in manifest["tables"].items()}
    users, items = _ids(folder, tables["users"], "user"), _ids(folder, tables["items"], "item")
    matrices = {
        modality: _read_matrix(folder, modality, (len(items), about["dim"]))
        for modality, about in manifest["features"].items()
    }
    if verify and content_hash(tables, matrices) != manifest["content_hash"]:
        raise ArtefactError(f"{folder}: the content is not what {MANIFEST} says (its hash differs). {AGAIN}")
    parts = _parts(folder / table_file("interactions"), tables["interactions"], len(users), len(items))
    return Dataset(
        name=manifest["name"],
        content_hash=manifest["content_hash"],
        users=users,
        items=items,
        **parts,
        features={name: Feature(values, _present(folder, tables["items"], name)) for name, values in matrices.items()},
        media={kind: _media(folder, tables["items"], kind) for kind in media},
        media_root=str(media_root or manifest["media_root"]) if media else None,
        item_table=tables["items"],
        user_table=tables["users"],
        **read_side(folder, tables, len(users), len(items)),
    )


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
        raise ArtefactError(
            f"{path}: not the manifest of a prepared data set. Give a folder that `avrec prepare` wrote."
        )
    found = manifest.get("format_version")
    if isinstance(found, int) and found < FORMAT_VERSION:
        raise ArtefactError(
            f"{path}: format version {found}, written by an older avrec; this one reads version {FORMAT_VERSION}, which has "
            f"tags, friends, a graph and kinds of fields. {AGAIN}"
        )
    check_format_version(manifest, path, FORMAT_VERSION)
    kinds: Mapping[str, type] = {
        "name": str,
        "content_hash": str,
        "tables": dict,
        "features": dict,
        "weight_scale": int,
    }
    for key, kind in kinds.items():
        if not isinstance(manifest.get(key), kind):
            raise ArtefactError(f"{path}: {key} is {manifest.get(key)!r}; expected a {kind.__name__}. {AGAIN}")
    tables, features = manifest["tables"], manifest["features"]
    if not {"interactions", "users", "items"} <= tables.keys() <= COLUMNS.keys():
        raise ArtefactError(f"{path}: names the tables {sorted(tables)}; expected some of {sorted(COLUMNS)}. {AGAIN}")
    bad = [name for name, about in features.items() if not (name.isidentifier() and _is_dim(about))]
    if bad or manifest["weight_scale"] != WEIGHT_SCALE:
        raise ArtefactError(
            f"{path}: features {bad} or weight_scale {manifest['weight_scale']} are not usable. {AGAIN}"
        )
    media, root = manifest.get("media", {}), manifest.get("media_root")
    if not (isinstance(media, dict) and media.keys() <= set(MEDIA_KINDS) and (isinstance(root, str) or not media)):
        raise ArtefactError(f"{path}: media {media!r} below media_root {root!r} are not usable. {AGAIN}")
    return manifest


def _is_dim(about: object) -> bool:
    return isinstance(about, dict) and isinstance(about.get("dim"), int) and about["dim"] > 0


def _read_table(folder: Path, name: str, rows: object) -> pa.Table:
    path = folder / table_file(name)
    table = read_table(path)
    absent = [column for column in COLUMNS[name] if column not in table.column_names]
    if absent:
        raise ArtefactError(f"{path}: no column {absent}. {AGAIN}")
    if len(table) != rows:
        raise ArtefactError(f"{path}: {len(table)} rows; {MANIFEST} says {rows}. {AGAIN}")
    return table


def _read_matrix(folder: Path, modality: str, shape: tuple[int, int]) -> Float32:
    path = folder / feature_file(modality)
    matrix = read_npy(path, ndim=2, mmap=False)
    if matrix.shape != shape or matrix.dtype != np.float32:
        raise ArtefactError(f"{path}: {matrix.dtype} of shape {matrix.shape}; expected float32 of {shape}. {AGAIN}")
    if not np.isfinite(matrix).all():
        raise ArtefactError(f"{path}: holds NaN or infinity. {AGAIN}")
    return matrix


def _ids(folder: Path, table: pa.Table, kind: str) -> IdMap:
    path = folder / table_file(f"{kind}s")
    if not np.array_equal(_integers(path, table, f"{kind}_idx"), np.arange(len(table))):
        raise ArtefactError(f"{path}: {kind}_idx is not 0, 1, 2, ... {AGAIN}")
    try:
        return IdMap(table[f"{kind}_id"])
    except (DataError, pa.ArrowInvalid) as error:
        raise ArtefactError(f"{path}: {kind}_id: {error} {AGAIN}") from error


def _present(folder: Path, items: pa.Table, modality: str) -> Bool:
    name = presence_column(modality)
    if name not in items.column_names or not pa.types.is_boolean(items[name].type) or items[name].null_count:
        raise ArtefactError(f"{folder / table_file('items')}: {name} is no column of true and false. {AGAIN}")
    return np.asarray(items[name], np.bool_)


def _media(folder: Path, items: pa.Table, kind: MediaKind) -> MediaColumn:
    name = path_column(kind)
    if name not in items.column_names or not is_text(items[name].type):
        raise ArtefactError(f"{folder / table_file('items')}: {name} is no column of text. {AGAIN}")
    return MediaColumn(tuple(items[name].to_pylist()))


def _integers(path: Path, table: pa.Table, name: str) -> Int64:
    column = table[name]
    if column.type != pa.int64() or column.null_count:
        raise ArtefactError(f"{path}: {name} is {column.type} with {column.null_count} nulls; expected int64. {AGAIN}")
    return np.asarray(column, np.int64)


def _parts(path: Path, table: pa.Table, num_users: int, num_items: int) -> dict[str, Interactions]:
    """The three parts; rows are in order of user, time and item, so a part needs no sort."""
    user, item, weight = (_integers(path, table, name) for name in ("user_idx", "item_idx", "weight"))
    timed = table["timestamp"].null_count < len(table)
    time = _integers(path, table, "timestamp") if timed else None
    last = _integers(path, table, "last_timestamp") if "last_timestamp" in table.column_names else None
    if last is not None and (time is None or (last < time).any()):
        raise ArtefactError(f"{path}: last_timestamp is before timestamp. {AGAIN}")
    for name, index, size in (("user_idx", user, num_users), ("item_idx", item, num_items)):
        if len(index) and not (0 <= index.min() and index.max() < size):
            raise ArtefactError(f"{path}: {name} is outside 0 to {size - 1}. {AGAIN}")
    if len(weight) and weight.min() <= 0:
        raise ArtefactError(f"{path}: a weight is {weight.min()}; expected positive numbers. {AGAIN}")
    if not _in_order(user, time, item):
        raise ArtefactError(f"{path}: rows are not in order of user, time and item. {AGAIN}")
    code = pa.compute.index_in(table["split"].cast(pa.large_string()), value_set=pa.array(PARTS, pa.large_string()))
    if code.null_count:
        raise ArtefactError(f"{path}: split holds something besides {', '.join(PARTS)}. {AGAIN}")
    part = np.asarray(code)
    scaled = (weight / WEIGHT_SCALE).astype(np.float32)
    indptr = np.zeros(num_users + 1, np.int64)
    np.cumsum(np.bincount(user, minlength=num_users), out=indptr[1:])
    every = Interactions(num_users, num_items, indptr, item, scaled, time, last)
    return {name: every.select(part == number) for number, name in enumerate(PARTS)}


def _in_order(user: Int64, time: Int64 | None, item: Int64) -> bool:
    """Whether (user, time, item) ascends strictly."""
    later = np.diff(item) > 0
    if time is not None:
        step = np.diff(time)
        later = (step > 0) | ((step == 0) & later)
    next_user = np.diff(user)
    return bool(np.all((next_user > 0) | ((next_user == 0) & later)))
