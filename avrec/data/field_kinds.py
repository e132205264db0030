"""What a column of the items or users table is: numbers, names, text, tags, or nothing that a model should read."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.core.ids import IdMap
from avrec.core.side import CategoryField, NumericField, Texts
from avrec.data.arrow import TEXT, is_list, is_text, truth
from avrec.data.layout import FieldKind
from avrec.data.problems import Place, Problems, did_you_mean, shown

TEXT_NAMES = ("title", "name", "description", "summary", "caption", "keywords", "lyrics", "transcript")
TAG_NAMES = ("tags", "genres", "interests")
TAG_SEPARATOR = "|"
TRUTH = "true_"  # how simulated data name what no model may read
ENTITY = "entity_id"
MAX_CATEGORIES = 10_000
MAX_TAG_CHARS = 200
MAX_TEXT_CHARS = 1_000_000


def kinds_of(table: pa.Table, id_name: str, given: Mapping[str, FieldKind]) -> dict[str, FieldKind]:
    """The kind of each column but the id.

    What is `given` holds. Else numbers, truth values and dates are numeric; lists of text are tags, and so is text in a
    column of `TAG_NAMES`, cut at `|`; a column of `TEXT_NAMES` is text; other text is a category if at most half of
    the filled rows, and at most 10,000, hold distinct values, else text. Ignored are other lists, empty columns, the entity
    id, and what begins with `true_`.
    """
    return {name: given.get(name, _kind_of(name, table[name])) for name in table.column_names if name != id_name}


def check_kinds(
    tables: Mapping[str, tuple[pa.Table, str, Place]], given: Mapping[str, FieldKind], problems: Problems
) -> None:
    """Tell of kinds that name no column or do not fit one, and of values that are too long.

    Args:
        tables: any name -> table, its id column, its place.
        given: as for `kinds_of`.
        problems: gets what is wrong.
    """
    names = [name for table, id_name, _ in tables.values() for name in table.column_names if name != id_name]
    for name in given:
        if name not in names:
            guess = did_you_mean(name, names)
            problems.add("field_kinds", f"no column is {name!r}; there are {sorted(names)}.{guess}")
    for table, id_name, place in tables.values():
        for name, kind in kinds_of(table, id_name, given).items():
            column = table[name]
            if not fits(kind, column.type):
                problems.add(place, f"field_kinds: column {name!r} has the type {column.type}, which cannot be {kind}.")
            elif kind in ("text", "tags"):
                _check_lengths(column, name, kind, place, problems)


def tag_entries(table: pa.Table, names: list[str]) -> tuple[np.ndarray, pa.Array]:
    """The tags in columns of kind `tags`.

    Returns:
        (E,) row of each tag, and the (E,) tags without spaces at their ends; empty ones are left out.
    """
    rows, tags = [np.zeros(0, np.int64)], [pa.array([], TEXT)]
    for name in names:
        column = _decoded(table[name]).combine_chunks()
        if not is_list(column.type):
            column = pc.split_pattern(column.cast(TEXT), TAG_SEPARATOR)
        rows.append(np.asarray(pc.list_parent_indices(column), np.int64))
        tags.append(pc.list_flatten(column).cast(TEXT))
    row, tag = np.concatenate(rows), pc.utf8_trim_whitespace(pa.concat_arrays(tags))
    filled = truth(pc.not_equal(tag, ""))
    return row[filled], tag.filter(pa.array(filled))


def numeric_field(column: pa.ChunkedArray) -> NumericField:
    """A column of numbers, truth values or dates; dates become seconds."""
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        micros = column.cast(pa.timestamp("us")).cast(pa.int64())
        column = pc.divide(micros.cast(pa.float64()), 1e6)
    elif pa.types.is_temporal(column.type):
        column = column.cast(pa.int32() if column.type.bit_width == 32 else pa.int64())
    column = column.cast(pa.float64(), safe=False)
    present = truth(pc.is_finite(column))
    return NumericField(np.where(present, np.asarray(pc.fill_null(column, 0.0)), 0.0), present)


def category_field(column: pa.ChunkedArray) -> CategoryField:
    """A column of names; an empty text is absent."""
    text = _decoded(column).cast(TEXT)
    text = pc.if_else(pc.equal(text, ""), pa.scalar(None, TEXT), text)
    names = IdMap.from_values(text)
    return CategoryField(names.index(text), names)


def texts(column: pa.ChunkedArray) -> Texts:
    """A column of texts; an empty one is absent."""
    return tuple(value or None for value in _decoded(column).cast(TEXT).to_pylist())


def _kind_of(name: str, column: pa.ChunkedArray) -> FieldKind:
    kind = _decoded(column).type
    if name.startswith(TRUTH) or name == ENTITY or column.null_count == len(column):
        return "ignore"
    if is_list(kind):
        return "tags" if is_text(kind.value_type) else "ignore"
    if name in TAG_NAMES:
        return "tags" if fits("tags", kind) else "ignore"
    if not is_text(kind):
        return "numeric" if fits("numeric", kind) else "ignore"
    if name in TEXT_NAMES:
        return "text"
    filled = column.filter(pc.not_equal(column.cast(TEXT), ""))
    if not len(filled):
        return "ignore"
    return "category" if len(pc.unique(filled)) <= min(len(filled) // 2, MAX_CATEGORIES) else "text"


def fits(kind: FieldKind, column: pa.DataType) -> bool:
    """Whether a column of this type can be of this kind."""
    if pa.types.is_dictionary(column):
        column = column.value_type
    name_like = is_text(column) or pa.types.is_integer(column)
    if kind == "numeric":
        number = pa.types.is_integer(column) or pa.types.is_floating(column) or pa.types.is_boolean(column)
        return bool(number or pa.types.is_temporal(column))
    if kind == "category":
        return bool(name_like or pa.types.is_boolean(column))
    if kind == "text":
        return is_text(column)
    if kind == "tags":
        return bool(name_like or (is_list(column) and is_text(column.value_type)))
    return kind == "ignore"


def _check_lengths(column: pa.ChunkedArray, name: str, kind: FieldKind, place: Place, problems: Problems) -> None:
    if kind == "text":
        long = truth(pc.greater(pc.utf8_length(_decoded(column).cast(TEXT)), MAX_TEXT_CHARS))
        problems.rows(place, name, long, column, f"longer than {MAX_TEXT_CHARS} characters. Shorten or drop it.")
        return
    row, tag = tag_entries(pa.table({name: column}), [name])
    long = truth(pc.greater(pc.utf8_length(tag), MAX_TAG_CHARS))
    if long.any():
        first = int(np.argmax(long))
        problems.add(
            f"{place.name} row {place.rows(row[first : first + 1])[0]}",
            f"{name} holds {shown(tag[first])}; a tag has at most {MAX_TAG_CHARS} characters, and "
            f"{int(long.sum())} here have more. Is {name} a list of tags, separated by {TAG_SEPARATOR!r} in text?",
        )


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    return column.cast(kind.value_type) if pa.types.is_dictionary(kind) else column
