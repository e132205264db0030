"""`LiveIndex`: items come, change and go without a rebuild.

Axes: B queries, N items, A edited items, D embedding.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from avrec.core.arrays import Bool, Float32, Int64
from avrec.core.errors import AvrecError
from avrec.retrieval.candidates import best_candidates
from avrec.retrieval.clusters import check_finite
from avrec.retrieval.exact import top_k
from avrec.retrieval.index import Index, check_request
from avrec.retrieval.seen import Seen, seen_among

Build = Callable[[Float32, Int64, Int64 | None], Index]


@dataclass(frozen=True)
class _State:
    """One moment of the catalogue; edits replace it whole, so a search never sees half of an edit.

    Attributes:
        base: the index underneath.
        hidden_N: items that the base must not answer: removed, or newer among the edited.
        edited_A: item_idx of edited items, rising.
        vectors_AD: theirs.
        ties_N: tie numbers, None where the index breaks ties.
    """

    base: Index
    hidden_N: Bool
    edited_A: Int64
    vectors_AD: Float32
    ties_N: Int64 | None


class LiveIndex:
    """An index with edits on top: tombstones over it, new and changed items beside it, scored exactly and merged.

    Some thousands of edits cost little; then `compact`. Indices are never reused: a removed item keeps its number, as in
    `IdMap`, and comes back by `upsert`. Searches may run in other threads while one thread edits.

    Args:
        base: what is edited; it is never changed itself.
        item_vectors: (N, D) its vectors, from which `compact` makes the next table.
    """

    def __init__(self, base: Index, item_vectors: Float32) -> None:
        if len(item_vectors) != base.num_items:
            raise AvrecError(f"LiveIndex: {len(item_vectors)} vectors for an index of {base.num_items} items.")
        self.item_vectors = item_vectors
        nothing = np.empty(0, np.int64), np.empty((0, item_vectors.shape[1]), np.float32)
        self._state = _State(base, np.zeros(base.num_items, np.bool_), *nothing, base.tie_order)

    @property
    def num_items(self) -> int:
        """Length N of the catalogue, removed items included."""
        return len(self._state.hidden_N)

    @property
    def num_edits(self) -> int:
        """New and changed items that are scored beside the base."""
        return len(self._state.edited_A)

    @property
    def tie_order(self) -> Int64 | None:
        """See `Index`."""
        return self._state.ties_N

    def upsert(self, item_idx: Int64, vectors_AD: Float32, tie_order: Int64 | None = None) -> None:
        """Add items, change them, or bring removed ones back.

        Args:
            item_idx: (A,) distinct; those from `num_items` on are new and must leave no gap.
            vectors_AD: one for each.
            tie_order: (number of new items,) tie numbers of the new ones, rising index first; required where the base has
                some.

        Raises:
            AvrecError: an index occurs twice, is negative or leaves a gap, or a vector does not fit or is not finite.
        """
        state = self._state
        item_idx = np.asarray(item_idx, np.int64)
        vectors = np.ascontiguousarray(vectors_AD, np.float32)
        num_new = self._check(item_idx, vectors)
        ties = _longer(state.ties_N, tie_order, num_new)
        kept = ~np.isin(state.edited_A, item_idx)
        edited = np.concatenate([state.edited_A[kept], item_idx])
        order = np.argsort(edited)
        hidden = np.concatenate([state.hidden_N, np.zeros(num_new, np.bool_)])
        hidden[item_idx] = True
        rows = np.concatenate([state.vectors_AD[kept], vectors])[order]
        self._state = _State(state.base, hidden, edited[order], rows, ties)

    def remove(self, item_idx: Int64) -> None:
        """Never answer these items again, until they are brought back by `upsert`.

        Raises:
            AvrecError: an index is not in the catalogue.
        """
        state = self._state
        item_idx = np.asarray(item_idx, np.int64)
        if len(item_idx) and not 0 <= item_idx.min() <= item_idx.max() < self.num_items:
            raise AvrecError(
                f"remove: item_idx {item_idx.min()} ... {item_idx.max()}; expected 0 to {self.num_items - 1}."
            )
        hidden = state.hidden_N.copy()
        hidden[item_idx] = True
        kept = ~np.isin(state.edited_A, item_idx)
        self._state = replace(state, hidden_N=hidden, edited_A=state.edited_A[kept], vectors_AD=state.vectors_AD[kept])

    def search(
        self, queries_BD: Float32, k: int, seen: Seen | None = None, allowed_N: Bool | None = None
    ) -> tuple[Int64, Float32]:
        """See `Index.search`."""
        state = self._state
        check_request(queries_BD, len(state.hidden_N), self.item_vectors.shape[1], seen, allowed_N)
        num_base = state.base.num_items
        shown = None if allowed_N is None else allowed_N[:num_base]
        if state.hidden_N[:num_base].any():
            shown = ~state.hidden_N[:num_base] if shown is None else shown & ~state.hidden_N[:num_base]
        found = state.base.search(queries_BD, k, seen, shown)
        if len(state.edited_A) == 0:
            return found
        own = None if seen is None else seen_among(seen, state.edited_A)
        allowed = None if allowed_N is None else allowed_N[state.edited_A]
        ties = None if state.ties_N is None else state.ties_N[state.edited_A]
        place, scores = top_k(queries_BD, state.vectors_AD, k, own, allowed, ties)
        item_idx = np.where(place < 0, -1, state.edited_A[place])
        both = np.hstack([found[0], item_idx]), np.hstack([found[1], scores])
        return best_candidates(*both, k, state.ties_N)

    def compact(self, build: Build) -> None:
        """Fold the edits into a new base; a removed item stays hidden, and its row is as it was, or zero.

        Args:
            build: makes the new base of (the table (N, D), the changed items, the tie order), for example
                `lambda table, changed, ties: index.extended(table, changed, ties)`.
        """
        state = self._state
        table = np.zeros((len(state.hidden_N), self.item_vectors.shape[1]), np.float32)
        table[: len(self.item_vectors)] = self.item_vectors
        table[state.edited_A] = state.vectors_AD
        base = build(table, state.edited_A, state.ties_N)
        hidden = state.hidden_N.copy()
        hidden[state.edited_A] = False
        self.item_vectors = table
        self._state = replace(
            state, base=base, hidden_N=hidden, edited_A=state.edited_A[:0], vectors_AD=state.vectors_AD[:0]
        )

    def _check(self, item_idx: Int64, vectors: Float32) -> int:
        """The number of new items."""
        dim = self.item_vectors.shape[1]
        if vectors.shape != (len(item_idx), dim):
            raise AvrecError(f"upsert: vectors of shape {vectors.shape}; expected ({len(item_idx)}, {dim}).")
        check_finite(vectors, "upsert: vectors")
        if len(np.unique(item_idx)) != len(item_idx):
            raise AvrecError("upsert: an item_idx occurs twice. Give each item once, with its newest vector.")
        new = np.sort(item_idx[item_idx >= self.num_items])
        if item_idx.min(initial=0) < 0 or not np.array_equal(new, self.num_items + np.arange(len(new))):
            raise AvrecError(
                f"upsert: item_idx {item_idx.min()} ... {item_idx.max()}; expected known items 0 to "
                f"{self.num_items - 1}, or new ones from {self.num_items} on without a gap."
            )
        return len(new)


def _longer(ties_N: Int64 | None, new: Int64 | None, num_new: int) -> Int64 | None:
    if ties_N is None and new is None:
        return None
    if ties_N is None or (num_new and new is None) or len(new if new is not None else ()) != num_new:
        raise AvrecError(
            f"upsert: tie_order has {0 if new is None else len(new)} numbers for {num_new} new items of an index "
            f"{'without' if ties_N is None else 'with'} a tie order. Give one for each new item, or none at all."
        )
    return ties_N if new is None else np.concatenate([ties_N, new])
