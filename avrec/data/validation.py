"""Looks at everything a source read, and says everything that is wrong with it at once."""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.core.clips import MediaKind
from avrec.data.arrow import TEXT, truth
from avrec.data.columns import TIME_ADVICE, UNIT_NAMES, looks_like
from avrec.data.content_hash import is_storable
from avrec.data.layout import PARTS, RESERVED_COLUMNS, path_column, presence_column
from avrec.data.media_paths import check_media
from avrec.data.numbering import kept_rows
from avrec.data.options import MAX_WEIGHT, PrepareOptions
from avrec.data.problems import MAX_SHOWN, Place, Problems, did_you_mean, shown
from avrec.data.side_validation import check_side
from avrec.data.sources.base import EVENT_COLUMNS, RawData
from avrec.data.splits import Split

FLOAT_ID = r"^[+-]?\d+\.0*$"
EDGE_SPACE = r"^\s|\s$"
DAY_SEC = 86_400
Find = Callable[[pa.Array | pa.ChunkedArray], pa.Array | pa.ChunkedArray]
ID_FAULTS: tuple[tuple[Find, str], ...] = (
    (lambda ids: pc.fill_null(pc.equal(ids, ""), True), "expected an id. Give the row an id or drop it."),
    (lambda ids: pc.match_substring_regex(ids, EDGE_SPACE), "an id with a space at an end. Strip the column."),
    (
        lambda ids: pc.match_substring_regex(ids, FLOAT_ID),
        "an id that went through a column of floats. Write ids as text or as whole numbers.",
    ),
)


def check(
    raw: RawData, options: PrepareOptions, split: Split, now_sec: float | None = None
) -> dict[MediaKind, list[str]]:
    """Raise one DataError that lists every problem of every table.

    Args:
        raw: what the source read; its own problems come first.
        options: what is asked of the data, such as weights by value.
        split: how the log will be split; it may need times or given parts.
        now_sec: the present, after which no event can have happened; the clock's when None.

    Returns:
        For each kind of media what to tell of files that are not there, which is no problem of the data set as a whole.

    Raises:
        DataError: naming file, row, column, value and remedy of the first five rows of each problem, and how many more.
    """
    problems = Problems(list(raw.problems))
    if raw.interactions.schema.names != list(EVENT_COLUMNS) or raw.interactions.schema.types != [
        *EVENT_COLUMNS.values()
    ]:
        problems.add(
            raw.place("interactions"), f"source gave {raw.interactions.schema}; expected {dict(EVENT_COLUMNS)}."
        )
        problems.raise_any()
    _check_events(raw, options, split, time.time() if now_sec is None else now_sec, problems)
    reserved = [*RESERVED_COLUMNS, *map(path_column, raw.media)]
    _check_side_table(raw.items, "item_id", raw.place("items"), problems, reserved)
    if raw.users is not None:
        _check_side_table(raw.users, "user_id", raw.place("users"), problems)
    _check_unknown_items(raw, options, problems)
    for modality, (ids, values) in raw.features.items():
        _check_feature(modality, ids, values, raw.place(modality), problems)
    check_side(raw, problems)
    missing = check_media(raw, problems)
    problems.raise_any()
    return missing


def _check_events(raw: RawData, options: PrepareOptions, split: Split, now_sec: float, problems: Problems) -> None:
    log, place = raw.interactions, raw.place("interactions")
    if not len(log):
        problems.add(place, "has no rows. Is this the right file?")
    for name in ("user_id", "item_id"):
        _check_ids(log[name], name, place, problems)
    _check_names(raw, options, problems)
    _check_values(raw, options, problems)
    _check_times(log["timestamp"], split, now_sec, place, problems)
    known = pa.array(PARTS, TEXT)
    part = log["split"]
    strange = truth(pc.and_(pc.is_valid(part), pc.invert(pc.is_in(part, value_set=known))))
    problems.rows(place, "split", strange, part, "expected train, validation or test. Fix the row or drop it.")
    if split.needs_given:
        if part.null_count == len(part):
            problems.add(place, "has no column 'split', which GivenSplit needs. Add it, or choose another split.")
        else:
            empty = truth(pc.is_null(part))
            problems.rows(place, "split", empty, part, "expected train, validation or test. Fix the row or drop it.")


def _check_ids(ids: pa.ChunkedArray, name: str, place: Place, problems: Problems) -> None:
    """Null, empty, padded and float-like ids; looks at the distinct ids first, since most columns are clean."""
    distinct = pc.unique(ids)
    for find, advice in ID_FAULTS:
        if pc.any(pc.fill_null(find(distinct), False)).as_py():
            problems.rows(place, name, truth(find(ids)), ids, advice)


def _check_side_table(
    table: pa.Table, id_name: str, place: Place, problems: Problems, reserved: Iterable[str] = RESERVED_COLUMNS
) -> None:
    ids = table[id_name]
    _check_ids(ids, id_name, place, problems)
    if len(pc.unique(ids)) < len(ids):
        counts = pc.value_counts(ids)
        twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
        code = np.asarray(pc.fill_null(pc.index_in(ids, value_set=twice), -1))
        again = code >= 0
        again[np.unique(code, return_index=True)[1]] = False  # the first of each stays
        problems.rows(place, id_name, again, ids, "an id that stands in an earlier row too. Keep one row for each id.")
    for field in table.schema:
        if field.name in reserved or field.name.startswith(presence_column("")):
            problems.add(place, f"column {field.name!r} is a name that avrec itself writes. Rename the column.")
        elif not is_storable(field.type):
            problems.add(
                place, f"column {field.name!r} has the type {field.type}, which is not stored. Cast or drop it."
            )


