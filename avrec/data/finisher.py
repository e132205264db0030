"""The one finisher: whatever engine made the parts, this numbers, sorts, hashes and writes the prepared data set."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import avrec
from avrec.core.arrays import Bool, Float32, Int64
from avrec.core.clips import MediaKind
from avrec.core.files import atomic_folder, write_json, write_npy, write_table
from avrec.core.ids import IdMap
from avrec.core.interactions import event_order
from avrec.data.arrow import TEXT
from avrec.data.content_hash import content_hash
from avrec.data.engine import SplitLog
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
from avrec.data.numbering import Numbered
from avrec.data.side_tables import side_tables
from avrec.data.sources.base import RawData


@dataclass(frozen=True)
class Finished:
    """The prepared data set in memory, as it will be written.

    Attributes:
        tables: `interactions`, `users`, `items` and those of `SideTables`.
        features: modality -> (items, F) float32, zeros where the item lacks it.
        counts: numbers for the manifest.
        media: kind -> numbers for the manifest; empty without media.
        warnings: lines that tell what was left out of side information.
    """

    tables: Mapping[str, pa.Table]
    features: Mapping[str, Float32]
    counts: Mapping[str, Any]
    media: Mapping[MediaKind, Mapping[str, int]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def finish(raw: RawData, numbered: Numbered, log: SplitLog) -> Finished:
    """Close the gaps that filters left in the numbering, sort the events, align side tables, features and media."""
    users, items = _kept(numbered.users, log.keep_users), _kept(numbered.items, log.keep_items)
    interactions = _interactions(log, numbered.event_names)
    item_table = _side_table(items, "item", raw.items)
    features = {}
    for modality, (ids, values) in sorted(raw.features.items()):
        features[modality], present = _aligned(items, ids, values)
        item_table = item_table.append_column(presence_column(modality), pa.array(present))
    media = {}
    for kind, (ids, paths) in sorted(raw.media.items()):
        column = _paths(items, ids, paths)
        item_table = item_table.append_column(path_column(kind), column)
        media[kind] = {"items": len(column) - column.null_count}
    tables = {
        "interactions": interactions,
        "users": _side_table(users, "user", raw.users),
        "items": item_table,
    }
    counts = _counts(interactions, len(users), len(items))
    if log.combined:
        counts["combined"] = dict(log.combined)
    side = side_tables(raw, numbered, log, users, items)
    if side.item_entity is not None:
        entity = pa.array(side.item_entity, mask=side.item_entity < 0)
        tables["items"] = tables["items"].append_column("entity_idx", entity)
    return Finished(tables | dict(side.tables), features, counts | dict(side.counts), media, side.warnings)


def write(finished: Finished, manifest: Mapping[str, Any], folder: Path) -> None:
    """Write the folder whole or not at all; `manifest` gets the counts, the versions and the content hash."""
    features = {
        modality: {
            "dim": values.shape[1],
            "items": int(np.count_nonzero(np.asarray(finished.tables["items"][presence_column(modality)]))),
        }
        for modality, values in finished.features.items()
    }
    manifest = {
        **manifest,
        "kind": KIND,
        "format_version": FORMAT_VERSION,
        "avrec_version": avrec.__version__,
        "weight_scale": WEIGHT_SCALE,
        "counts": dict(finished.counts),
        "warnings": list(finished.warnings),
        "features": features,
        **({"media": dict(finished.media)} if finished.media else {}),
        "tables": {name: len(table) for name, table in finished.tables.items()},
        "content_hash": content_hash(finished.tables, finished.features),
    }
    with atomic_folder(folder) as draft:
        for name, table in finished.tables.items():
            write_table(draft / table_file(name), table)
        for modality, values in finished.features.items():
            write_npy(draft / feature_file(modality), values)
        write_json(draft / MANIFEST, manifest)


def _kept(ids: IdMap, keep: Bool) -> IdMap:
    return ids if keep.all() else IdMap(ids.array.filter(pa.array(keep)))


def _interactions(log: SplitLog, event_names: IdMap) -> pa.Table:
    """Sorted by user, time and item, which is a total order since a pair occurs once."""
    events = log.events
    user, item = np.asarray(events["user"]), np.asarray(events["item"])
    has_time = events["timestamp"].null_count == 0
    time = np.asarray(events["timestamp"]) if has_time else None
    order = event_order(user, item, time)
    code = np.asarray(events["event"])[order]
    event = pa.DictionaryArray.from_arrays(pa.array(code, pa.int32(), mask=code < 0), event_names.array)
    columns = {
        "user_idx": _new_index(log.keep_users)[user[order]],
        "item_idx": _new_index(log.keep_items)[item[order]],
        "event": event,
        "weight": np.asarray(events["weight"])[order],
        "timestamp": pa.nulls(len(order), pa.int64()) if time is None else time[order],
        "split": pa.DictionaryArray.from_arrays(np.asarray(events["part"])[order], pa.array(PARTS, TEXT)),
    }
    if "last_timestamp" in events.column_names:
        columns["last_timestamp"] = np.asarray(events["last_timestamp"])[order]
    return pa.table(columns)


def _new_index(keep: Bool) -> Int64:
    return np.cumsum(keep, dtype=np.int64) - 1


def _side_table(ids: IdMap, kind: str, given: pa.Table | None) -> pa.Table:
    """`<kind>_idx`, `<kind>_id` and the side fields of `given` in index order; null where it lacks the id."""
    columns = {f"{kind}_idx": pa.array(np.arange(len(ids))), f"{kind}_id": ids.array}
    if given is not None and given.num_columns > 1:
        row = pc.index_in(ids.array, value_set=given[f"{kind}_id"].combine_chunks())
        aligned = given.drop_columns(f"{kind}_id").combine_chunks().take(row)
        columns |= {name: aligned[name] for name in aligned.column_names}
    return pa.table(columns)


def _aligned(items: IdMap, ids: pa.Array, values: np.ndarray) -> tuple[Float32, Bool]:
    """(items, F) vectors by item_idx, zero where absent, and (items,) presence."""
    index = items.index(ids)
    inside = index >= 0
    matrix = np.zeros((len(items), values.shape[1]), np.float32)
    matrix[index[inside]] = values[inside]
    present = np.zeros(len(items), np.bool_)
    present[index[inside]] = True
    return matrix, present


def _paths(items: IdMap, ids: pa.Array, paths: pa.Array) -> pa.Array:
    """(items,) paths by item_idx, null where absent."""
    return paths.cast(TEXT).take(pc.index_in(items.array, value_set=ids.cast(TEXT)))


def _counts(interactions: pa.Table, num_users: int, num_items: int) -> dict[str, Any]:
    user, item = np.asarray(interactions["user_idx"]), np.asarray(interactions["item_idx"])
    part = np.asarray(interactions["split"].combine_chunks().indices)
    trained_users = np.bincount(user[part == 0], minlength=num_users) > 0
    trained_items = np.bincount(item[part == 0], minlength=num_items) > 0
    counts: dict[str, Any] = {
        "users": num_users,
        "items": num_items,
        "users_without_train": int((~trained_users).sum()),
        "items_without_train": int((~trained_items).sum()),
    }
    for code, name in enumerate(PARTS):
        inside = part == code
        counts[name] = {
            "rows": int(inside.sum()),
            "users": int(np.count_nonzero(np.bincount(user[inside]))),
            "items": int(np.count_nonzero(np.bincount(item[inside]))),
            "rows_of_users_without_train": int((~trained_users[user[inside]]).sum()),
            "rows_of_items_without_train": int((~trained_items[item[inside]]).sum()),
        }
    return counts
