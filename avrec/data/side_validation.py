"""Looks at the friends, tags, graph and kinds of fields that a source read: shapes, sizes and weights."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.data.arrow import is_text, truth
from avrec.data.field_kinds import ENTITY, MAX_TAG_CHARS, check_kinds
from avrec.data.problems import Place, Problems
from avrec.data.sources.base import RawData

MAX_ROWS = 200_000_000
MAX_DISTINCT = {"tag": 1_000_000, "relation": 10_000}
MAX_ID_CHARS = 1_000
MAX_FRIEND_WEIGHT = 1e6
COLUMNS = {
    "social": (("user_id", "friend_id"), ("weight",)),
    "tags": (("item_id", "tag"), ("user_id", "timestamp")),
    "knowledge": (("head", "relation", "tail"), ()),
}


def check_side(raw: RawData, problems: Problems) -> None:
    """Add what is wrong; a row that names somebody unknown is no problem, it is counted and left out later."""
    for part, (required, optional) in COLUMNS.items():
        table: pa.Table | None = getattr(raw, part)
        if table is not None and _check_columns(table, required, optional, raw.place(part), problems):
            _check_sizes(table, raw.place(part), problems)
            if "weight" in table.column_names:
                _check_weights(table["weight"], raw.place(part), problems)
    if ENTITY in raw.items.column_names and raw.knowledge is not None and not _is_id(raw.items[ENTITY].type):
        kind = raw.items[ENTITY].type
        problems.add(raw.place("items"), f"column {ENTITY!r} has the type {kind}; expected text. Cast the column.")
    tables = {"items": (raw.items, "item_id", raw.place("items"))}
    if raw.users is not None:
        tables["users"] = (raw.users, "user_id", raw.place("users"))
    check_kinds(tables, raw.field_kinds, problems)


def _check_columns(
    table: pa.Table, required: tuple[str, ...], optional: tuple[str, ...], place: Place, problems: Problems
) -> bool:
    """Whether the columns are there and of a usable type."""
    before = len(problems.lines)
    for name in required:
        if name not in table.column_names:
            problems.add(place, f"no column {name!r}; it has {table.column_names}. Rename or add the column.")
    for name in (*required, *optional):
        if name not in table.column_names:
            continue
        kind = table[name].type
        number = pa.types.is_integer(kind) or (name == "weight" and pa.types.is_floating(kind))
        if not (number if name in ("weight", "timestamp") else _is_id(kind)):
            wanted = "numbers" if name in ("weight", "timestamp") else "text"
            problems.add(place, f"column {name} has the type {kind}; expected {wanted}.")
    return len(problems.lines) == before


def _check_sizes(table: pa.Table, place: Place, problems: Problems) -> None:
    if len(table) > MAX_ROWS:
        problems.add(place, f"has {len(table)} rows; at most {MAX_ROWS} are read. Leave the rarest out.")
        return
    for name in table.column_names:
        if not is_text(table[name].type):
            continue
        limit = MAX_TAG_CHARS if name in MAX_DISTINCT else MAX_ID_CHARS
        distinct = pc.unique(table[name])
        if pc.any(pc.greater(pc.utf8_length(distinct), limit)).as_py():
            long = truth(pc.greater(pc.utf8_length(table[name]), limit))
            problems.rows(place, name, long, table[name], f"longer than {limit} characters. Is this the right column?")
        most = MAX_DISTINCT.get(name)
        if most is not None and len(distinct) > most:
            problems.add(
                place,
                f"has {len(distinct)} different values of {name!r}; at most {most} are read. Leave the rarest out.",
            )


def _check_weights(weights: pa.ChunkedArray, place: Place, problems: Problems) -> None:
    values = np.asarray(weights.cast(pa.float64()).fill_null(1.0))
    bad = ~((values > 0) & (values <= MAX_FRIEND_WEIGHT))  # NaN is bad
    advice = f"expected a number over 0, at most {MAX_FRIEND_WEIGHT:g}. Fix the row or drop it."
    problems.rows(place, "weight", bad, weights, advice)


def _is_id(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(is_text(kind) or pa.types.is_integer(kind))
