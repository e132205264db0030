"""`ShardedIndex`: a catalogue in several parts, searched one after another and merged."""

from collections.abc import Sequence

import numpy as np

from avrec.core.arrays import Bool, Float32, Int64
from avrec.core.errors import AvrecError
from avrec.retrieval.candidates import best_candidates
from avrec.retrieval.index import Index, check_request
from avrec.retrieval.seen import Seen, seen_among


class ShardedIndex:
    """Several indexes as one; the first holds items 0 ... N1 - 1, the next goes on from there.

    Shards may be of any kind, and their vectors may be memory-mapped from files of their own, so a catalogue may be larger
    than the memory. Scores of different shards are inner products of the same queries, hence comparable.

    Args:
        shards: in the order of their items; their tie numbers must be comparable, so either all shards have some or none.
        dim: width D of the vectors.

    Raises:
        AvrecError: no shard, or only some of them have a tie order.
    """

    def __init__(self, shards: Sequence[Index], dim: int) -> None:
        if len({shard.tie_order is None for shard in shards}) != 1:
            raise AvrecError(
                f"ShardedIndex: {len(shards)} shards; expected at least one, and all or none with tie_order."
            )
        self.shards = tuple(shards)
        self.dim = dim
        self._starts = np.cumsum([0, *(shard.num_items for shard in shards)])
        ties = [shard.tie_order for shard in shards if shard.tie_order is not None]
        self._tie_order = np.concatenate(ties) if ties else None

    @property
    def num_items(self) -> int:
        """Length N of the catalogue."""
        return int(self._starts[-1])

    @property
    def tie_order(self) -> Int64 | None:
        """See `Index`."""
        return self._tie_order

    def search(
        self, queries_BD: Float32, k: int, seen: Seen | None = None, allowed_N: Bool | None = None
    ) -> tuple[Int64, Float32]:
        """See `Index.search`."""
        check_request(queries_BD, self.num_items, self.dim, seen, allowed_N)
        found_idx, found_scores = [], []
        for start, shard in zip(self._starts[:-1].tolist(), self.shards, strict=True):
            stop = start + shard.num_items
            own = None if seen is None else seen_among(seen, np.arange(start, stop))
            allowed = None if allowed_N is None else allowed_N[start:stop]
            item_idx, scores = shard.search(queries_BD, k, own, allowed)
            found_idx.append(np.where(item_idx < 0, -1, item_idx + start))
            found_scores.append(scores)
        return best_candidates(np.hstack(found_idx), np.hstack(found_scores), k, self._tie_order)
