"""What `prepare` does to a log besides splitting it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from avrec.core.errors import ConfigError

ValueWeight = Literal["ignore", "linear", "log1p"]
Duplicates = Literal["first", "last", "sum"]
UnknownItems = Literal["add", "drop", "error"]
MAX_WEIGHT = 1e12  # still fits the integer scale of weights
DEFAULT_BEHAVIOUR_WEIGHTS: Mapping[str, float] = {"view": 1.0, "like": 2.0, "comment": 2.0, "share": 3.0, "skip": 0.0}


@dataclass(frozen=True)
class PrepareOptions:
    """Filters and weights, applied in this order; each filter counts what it removed.

    Attributes:
        unknown_items: items of the log (or of features) that the items table lacks: `add` them to the catalogue, `drop`
            their events, or treat each as an `error`. A source without an items table always adds.
        behaviour_weights: event -> how much it says of liking; 0 for what is no sign of it, such as a skip: such events are
            counted and left out, their users and items stay. Where it is given it must name every event of the log. By
            default `view: 1, like: 2, comment: 2, share: 3, skip: 0`, and every other event weighs 1. Where the log has
            a `watch_share` (0 to 1), the weight is multiplied by it; a share of 0 leaves the event out.
        min_value: events with a smaller value are left out, such as ratings under 4.
        value_weight: an event's weight is multiplied by nothing, by its value, or by log(1 + value).
        max_weight: the largest weight of an event, and of several combined ones.
        duplicates: what remains of several events of one user with one item. `first` and `last` keep one event. `sum` keeps
            the first and adds the weights of the later ones, up to the moment when the next part of the split begins for
            that user (or for everybody, where the parts share no second): no weight tells of what came afterwards. In a
            given split events of the same part are added, in a log without time all of them. The order is time, then the
            event's name, then the weight.
        min_user_events: users with fewer events leave, together with
        min_item_events: items with fewer events, until no round removes anything (a k-core). What leaves, leaves the
            catalogue too; cold items therefore need 0.

    Raises:
        ConfigError: a value is out of range.
    """

    unknown_items: UnknownItems = "add"
    behaviour_weights: Mapping[str, float] | None = None
    min_value: float | None = None
    value_weight: ValueWeight = "ignore"
    max_weight: float = 10.0
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
        if not 0 < self.max_weight <= MAX_WEIGHT:
            raise ConfigError(f"max_weight is {self.max_weight}; expected a positive number, at most {MAX_WEIGHT:g}.")
        for event, weight in (self.behaviour_weights or {}).items():
            if not 0 <= weight <= MAX_WEIGHT:
                raise ConfigError(
                    f"behaviour_weights: the weight of {event!r} is {weight}; expected 0 (no sign of liking) or a positive "
                    f"number, at most {MAX_WEIGHT:g}."
                )
        if self.behaviour_weights is not None:
            object.__setattr__(self, "behaviour_weights", dict(self.behaviour_weights))

    def weight_of(self, event: str) -> float:
        """What an event of this name weighs."""
        weights = DEFAULT_BEHAVIOUR_WEIGHTS if self.behaviour_weights is None else self.behaviour_weights
        return float(weights.get(event, 1.0))

    def describe(self) -> dict[str, Any]:
        """The options as plain values for the manifest."""
        return asdict(self)
