"""Several events of one user with one item, as one event with the weight of all that was known in time."""

from typing import Literal

import ibis
import numpy as np
import pyarrow as pa

from avrec.core.arrays import Int64
from avrec.data.cuts import held_out_from

Known = Literal["same part", "in time", "all"]


def combined(
    kept: pa.Table, events: ibis.Table, num_users: int, given: bool, max_weight: int
) -> tuple[pa.Table, dict[str, int]]:
    """Add to each kept event the weights of its pair's other events that were known before the next part began.

    Args:
        kept: the first event of each pair, with its `part`, and with `given` where the split was given.
        events: the events of these pairs, and perhaps of others.
        num_users: U.
        given: whether parts were given; then events count that were given the same part.
        max_weight: the largest sum, in units of the weights.

    Returns:
        `kept` in another order, with the sums and, where the log has time, `last_timestamp`; and numbers for the manifest.
    """
    kept = kept.take(pa.array(np.lexsort((np.asarray(kept["item"]), np.asarray(kept["user"])))))
    timed = kept["timestamp"].null_count == 0
    known: Known = "same part" if given else "in time" if timed else "all"
    limit = kept["given"] if given else pa.array(_last_known(kept, num_users, known))
    limits = ibis.memtable(pa.table({"user": kept["user"], "item": kept["item"], "limit": limit}))
    sums = _summed(events.join(limits, ["user", "item"]), known, max_weight)
    changes = {"weight": sums["weight"], **({"last_timestamp": sums["last"]} if timed else {})}
    used, of = (np.asarray(sums[name]) for name in ("used", "of"))
    counts = {
        "pairs_with_several_events": int((of > 1).sum()),
        "events_added": int((used - 1).sum()),
        "events_after_the_next_part_began": int((of - used).sum()),
        "pairs_at_max_weight": int((np.asarray(sums["weight"]) >= max_weight).sum()),
    }
    columns = {name: kept[name] for name in kept.column_names if name != "given"}
    return pa.table(columns | changes), counts


def _last_known(kept: pa.Table, num_users: int, known: Known) -> Int64:
    """(pairs,) the last second whose events count; the kept event's own second always does."""
    if known == "all":
        return np.zeros(len(kept), np.int64)
    cuts = held_out_from(kept, num_users)
    assert cuts is not None
    time, part = np.asarray(kept["timestamp"]), np.asarray(kept["part"]).astype(np.int64)
    never = np.full((num_users, 1), np.iinfo(np.int64).max)  # after the test part there is nothing
    limit = np.hstack([cuts, never])[np.asarray(kept["user"]), part] - 1
    return np.asarray(np.maximum(limit, time), np.int64)


def _summed(joined: ibis.Table, known: Known, max_weight: int) -> pa.Table:
    """`weight`, `last`, `used` and `of` of each pair, in order of user and item."""
    if known == "all":
        counts = ibis.literal(True)
    elif known == "same part":
        counts = joined["given"] == joined["limit"]
    else:
        counts = joined["timestamp"] <= joined["limit"]
    marked = joined.mutate(counts=counts)
    pairs = marked.group_by(["user", "item"]).aggregate(
        weight=ibis.least(marked["weight"].sum(where=marked["counts"]), max_weight).cast("int64"),
        last=marked["timestamp"].max(where=marked["counts"]),
        used=marked["counts"].sum().cast("int64"),
        of=marked.count(),
    )
    return pairs.order_by(["user", "item"]).to_pyarrow()
