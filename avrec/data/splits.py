"""Which event goes to train, validation or test: each split is one small class over an Ibis table of numbered events.

Every order is total, so engines agree. A share is of the events it is taken from, before anything else is taken away, and
the test part does not depend on the validation share.
"""

from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self

import ibis

from avrec.core.arrays import Int64
from avrec.core.errors import ConfigError
from avrec.data.draws import Ties, check_ties, pair_hash, tie_key
from avrec.data.layout import PARTS
from avrec.data.numbering import Numbered
from avrec.data.sources.base import RawData

TRAIN, VALIDATION, TEST = range(len(PARTS))
MILLION = 1_000_000


class Split(Protocol):
    """Assigns the column `part` (0 train, 1 validation, 2 test).

    Attributes:
        needs_time: whether every event must have a timestamp.
        needs_given: whether every event must have a given part.
    """

    needs_time: bool
    needs_given: bool

    @property
    def expected(self) -> tuple[str, ...]:
        """Parts that must not come out empty."""
        ...

    def tie_key(self, numbered: Numbered) -> Int64 | None:
        """(events,) distinct within a user: orders events of the same second; None when the split needs no such order."""
        ...

    def placed(self, raw: RawData, numbered: Numbered) -> tuple[RawData, Numbered, "Split"]:
        """The split in this log; one that is sure to leave events out does it here, before all other steps."""
        ...

    def assign(self, events: ibis.Table) -> ibis.Table:
        """The events with `part`; it may leave some out, which are counted."""
        ...

    def describe(self) -> dict[str, Any]:
        """Name and arguments, for the manifest."""
        ...


@dataclass(frozen=True)
class _Described:
    def placed(self, raw: RawData, numbered: Numbered) -> tuple[RawData, Numbered, Self]:
        """As it is."""
        return raw, numbered, self

    def describe(self) -> dict[str, Any]:
        """Name and arguments as plain values, for the manifest."""
        return {"name": type(self).__name__, **asdict(self)}


@dataclass(frozen=True)
class GivenSplit(_Described):
    """The split that stands in the log.

    Attributes:
        validation_share: of each user's given train events, this share, drawn by a hash of the ids, becomes validation;
            only for a log that has no validation part of its own.
        seed: of that draw.
    """

    validation_share: float = 0.0
    seed: int = 0
    needs_time = False
    needs_given = True

    def __post_init__(self) -> None:
        _check_shares(self.validation_share, 0.0)

    @property
    def expected(self) -> tuple[str, ...]:
        """Train, and each part with a share."""
        return _with_share(self.validation_share, 0.0)

    def tie_key(self, numbered: Numbered) -> Int64 | None:
        """A hash of the ids and the seed, where something is drawn."""
        return pair_hash(numbered, self.seed) if self.validation_share else None

    def assign(self, events: ibis.Table) -> ibis.Table:
        """The given parts, with the validation part carved out of train if asked.

        Raises:
            ConfigError: `validation_share` is set although the log has a validation part.
        """
        if not self.validation_share:
            return events.mutate(part=events.given)
        if events.filter(events.given == VALIDATION).count().to_pyarrow().as_py():
            raise ConfigError(
                f"GivenSplit: validation_share is {self.validation_share}, but the log has a validation part. Set it to 0."
            )
        ranked = _ranked(events.filter(events.given == TRAIN), ["tie", "item"])
        carved = ranked.mutate(part=_last(ranked, 0, _ppm(self.validation_share))).drop("rank", "count")
        others = events.filter(events.given != TRAIN)
        return carved.union(others.mutate(part=others.given))


