"""What `prepare` does to a log besides splitting it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from avrec.core.errors import ConfigError

ValueWeight = Literal["ignore", "linear", "log1p"]
Duplicates = Literal["first", "last", "sum"]
UnknownItems = Literal["add", "drop", "error"]


@dataclass(frozen=True)
class PrepareOptions:
    """Filters and weights, applied in this order; each filter counts what it removed.

    Attributes:
        unknown_items: items of the log (or of features) that the items table lacks: `add` them to the catalogue, `drop`
            their events, or treat each as an `error`. A source without an items table always adds.
        drop_events: names of events that are left out, such as a dislike.
        min_value: events with a smaller value are left out, such as ratings under 4.
        event_weights: event -> positive weight; every event weighs 1 when empty.
        value_weight: an event's weight is multiplied by nothing, by its value, or by log(1 + value).
        duplicates: what remains of several events of one user with one item. `first` and `last` keep one event; `sum` keeps
            the last and gives it the weight of all. The order is time, then the event's name, then the weight; so no
            part of the split learns of a later one.
        min_user_events: users with fewer events leave, together with
        min_item_events: items with fewer events, until no round removes anything (a k-core). What leaves, leaves the
            catalogue too; cold items therefore need 0.

    Raises:
        ConfigError: a value is out of range.
    """

    unknown_items: UnknownItems = "add"
    drop_events: tuple[str, ...] = ()
    min_value: float | None = None
    event_weights: Mapping[str, float] = field(default_factory=dict)
    value_weight: ValueWeight = "ignore"
    duplicates: Duplicates = "first"
    min_user_events: int = 0
    min_item_events: int = 0

    def __post_init__(self) -> None:
        for name, kind in (("unknown_items", UnknownItems), ("value_weight", ValueWeight), ("duplicates", Duplicates)):
            if getattr(self, name) not in get_args(kind):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(get_args(kind))}.")
        for name in ("min_user_events", "min_item_events"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 0 (no filter) or more.")
        for event, weight in self.event_weights.items():
            if not 0 < weight < float("inf"):
                raise ConfigError(
                    f"event_weights: the weight of {event!r} is {weight}; expected a positive number. "
                    f"To leave an event out, name it in drop_events."
                )
            if event in self.drop_events:
                raise ConfigError(f"event_weights: {event!r} is also in drop_events. Take it out of one of them.")
        object.__setattr__(self, "drop_events", tuple(self.drop_events))
        object.__setattr__(self, "event_weights", dict(self.event_weights))

    def describe(self) -> dict[str, Any]:
        """The options as plain values for the manifest."""
        return asdict(self) | {"drop_events": list(self.drop_events), "event_weights": dict(self.event_weights)}
