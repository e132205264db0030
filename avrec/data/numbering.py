"""Text to numbers, once and for every engine: ids in the order of their UTF-8 bytes, weights as scaled integers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.core.arrays import Bool, Float64, Int64
from avrec.core.ids import IdMap
from avrec.data.arrow import TEXT, truth
from avrec.data.layout import PARTS, WEIGHT_SCALE
from avrec.data.options import PrepareOptions
from avrec.data.sources.base import RawData


@dataclass(frozen=True)
class Filtered:
    """What one named filter removed.

    Attributes:
        name: of the filter.
        setting: what it was set to.
        rows: events removed.
        users: users removed from the catalogue.
        items: items removed from the catalogue.
    """

    name: str
    setting: str
    rows: int = 0
    users: int = 0
    items: int = 0


@dataclass(frozen=True)
class Numbered:
    """A log in numbers.

    Attributes:
        users: every user of the log and the users table.
        items: every item of the log, the items table, the features and the media, unless `unknown_items` drops the strangers.
        event_names: the names behind `event`.
        events: `user` and `item` int32, `event` int32 (-1 for none), `weight` int64 in units of 1 / WEIGHT_SCALE,
            `timestamp` int64 or null, `given` int8 (index in PARTS, -1 for none).
        filters: what the row-wise filters removed.
        behaviours: event -> its `rows` in the whole log, and its `weight`.
        added_users: users of the log that the users table lacked, 0 without such a table.
        added_items: items that the items table lacked, 0 without such a table.
    """

    users: IdMap
    items: IdMap
    event_names: IdMap
    events: pa.Table
    filters: tuple[Filtered, ...] = ()
    behaviours: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    added_users: int = 0
    added_items: int = 0


def number(raw: RawData, options: PrepareOptions) -> Numbered:
    """Apply the row-wise filters and turn checked `RawData` into numbers."""
    items = _item_catalogue(raw, options)
    users = IdMap.from_values(_joined(raw.interactions["user_id"], None if raw.users is None else raw.users["user_id"]))
    keep, filters = _row_filters(raw, items, options)
    log = raw.interactions if keep.all() else raw.interactions.filter(pa.array(keep))
    names = IdMap.from_values(log["event"])
    event = names.index(log["event"])
    return Numbered(
        users=users,
        items=items,
        event_names=names,
        events=pa.table(
            {
                "user": users.index(log["user_id"]).astype(np.int32),
                "item": items.index(log["item_id"]).astype(np.int32),
                "event": event.astype(np.int32),
                "weight": _weights(log, event, names, options),
                "timestamp": log["timestamp"],
                "given": IdMap(PARTS).index(log["split"]).astype(np.int8),
            }
        ),
        filters=tuple(filters),
        behaviours=_behaviours(raw.interactions, options),
        added_users=len(users) - len(raw.users) if raw.users is not None else 0,
        added_items=max(0, len(items) - len(raw.items)) if len(raw.items) else 0,
    )


def kept_rows(log: pa.Table, options: PrepareOptions) -> Bool:
    """(rows,) false for events that are no sign of liking, or that `min_value` leaves out."""
    return _is_sign(log, options) & _was_watched(log) & _enough(log, options)


def _is_sign(log: pa.Table, options: PrepareOptions) -> Bool:
    none = [name for name in pc.drop_null(pc.unique(log["event"])).to_pylist() if not options.weight_of(name)]
    return ~truth(pc.is_in(log["event"], value_set=pa.array(none, TEXT)))


def _was_watched(log: pa.Table) -> Bool:
    return ~truth(pc.equal(log["watch_share"], 0.0))


def _enough(log: pa.Table, options: PrepareOptions) -> Bool:
    if options.min_value is None:
        return np.ones(len(log), np.bool_)
    return truth(pc.greater_equal(log["value"], options.min_value))


def _row_filters(raw: RawData, items: IdMap, options: PrepareOptions) -> tuple[Bool, list[Filtered]]:
    """Which events stay, and what each filter that is switched on removed of those the earlier ones left."""
    log = raw.interactions
    steps = []
    if options.unknown_items == "drop" and len(raw.items):
        known = truth(pc.is_in(log["item_id"], value_set=items.array))
        strangers = len(pc.unique(log["item_id"].filter(pa.array(~known))))
        steps.append(("unknown_items", f"drop; {strangers} ids are not in {raw.place('items').name}", known))
    is_sign = _is_sign(log, options)
    if not is_sign.all():
        names = sorted(pc.unique(log["event"].filter(pa.array(~is_sign))).to_pylist())
        steps.append(("no_sign", f"weight 0: {', '.join(names)}", is_sign))
    if log["watch_share"].null_count < len(log):
        steps.append(("not_watched", "watch_share 0", _was_watched(log)))
    if options.min_value is not None:
        steps.append(("min_value", str(options.min_value), _enough(log, options)))
    keep = np.ones(len(log), np.bool_)
    filters = []
    for name, setting, passes in steps:
        filters.append(Filtered(name, setting, rows=int(np.count_nonzero(keep & ~passes))))
        keep &= passes
    return keep, filters


def _item_catalogue(raw: RawData, options: PrepareOptions) -> IdMap:
    if options.unknown_items == "drop" and len(raw.items):
        return IdMap.from_values(raw.items["item_id"])
    return IdMap.from_values(
        _joined(
            raw.items["item_id"],
            raw.interactions["item_id"],
            *(ids for ids, _ in raw.features.values()),
            *(ids for ids, _ in raw.media.values()),
        )
    )


def _joined(*columns: pa.Array | pa.ChunkedArray | None) -> pa.Array:
    """The distinct values of several columns."""
    distinct = [pc.unique(column).cast(TEXT) for column in columns if column is not None]
    return pc.unique(pa.concat_arrays(distinct))


def _weights(log: pa.Table, event: Int64, names: IdMap, options: PrepareOptions) -> Int64:
    """(events,) whole units of 1 / WEIGHT_SCALE, at least one and at most `max_weight`."""
    of_name = np.array([options.weight_of(name) for name in names.array.to_pylist()] + [1.0])
    weight: Float64 = of_name[event]  # an event without a name is -1, hence the last
    if log["watch_share"].null_count < len(log):
        weight = weight * np.asarray(pc.fill_null(log["watch_share"], 1.0))
    if options.value_weight != "ignore":
        values = np.asarray(log["value"])
        weight = weight * (values if options.value_weight == "linear" else np.log1p(values))
    units: Int64 = np.rint(np.minimum(weight, options.max_weight) * WEIGHT_SCALE).astype(np.int64)
    return np.maximum(units, 1)


def _behaviours(log: pa.Table, options: PrepareOptions) -> dict[str, dict[str, float]]:
    """What each event of the whole log weighs, and how often it occurs; "" is an event without a name."""
    counted = log.select(["event"]).group_by("event").aggregate([([], "count_all")])
    rows = {row["event"] or "": row["count_all"] for row in counted.to_pylist()}
    return {name: {"rows": rows[name], "weight": options.weight_of(name)} for name in sorted(rows)}