def _check_names(raw: RawData, options: PrepareOptions, problems: Problems) -> None:
    """Events without a weight, and options that name an event which never occurs; the default weights fit any log."""
    if options.behaviour_weights is None:
        return
    place, events = raw.place("interactions"), raw.interactions["event"]
    names = sorted(pc.drop_null(pc.unique(events)).to_pylist())
    for event in options.behaviour_weights:
        if event not in names:
            guess = did_you_mean(event, names)
            problems.add(place, f"no event is {event!r}, which behaviour_weights names; there are {names}.{guess}")
    unweighted = truth(pc.invert(pc.is_in(events, value_set=pa.array(list(options.behaviour_weights), TEXT))))
    advice = (
        f"has no weight. Name it in behaviour_weights (they name {sorted(options.behaviour_weights)}), with 0 if it is no "
        "sign of liking."
    )
    problems.rows(place, "event", unweighted, events, advice)


def _check_values(raw: RawData, options: PrepareOptions, problems: Problems) -> None:
    place, values = raw.place("interactions"), raw.interactions["value"]
    problems.rows(
        place,
        "value",
        truth(pc.invert(pc.is_finite(values))),
        values,
        "expected a finite number. Fix the row or drop it.",
    )
    share = raw.interactions["watch_share"]
    outside = pc.invert(pc.and_(pc.greater_equal(share, 0.0), pc.less_equal(share, 1.0)))  # NaN is outside
    advice = "expected the watched share of the item, 0 to 1. Fix the row, or leave the cell empty."
    problems.rows(place, "watch_share", truth(outside), share, advice)
    if options.min_value is not None:
        empty = truth(pc.is_null(values)) & kept_rows(raw.interactions, replace(options, min_value=None))
        problems.rows(place, "value", empty, values, "min_value needs a value. Fix the row or drop it.")
    if options.value_weight != "ignore":
        unusable = pc.or_(pc.less_equal(values, 0.0), pc.greater(values, MAX_WEIGHT))
        bad = truth(pc.fill_null(pc.and_(unusable, pc.is_finite(values)), True)) & kept_rows(raw.interactions, options)
        advice = f"value_weight={options.value_weight} needs a number over 0, at most 1e12. Fix the row or drop it."
        problems.rows(place, "value", bad, values, advice)


def _check_times(times: pa.ChunkedArray, split: Split, now_sec: float, place: Place, problems: Problems) -> None:
    if times.null_count == len(times):
        if split.needs_time:
            name = type(split).__name__
            problems.add(
                place, f"has no timestamps, which {name} needs. Add the column, or choose RandomSplit or GivenSplit."
            )
        return
    advice = "other rows have a time. Give every row a timestamp or none."
    problems.rows(place, "timestamp", truth(pc.is_null(times)), times, advice)
    problems.rows(place, "timestamp", truth(pc.less_equal(times, 0)), times, TIME_ADVICE)
    future = truth(pc.greater(times, int(now_sec) + DAY_SEC))
    if future.any():
        units = looks_like(np.asarray(times.filter(pa.array(future)).cast(pa.float64(), safe=False)))
        unit = f" (this looks like {UNIT_NAMES[min(units)]})" if units != {"s"} else ""
        problems.rows(place, "timestamp", future, times, f"a time in the future{unit}; {TIME_ADVICE}")


def _check_unknown_items(raw: RawData, options: PrepareOptions, problems: Problems) -> None:
    if options.unknown_items != "error" or not len(raw.items):
        return
    known = raw.items["item_id"].combine_chunks()
    advice = f"not in {raw.place('items').name}. Add the item there, or set unknown_items to add or drop."
    parts = {"interactions": raw.interactions["item_id"]}
    parts |= {modality: ids for modality, (ids, _) in raw.features.items()}
    parts |= {kind: ids for kind, (ids, _) in raw.media.items()}
    for part, ids in parts.items():
        strange = pc.and_(pc.invert(pc.is_in(ids, value_set=known)), pc.not_equal(ids, ""))
        problems.rows(raw.place(part), "item_id", truth(strange), ids, advice)


def _check_feature(modality: str, ids: pa.Array, values: np.ndarray, place: Place, problems: Problems) -> None:
    if not modality.isidentifier():
        problems.add(place, f"the modality {modality!r} is no plain name. Use letters, digits and _.")
    if values.ndim != 2 or values.dtype.kind != "f" or values.shape[1] == 0:
        problems.add(place, f"{values.dtype} of shape {values.shape}; expected floats of shape (items, dimension).")
        return
    if len(ids) != len(values):
        problems.add(place, f"{len(values)} rows for {len(ids)} items. Give one row for each item.")
        return
    if len(pc.unique(ids)) < len(ids) or ids.null_count:
        problems.add(place, "an item_id is empty or occurs twice. Keep one vector for each item.")
    with np.errstate(over="ignore"):
        finite = np.isfinite(values.astype(np.float32, copy=False)).all(axis=1)
    zero = ~values.any(axis=1)
    for bad, what, remedy in (
        (~finite, "holds NaN or infinity (or overflows float32)", "Compute the vector again, or leave the item out."),
        (zero, "is all zero", "Leave the item out, or set zero_rows='absent' if zeros mean that it is missing."),
    ):
        positions = np.flatnonzero(bad)
        for position, number in zip(positions[:MAX_SHOWN], place.rows(positions[:MAX_SHOWN]), strict=True):
            problems.add(
                f"{place.name} row {number}", f"the vector of item {shown(ids[int(position)])} {what}. {remedy}"
            )
        if len(positions) > MAX_SHOWN:
            more = len(positions) - MAX_SHOWN
            problems.add(place, f"{more} more rows whose vector {what}, {len(positions)} in all.")