@dataclass(frozen=True)
class GlobalTimeSplit(_Described):
    """One moment for everybody: test is the last part of the whole log, validation the part before it.

    Events of the second at a cut stay in the earlier part, so parts share no second and hold at most their share.
    Users and items that come up only later are kept: they are the new users and cold items of the evaluation.

    Attributes:
        validation_share: of all events.
        test_share: of all events.
    """

    validation_share: float = 0.1
    test_share: float = 0.1
    needs_time = True
    needs_given = False

    def __post_init__(self) -> None:
        _check_shares(self.validation_share, self.test_share)

    @property
    def expected(self) -> tuple[str, ...]:
        """Train, and each part with a share."""
        return _with_share(self.validation_share, self.test_share)

    def tie_key(self, numbered: Numbered) -> Int64 | None:
        """None: events of one second stay together."""
        return None

    def assign(self, events: ibis.Table) -> ibis.Table:
        """Compare each time with the two cuts."""
        count = events.count().to_pyarrow().as_py()
        held = _ppm(self.validation_share) + _ppm(self.test_share)
        cuts = [_time_at(events, count - count * share // MILLION - 1) for share in (held, _ppm(self.test_share))]
        time = events.timestamp
        return events.mutate(part=ibis.cases((time > cuts[1], TEST), (time > cuts[0], VALIDATION), else_=TRAIN))


@dataclass(frozen=True)
class UserTimeSplit(_Described):
    """Each user's last events are test, those before validation; a user always keeps one train event.

    Of n events, round(n * test_share) are test and round(n * (validation_share + test_share)) are held out in all, halves up.

    Attributes:
        validation_share: of each user's events.
        test_share: of each user's events.
        ties: events of one second are ordered by a `hash` of the ids (neither file order nor popularity can leak into it),
            or as they stand in the `file`.
    """

    validation_share: float = 0.1
    test_share: float = 0.2
    ties: Ties = "hash"
    needs_time = True
    needs_given = False

    def __post_init__(self) -> None:
        _check_shares(self.validation_share, self.test_share)
        check_ties(self.ties)

    @property
    def expected(self) -> tuple[str, ...]:
        """Train, and each part with a share."""
        return _with_share(self.validation_share, self.test_share)

    def tie_key(self, numbered: Numbered) -> Int64 | None:
        """The order inside a second."""
        return tie_key(numbered, self.ties)

    def assign(self, events: ibis.Table) -> ibis.Table:
        """Rank each user's events by time."""
        ranked = _ranked(events, ["timestamp", "tie", "item"])
        part = _last(ranked, _ppm(self.test_share), _ppm(self.validation_share) + _ppm(self.test_share))
        return ranked.mutate(part=part).drop("rank", "count")


@dataclass(frozen=True)
class LeaveLastOut(_Described):
    """Each user's last event is test and the one before it validation.

    A user with two events has no validation event, a user with one only that train event.

    Attributes:
        ties: as for `UserTimeSplit`.
    """

    ties: Ties = "hash"
    needs_time = True
    needs_given = False

    def __post_init__(self) -> None:
        check_ties(self.ties)

    @property
    def expected(self) -> tuple[str, ...]:
        """All three parts."""
        return PARTS

    def tie_key(self, numbered: Numbered) -> Int64 | None:
        """The order inside a second."""
        return tie_key(numbered, self.ties)

    def assign(self, events: ibis.Table) -> ibis.Table:
        """Rank each user's events by time."""
        ranked = _ranked(events, ["timestamp", "tie", "item"])
        from_end = ranked["count"] - ranked["rank"]
        part = ibis.cases(
            ((from_end == 1) & (ranked["count"] >= 2), TEST),
            ((from_end == 2) & (ranked["count"] >= 3), VALIDATION),
            else_=TRAIN,
        )
        return ranked.mutate(part=part).drop("rank", "count")


@dataclass(frozen=True)
class RandomSplit(_Described):
    """A share of each user's events, drawn by a hash of (user_id, item_id, seed): independent of time, order and other rows.

    The counts are those of `UserTimeSplit`. It looks into the future; use it where a log has no time.

    Attributes:
        validation_share: of each user's events.
        test_share: of each user's events.
        seed: of the draw.
    """

    validation_share: float = 0.1
    test_share: float = 0.2
    seed: int = 0
    needs_time = False
    needs_given = False

    def __post_init__(self) -> None:
        _check_shares(self.validation_share, self.test_share)

    @property
    def expected(self) -> tuple[str, ...]:
        """Train, and each part with a share."""
        return _with_share(self.validation_share, self.test_share)

    def tie_key(self, numbered: Numbered) -> Int64 | None:
        """The draw."""
        return pair_hash(numbered, self.seed)

    def assign(self, events: ibis.Table) -> ibis.Table:
        """Rank each user's events by the draw."""
        ranked = _ranked(events, ["tie", "item"])
        part = _last(ranked, _ppm(self.test_share), _ppm(self.validation_share) + _ppm(self.test_share))
        return ranked.mutate(part=part).drop("rank", "count")


def _ranked(events: ibis.Table, order: list[str]) -> ibis.Table:
    """The events with their `rank` (from 0) within the user, and the user's `count`."""
    ordered = ibis.window(group_by="user", order_by=order)
    return events.mutate(rank=ibis.row_number().over(ordered), count=ibis._.count().over(ibis.window(group_by="user")))


def _last(ranked: ibis.Table, test_ppm: int, held_ppm: int) -> ibis.Value:
    """The part of each event when the last of a user's events are held out; integers only, so no rounding can differ."""
    count = ranked["count"]
    test, held = (ibis.least((count * ppm + MILLION // 2) // MILLION, count - 1) for ppm in (test_ppm, held_ppm))
    from_end = count - ranked["rank"]
    return ibis.cases((from_end <= test, TEST), (from_end <= held, VALIDATION), else_=TRAIN)


def _time_at(events: ibis.Table, position: int) -> int:
    """The timestamp at a position of the log in order of time."""
    row = events.order_by("timestamp").select("timestamp").limit(1, offset=position).to_pyarrow()
    return int(row["timestamp"][0].as_py())


def _with_share(validation_share: float, test_share: float) -> tuple[str, ...]:
    return tuple(part for part, share in zip(PARTS, (1.0, validation_share, test_share), strict=True) if share)


def _ppm(share: float) -> int:
    return round(share * MILLION)


def _check_shares(validation: float, test: float) -> None:
    for name, share in (("validation_share", validation), ("test_share", test)):
        if not 0.0 <= share < 1.0:
            raise ConfigError(f"{name} is {share}; expected a share from 0 to under 1.")
    if validation + test >= 1.0:
        raise ConfigError(
            f"validation_share {validation} and test_share {test} leave no train part. Make them smaller."
        )
