"""`WindowSplit`: for items that live for hours: train, validation and test are windows of time, one right after the other."""

import datetime as dt
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.core.arrays import Bool, Int64
from avrec.core.dataset import HeldOut
from avrec.core.errors import ConfigError, DataError
from avrec.data.cuts import NEVER
from avrec.data.field_kinds import fits, numeric_field
from avrec.data.layout import PARTS, FieldKind, alive_column
from avrec.data.numbering import Filtered, Numbered
from avrec.data.sources.base import RawData
from avrec.data.splits import TEST, TRAIN, VALIDATION

HOUR_SEC = 3600


@dataclass(frozen=True)
class WindowSplit:
    """The last hours before a moment are trained on, the hours after it are validation, those after them test.

    The test window ends with the log, or as many test windows earlier as `windows_back` says. A window holds its first second
    and not the one after it. What happened later is left out before anything else, as if the log had ended there; only its
    users and items stay in the catalogue. Of a pair's repeated events one remains before the older ones are left out, so the
    test part does not depend on `train_hours`.

    An item's life begins with its release, or with its first event where that is earlier or no release is known. So its end
    is known beforehand, and no event that is held out tells of it. `items.parquet` says which items each held-out window has
    as candidates: those of which nobody could know, when it began, that they were dead, without those that came out after it.

    Attributes:
        train_hours: length of the train window; all of the past when None.
        validation_hours: of the validation window.
        test_hours: of the test window.
        windows_back: how many test windows before the end of the log the test window ends.
        lifetime_hours: how long an item lives; events after its life are left out. Items live for ever when None.
        released: column of the items table with the second since 1970, or the date, at which each item came out.
        log_ends_sec: the second after the last event, which windows are counted back from; read from the log when None.

    Raises:
        ConfigError: a value is out of range, or `released` is given without `lifetime_hours`.
    """

    train_hours: float | None = 24.0
    validation_hours: float = 6.0
    test_hours: float = 6.0
    windows_back: int = 0
    lifetime_hours: float | None = None
    released: str | None = None
    log_ends_sec: int | None = None
    needs_time = True
    needs_given = False

    def __post_init__(self) -> None:
        for name in ("train_hours", "validation_hours", "test_hours", "lifetime_hours"):
            hours = getattr(self, name)
            if hours is None and name in ("train_hours", "lifetime_hours"):
                continue
            if isinstance(hours, bool) or not math.isfinite(hours) or _seconds(hours) < 1:
                raise ConfigError(f"{name} is {hours!r}; expected a number of hours, at least a second.")
        if isinstance(self.windows_back, bool) or self.windows_back != int(self.windows_back) or self.windows_back < 0:
            raise ConfigError(f"windows_back is {self.windows_back!r}; expected a whole number, 0 or more.")
        if self.released is not None and self.lifetime_hours is None:
            raise ConfigError(f"released is {self.released!r}, but nothing dies: give lifetime_hours, or leave it out.")

    @property
    def expected(self) -> tuple[str, ...]:
        """All three parts."""
        return PARTS

    @property
    def edges(self) -> tuple[int | None, int, int, int]:
        """The seconds at which train (None: with the log), validation and test begin, and at which test is over."""
        assert self.log_ends_sec is not None, "a window is placed in a log first"
        over = self.log_ends_sec - self.windows_back * _seconds(self.test_hours)
        test = over - _seconds(self.test_hours)
        validation = test - _seconds(self.validation_hours)
        train = None if self.train_hours is None else validation - _seconds(self.train_hours)
        return train, validation, test, over

    def describe(self) -> dict[str, Any]:
        """Name, arguments and, once it is placed in a log, where the windows lie."""
        found = {"name": type(self).__name__, **asdict(self)}
        if self.log_ends_sec is not None:
            names = ("train_from_sec", "validation_from_sec", "test_from_sec", "test_until_sec")
            found |= dict(zip(names, self.edges, strict=True))
        return found

    def tie_key(self, numbered: Numbered) -> Int64 | None:
        """None: events of one second stay together."""
        return None

    def placed(self, raw: RawData, numbered: Numbered) -> tuple[RawData, Numbered, "WindowSplit"]:
        """Find the end of the log, and leave out what came after the window and what happened after an item's life.

        Returns:
            `raw` with the candidates of each held-out window in its items table, where items die; the log without those
            events, which are counted; and this split with the end of the log.

        Raises:
            DataError: a window holds no event.
            ConfigError: the items table has no such column as `released`, or it holds neither numbers nor dates.
        """
        time, item = (np.asarray(numbered.events[name]).astype(np.int64) for name in ("timestamp", "item"))
        if not len(time):
            return raw, numbered, self
        log_ends_sec = int(time.max()) + 1 if self.log_ends_sec is None else self.log_ends_sec
        split = replace(self, log_ends_sec=log_ends_sec)
        late = time >= split.edges[-1]
        lives = split._lives(raw, numbered, time, item)
        dead = np.zeros(len(time), np.bool_) if lives is None else ~late & lives.is_over(item, time)
        split._check_windows(time, late | dead)
        filters = [Filtered("after_window", f"windows_back={self.windows_back}", int(late.sum()))]
        if lives is not None:
            filters.append(Filtered("lifetime", f"lifetime_hours={self.lifetime_hours}", int(dead.sum())))
            raw = split._with_candidates(raw, numbered, lives)
        events = numbered.events.filter(pa.array(~(late | dead)))
        return raw, replace(numbered, events=events, filters=(*numbered.filters, *filters)), split

    def assign(self, events: ibis.Table) -> ibis.Table:
        """Compare each time with the windows; what is older than the train window is left out."""
        train, validation, test, _ = self.edges
        kept = events if train is None else events.filter(events.timestamp >= train)
        time = kept.timestamp
        return kept.mutate(part=ibis.cases((time >= test, TEST), (time >= validation, VALIDATION), else_=TRAIN))

    def _lives(self, raw: RawData, numbered: Numbered, time: Int64, item: Int64) -> "_Lives | None":
        if self.lifetime_hours is None:
            return None
        first = np.full(len(numbered.items), NEVER)
        np.minimum.at(first, item, time)
        return _Lives(first, _release_times(raw, numbered, self.released), _seconds(self.lifetime_hours))

    def _check_windows(self, time: Int64, left_out: Bool) -> None:
        edges = [np.iinfo(np.int64).min if edge is None else edge for edge in self.edges]
        counts = np.bincount(np.searchsorted(edges, time[~left_out], side="right"), minlength=len(PARTS) + 1)[1:]
        log = f"the log goes from {_words(int(time.min()))} to {_words(int(time.max()))}"
        problems = [
            f"WindowSplit: the {part} window, from {_words(start)} to {_words(end)}, holds no event; {log}. "
            "Take a smaller windows_back, or more hours."
            for part, count, start, end in zip(PARTS, counts, self.edges, self.edges[1:], strict=False)
            if not count
        ]
        if problems:
            raise DataError(problems)

    def _with_candidates(self, raw: RawData, numbered: Numbered, lives: "_Lives") -> RawData:
        """The items table, for every item of the log, with a column of candidates for each held-out part."""
        _, validation, test, over = self.edges
        row = pc.index_in(numbered.items.array, value_set=raw.items["item_id"].combine_chunks())
        items = raw.items.combine_chunks().take(row)
        items = items.set_column(items.schema.get_field_index("item_id"), "item_id", numbered.items.array)
        windows: dict[HeldOut, tuple[int, int]] = {"validation": (validation, test), "test": (test, over)}
        names = {part: alive_column(part) for part in windows}
        for part, (start, end) in windows.items():
            items = items.append_column(names[part], pa.array(lives.candidates(start, end)))
        kinds: dict[str, FieldKind] = {**raw.field_kinds, **{name: "ignore" for name in names.values()}}
        return replace(raw, items=items, field_kinds=kinds)


