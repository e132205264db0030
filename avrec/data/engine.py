"""Relational work on numbered events by Ibis on DuckDB inside the process: duplicates, k-core, split.

Only integers go in and come out and every order is total, so another Ibis backend gives the same rows.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import ibis
import numpy as np
import pyarrow as pa

from avrec.core.arrays import Bool
from avrec.core.errors import DataError
from avrec.data.layout import PARTS, WEIGHT_SCALE
from avrec.data.numbering import Filtered, Numbered
from avrec.data.options import Duplicates, PrepareOptions
from avrec.data.repeats import combined
from avrec.data.splits import Split

EVENT_ORDER = ("timestamp", "event", "weight")
COLUMNS = ("user", "item", "event", "weight", "timestamp")


@dataclass(frozen=True)
class SplitLog:
    """Events with their part, and who is left.

    Attributes:
        events: `user`, `item`, `event`, `weight`, `timestamp`, `part`, and `last_timestamp` where events of a log with time
            were combined; in no particular order.
        keep_users: (users,) true for those who stay in the catalogue.
        keep_items: (items,) likewise.
        filters: what every filter so far removed, in the order in which they ran.
        combined: numbers about combined events; empty where none were.
    """

    events: pa.Table
    keep_users: Bool
    keep_items: Bool
    filters: tuple[Filtered, ...]
    combined: Mapping[str, int] = field(default_factory=dict)


def split_log(numbered: Numbered, split: Split, options: PrepareOptions) -> SplitLog:
    """Resolve duplicates, take the k-core and assign parts.

    Raises:
        DataError: no event is left, or a part that the split should fill is empty.
    """
    filters = list(numbered.filters)
    with _Engine.started() as engine:
        given = split.needs_given
        every = engine.seen(_with_keys(numbered, split))
        events, removed = _resolve_duplicates(engine, every, options.duplicates, given)
        filters.append(Filtered("duplicates", options.duplicates, rows=removed))
        events, rare, rounds = _take_core(engine, events, options)
        count = engine.count(events)
        if not count:
            raise DataError([f"no event is left after the filters: {_told([*filters, Filtered('k_core', '', rare)])}."])
        # Who passed the core, whatever a window leaves out afterwards: else a candidate would be who has an event held out.
        passed = events.select("user", "item").to_pyarrow()
        parts = split.assign(events)
        together = options.duplicates == "sum" and removed > 0
        columns = (*COLUMNS, "given") if together and given else COLUMNS
        log, counts = parts.select(*columns, part=parts["part"].cast("int8")).to_pyarrow(), dict[str, int]()
        if together:
            log, counts = combined(log, every, len(numbered.users), given, int(options.max_weight * WEIGHT_SCALE))
    keep_users = _still_there(passed["user"], len(numbered.users), options.min_user_events)
    keep_items = _still_there(passed["item"], len(numbered.items), options.min_item_events)
    if rounds:
        setting = (
            f"min_user_events={options.min_user_events}, min_item_events={options.min_item_events}, {rounds} rounds"
        )
        filters.append(Filtered("k_core", setting, rare, int((~keep_users).sum()), int((~keep_items).sum())))
    if len(log) < count:
        filters.append(Filtered("before_window", type(split).__name__, count - len(log)))
    _check_parts(log, split)
    return SplitLog(log, keep_users, keep_items, tuple(filters), counts)


class _Engine:
    """One DuckDB in the process: in memory, spilling to a temporary folder, never loading an extension from a network."""

    def __init__(self, spill_folder: str) -> None:
        self._connection = ibis.duckdb.connect(
            temp_directory=spill_folder,
            memory_limit="1GB",
            autoinstall_known_extensions=False,
            autoload_known_extensions=False,
        )
        self._connection.raw_sql("SET enable_progress_bar = false")  # ibis switches it on, and it draws on stdout
        self._steps = 0

    @classmethod
    @contextmanager
    def started(cls) -> Iterator["_Engine"]:
        """An engine that is closed, and its temporary files removed, at the end."""
        with tempfile.TemporaryDirectory(prefix="avrec-engine-") as folder:
            engine = cls(folder)
            try:
                yield engine
            finally:
                engine._connection.disconnect()

    def seen(self, table: pa.Table) -> ibis.Table:
        """An Arrow table as the engine sees it, without a copy."""
        return self._connection.create_view("step_0", ibis.memtable(table))

    def stored(self, table: ibis.Table) -> ibis.Table:
        """Compute a table now, so that later steps do not compute it again; the one stored before is freed."""
        stored = self._connection.create_table(f"step_{self._steps + 1}", table)
        if self._steps:
            # ibis 12's own drop_table (and create_table of an Arrow table) forgets the name in its SQL under sqlglot 30.30
            self._connection.raw_sql(f'DROP TABLE "step_{self._steps}"')
        self._steps += 1
        return stored

    def count(self, table: ibis.Table) -> int:
        """Rows of a table."""
        return int(table.count().to_pyarrow().as_py())


def _with_keys(numbered: Numbered, split: Split) -> pa.Table:
    """The events, with the split's tie key and without what it does not need."""
    table = numbered.events if split.needs_given else numbered.events.drop_columns("given")
    tie = split.tie_key(numbered)
    return table if tie is None else table.append_column("tie", pa.array(tie))


def _resolve_duplicates(engine: _Engine, events: ibis.Table, policy: Duplicates, given: bool) -> tuple[ibis.Table, int]:
    """One event for each pair of user and item, and how many went. A given part comes before time in the order."""
    before = engine.count(events)
    if engine.count(events.select("user", "item").distinct()) == before:
        return events, 0
    direction = ibis.desc if policy == "last" else ibis.asc
    order = [direction(events[name]) for name in (*(("given",) if given else ()), *EVENT_ORDER)]
    ranked = events.mutate(
        rank=ibis.row_number().over(ibis.window(group_by=["user", "item"], order_by=order)),
    )
    kept = engine.stored(ranked.filter(ranked["rank"] == 0).drop("rank"))
    return kept, before - engine.count(kept)


def _take_core(engine: _Engine, events: ibis.Table, options: PrepareOptions) -> tuple[ibis.Table, int, int]:
    """Rounds of removing rare users and items until nothing changes: the events, how many went, and the rounds."""
    wanted = {"user": options.min_user_events, "item": options.min_item_events}
    wanted = {column: least for column, least in wanted.items() if least > 0}
    start = before = engine.count(events)
    rounds = 0
    while wanted:
        rounds += 1
        kept = events
        for column, least in wanted.items():
            counts = events.group_by(column).aggregate(events_of=ibis._.count())
            kept = kept.semi_join(counts.filter(counts["events_of"] >= least), column)
        events = engine.stored(kept)
        after = engine.count(events)
        if after == before:
            break
        before = after
    return events, start - before, rounds


def _still_there(index: pa.ChunkedArray, count: int, least: int) -> Bool:
    keep = np.ones(count, np.bool_)
    if least > 0:
        keep[:] = False
        keep[np.asarray(index)] = True
    return keep


def _check_parts(log: pa.Table, split: Split) -> None:
    counts = np.bincount(np.asarray(log["part"]), minlength=len(PARTS))
    problems = [
        f"{type(split).__name__}: the {part} part is empty after the filters. Give it a larger share or more hours, "
        "filter less, or choose another split."
        for part, count in zip(PARTS, counts, strict=True)
        if part in split.expected and not count
    ]
    if problems:
        raise DataError(problems)


def _told(filters: Sequence[Filtered]) -> str:
    return ", ".join(f"{step.name} removed {step.rows}" for step in filters)
