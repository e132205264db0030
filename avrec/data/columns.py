"""One column of the caller's table to one column of ours: ids to text, numbers to float64, times to whole seconds."""

import datetime as dt
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.core.arrays import Bool, Float64
from avrec.data.arrow import TEXT, constant_text, is_text, truth
from avrec.data.problems import Place, Problems, did_you_mean

TimeUnit = Literal["s", "ms", "us", "ns"]
PER_SECOND: dict[TimeUnit, int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
UNIT_NAMES: dict[TimeUnit, str] = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
UNIT_FROM = (("ms", 1e11), ("us", 1e14), ("ns", 1e17))  # 1e11 s is the year 5138, 1e11 ms is 1973
SPLIT_NAMES = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation", "test": "test"}

NUMBER = r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$|^[+-]?(?i:nan|inf|infinity)$"
ISO_DAY = r"^\d{4}-\d{2}-\d{2}"
ISO_ZONE = r"(Z|[+-]\d{2}:?\d{2})$"
TIME_ADVICE = "expected seconds since 1970 or an ISO date. Fix the row or drop it."


@dataclass(frozen=True)
class Column:
    """A column on its way in: its values, its name, and where problems are told."""

    values: pa.ChunkedArray
    name: str
    place: Place
    problems: Problems

    def report(self, bad: Bool, advice: str) -> None:
        """Tell of the rows where `bad` is true."""
        self.problems.rows(self.place, self.name, bad, self.values, advice)

    def decoded(self) -> pa.ChunkedArray:
        """The values without dictionary encoding."""
        kind = self.values.type
        return self.values.cast(kind.value_type) if pa.types.is_dictionary(kind) else self.values


def id_text(column: Column) -> pa.ChunkedArray:
    """Ids as text: text stays as it is, whole numbers become their decimal text, everything else is a problem."""
    values = column.decoded()
    if is_text(values.type) or pa.types.is_integer(values.type):
        return values.cast(TEXT)
    if not pa.types.is_null(values.type):
        remedy = "Write the ids as text or as whole numbers"
        if pa.types.is_floating(values.type):
            remedy += " (a table with an empty cell often turns 1 into 1.0: fill or drop that row first)"
        column.problems.add(column.place, f"column {column.name} has the type {values.type}; expected text. {remedy}.")
        return constant_text("?", len(values))
    return values.cast(TEXT)


def plain_text(column: Column) -> pa.ChunkedArray:
    """Text, with an empty cell as null."""
    values = column.decoded()
    if not (is_text(values.type) or pa.types.is_null(values.type)):
        column.problems.add(column.place, f"column {column.name} has the type {values.type}; expected text.")
        return constant_text(None, len(values))
    return empty_as_null(values.cast(TEXT))


def split_names(column: Column) -> pa.ChunkedArray:
    """Split names in their full spelling; an unknown name is a problem."""
    values = plain_text(column)
    known = pa.array(list(SPLIT_NAMES), TEXT)
    code = pc.index_in(values, value_set=known)
    bad = pc.and_(pc.is_valid(values), pc.is_null(code))
    if pc.any(bad).as_py():
        guess = did_you_mean(str(values.filter(bad)[0].as_py()), SPLIT_NAMES)
        column.report(truth(bad), f"expected train, validation or test.{guess} Fix the row or drop it.")
    names = pa.chunked_array([pa.array(list(SPLIT_NAMES.values()), TEXT).take(_single(code))])
    return pc.if_else(bad, "train", names)  # told once, above


def numbers(column: Column) -> pa.ChunkedArray:
    """Numbers as float64; an empty cell is null, a text that is no number is a problem (and becomes 1, to be told once)."""
    values = column.decoded()
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_decimal(values.type):
        return values.cast(pa.float64(), safe=False)
    if not (is_text(values.type) or pa.types.is_null(values.type)):
        column.problems.add(column.place, f"column {column.name} has the type {values.type}; expected numbers.")
        return pa.chunked_array([pa.nulls(len(values), pa.float64())])
    text = empty_as_null(values.cast(TEXT))
    try:
        return text.cast(pa.float64())
    except pa.ArrowInvalid:
        good = pc.match_substring_regex(text, NUMBER)
        column.report(truth(pc.invert(good)), "expected a number. Fix the row or drop it.")
        return pc.if_else(good, text, "1").cast(pa.float64())


def seconds(column: Column, unit: TimeUnit) -> pa.ChunkedArray:
    """Times as whole seconds since 1970 (int64), rounded down; an empty cell is null.

    Numbers are in `unit`; when all of them look like another unit, that is one problem which names the unit to set.
    ISO dates without a zone are UTC.
    """
    values = column.decoded()
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        return _whole_seconds(values.cast(pa.timestamp("ns" if _is_ns(values.type) else "us")))
    if pa.types.is_integer(values.type):
        return _in_unit(column, values.cast(pa.int64(), safe=False), unit)
    if pa.types.is_floating(values.type):
        return _in_unit(column, values, unit)
    if is_text(values.type) or pa.types.is_null(values.type):
        return _text_seconds(column, empty_as_null(values.cast(TEXT)), unit)
    column.problems.add(column.place, f"column {column.name} has the type {values.type}; expected seconds or dates.")
    return pa.chunked_array([pa.nulls(len(values), pa.int64())])


def looks_like(values: Float64) -> set[TimeUnit]:
    """The units that the sizes of some times suggest."""
    sizes = np.abs(values)
    unit = np.searchsorted([bound for _, bound in UNIT_FROM], sizes, side="right")
    return {("s", "ms", "us", "ns")[index] for index in np.unique(unit)}


def empty_as_null(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text with empty cells as null."""
    empty = pc.equal(values, "")
    return pc.if_else(empty, pa.scalar(None, TEXT), values) if pc.any(empty).as_py() else values


def _in_unit(column: Column, values: pa.ChunkedArray, unit: TimeUnit) -> pa.ChunkedArray:
    known = pc.drop_null(values)
    finite = known.filter(pc.is_finite(known)) if pa.types.is_floating(values.type) else known
    found = looks_like(np.asarray(finite.cast(pa.float64(), safe=False))) if len(finite) else {unit}
    if len(found) == 1 and found != {unit}:
        (seen,) = found
        column.problems.add(
            column.place,
            f"{column.name} values such as {finite[0].as_py()} look like {UNIT_NAMES[seen]}, but are read as "
            f"{UNIT_NAMES[unit]}. Set time_unit='{seen}'.",
        )
        unit = seen
    if pa.types.is_floating(values.type):
        bad = pc.invert(pc.is_finite(values))
        column.report(truth(bad), TIME_ADVICE)
        values = pc.if_else(bad, 1.0, values)
        whole = pc.floor(pc.divide(values.cast(pa.float64()), float(PER_SECOND[unit])))
        return pc.if_else(pc.less(pc.abs(whole), 2.0**62), whole, 2.0**62).cast(pa.int64())
    return _floor_divide(values, PER_SECOND[unit])


def _text_seconds(column: Column, text: pa.ChunkedArray, unit: TimeUnit) -> pa.ChunkedArray:
    try:
        return _in_unit(column, text.cast(pa.int64()), unit)
    except pa.ArrowInvalid:
        pass
    is_number = pc.fill_null(pc.match_substring_regex(text, NUMBER), False)
    is_date = pc.fill_null(pc.match_substring_regex(text, ISO_DAY), False)
    number = _in_unit(column, pc.if_else(is_number, text, None).cast(pa.float64()), unit)
    date = _iso_seconds(pc.if_else(is_date, text, None))
    result = pc.coalesce(number, date)
    bad = pc.and_(pc.is_valid(text), pc.and_(pc.is_null(result), pc.invert(is_number)))
    column.report(truth(bad), TIME_ADVICE)
    return pc.if_else(bad, 1, result)  # told once, here


def _iso_seconds(text: pa.ChunkedArray) -> pa.ChunkedArray:
    zoned = pc.fill_null(pc.match_substring_regex(text, ISO_ZONE), False)
    zoned = pc.and_(zoned, pc.greater(pc.fill_null(pc.utf8_length(text), 0), 10))
    try:
        plain = pc.if_else(zoned, None, text).cast(pa.timestamp("ns"))
        exact = pc.if_else(zoned, text, None).cast(pa.timestamp("ns", "UTC"))
        return pc.coalesce(_whole_seconds(plain), _whole_seconds(exact))
    except pa.ArrowInvalid:  # some date does not exist: look at the distinct ones one by one
        coded = _single(text.dictionary_encode())
        distinct = pa.array([_iso_second(value) for value in coded.dictionary.to_pylist()], pa.int64())
        return pa.chunked_array([distinct.take(coded.indices)])


def _iso_second(text: str) -> int | None:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return int(moment.timestamp() // 1)


def _is_ns(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) and kind.unit == "ns")


def _whole_seconds(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return _floor_divide(values.cast(pa.int64()), 10**9 if _is_ns(values.type) else 10**6)


def _floor_divide(values: pa.ChunkedArray, divisor: int) -> pa.ChunkedArray:
    if divisor == 1:
        return values
    quotient = pc.divide(values, divisor)
    inexact = pc.and_(pc.less(values, 0), pc.not_equal(pc.multiply(quotient, divisor), values))
    return pc.subtract(quotient, inexact.cast(pa.int64()))


def _single(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