@dataclass(frozen=True)
class _Lives:
    """When each item was first seen, and released, `NEVER` where nobody knows; and how many seconds it lives."""

    first_N: Int64
    released_N: Int64
    length_sec: int

    @property
    def _born_N(self) -> Int64:
        return np.minimum(self.first_N, self.released_N)

    def is_over(self, item: Int64, time: Int64) -> Bool:
        """(events,) true where the item was dead."""
        return np.asarray(time - self.length_sec >= self._born_N[item])

    def candidates(self, start: int, end: int) -> Bool:
        """(N,) alive in a window as far as its beginning knows; who has neither a release nor an earlier event may be."""
        unknown_N = (self.released_N == NEVER) & (self.first_N >= start)
        return np.asarray(unknown_N | ((self._born_N < end) & (self._born_N > start - self.length_sec)))


def _release_times(raw: RawData, numbered: Numbered, released: str | None) -> Int64:
    """(N,) whole seconds, `NEVER` where no release is known."""
    found = np.full(len(numbered.items), NEVER)
    if released is None:
        return found
    names = [name for name in raw.items.column_names if fits("numeric", raw.items[name].type)]
    if released not in names:
        raise ConfigError(
            f"data.split.released: {released!r} is no column of numbers or dates of the items table; {names} are."
        )
    field = numeric_field(raw.items[released])
    item = numbered.items.index(raw.items["item_id"])
    known = field.present & (item >= 0)
    found[item[known]] = np.floor(field.values[known]).astype(np.int64)
    return found


def _seconds(hours: float) -> int:
    return round(hours * HOUR_SEC)


def _words(second: int | None) -> str:
    if second is None:
        return "the beginning"
    return (dt.datetime(1970, 1, 1) + dt.timedelta(seconds=second)).isoformat(sep=" ")
