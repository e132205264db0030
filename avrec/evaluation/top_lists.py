"""The lists of one evaluation, taken up block by block: how often each item was shown, what the lists are like, the first of each.

# B users in the block, N items in the catalogue, K length of the lists
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from avrec.core.arrays import Bool, Float32, Float64, Int64
from avrec.evaluation.lists import ListMeasures
from avrec.evaluation.metrics import coverage, gini
from avrec.evaluation.ranking import Csr


@dataclass(frozen=True)
class TopLists:
    """What every user was shown, best first.

    Attributes:
        item_idx: (U, K), -1 where a list is shorter.
        score: (U, K) float32, -inf there.
        hit: (U, K) true where the item is one of the user's targets.
    """

    item_idx: Int64
    score: Float32
    hit: Bool


class ListCollector:
    """Takes up the lists of some users at a time.

    Args:
        cutoffs: lengths at which lists are judged.
        num_items: N.
        measures: what else to measure than coverage; nothing when None.
        keep: how many items of each list are kept.
        alive_N: (N,) the candidates, which alone could be shown; all items when None.
    """

    def __init__(
        self,
        cutoffs: Sequence[int],
        num_items: int,
        measures: ListMeasures | None,
        keep: int,
        alive_N: Bool | None = None,
    ) -> None:
        self.length = max(*cutoffs, keep)
        self.measures = measures
        self.keep = keep
        self._candidates = np.arange(num_items) if alive_N is None else np.flatnonzero(alive_N)
        self._shown = {cutoff: np.zeros(num_items, np.int64) for cutoff in cutoffs}
        self._values: dict[str, list[Float64]] = {}
        self._kept: list[tuple[Int64, Float32, Bool]] = []

    def add(self, lists_BK: Int64, scores_BK: Float32, targets: Csr, history: Csr) -> None:
        """Take up the lists of some users.

        Args:
            lists_BK: item_idx, -1 where a list is shorter.
            scores_BK: -inf there.
            targets: what the users were to find.
            history: what is known of them.
        """
        for cutoff, shown in self._shown.items():
            part = lists_BK[:, :cutoff]
            shown += np.bincount(part[part >= 0], minlength=len(shown))
            if self.measures is not None:
                for name, values in self.measures(part, history).items():
                    self._values.setdefault(f"{name}@{cutoff}", []).append(values)
        if self.keep:
            first = lists_BK[:, : self.keep]
            self._kept.append((first, scores_BK[:, : self.keep], _hits(first, targets)))

    @property
    def per_user(self) -> dict[str, Float64]:
        """Every measure by name, (U,); those that nobody has are left out."""
        values = {name: np.concatenate(blocks) for name, blocks in self._values.items()}
        return {name: of_users for name, of_users in values.items() if not np.isnan(of_users).all()}

    @property
    def of_catalogue(self) -> Mapping[str, float]:
        """`coverage@k`, and `gini@k` where more than coverage was asked for."""
        of_candidates = {cutoff: shown[self._candidates] for cutoff, shown in self._shown.items()}
        found = {f"coverage@{cutoff}": coverage(shown > 0) for cutoff, shown in of_candidates.items()}
        if self.measures is not None:
            found |= {f"gini@{cutoff}": gini(shown) for cutoff, shown in of_candidates.items()}
        return {name: value for name, value in found.items() if not np.isnan(value)}

    @property
    def kept(self) -> TopLists | None:
        """The first items of every list, None where none were to be kept."""
        if not self.keep:
            return None
        item_idx, score, hit = (np.concatenate(parts) for parts in zip(*self._kept, strict=True))
        return TopLists(item_idx, score, hit)


def _hits(lists_BK: Int64, targets: Csr) -> Bool:
    """(B, K) which items are targets of their user."""
    indptr, items = targets
    width = max(int(lists_BK.max(initial=0)), int(items.max(initial=0))) + 1
    wanted = np.repeat(np.arange(len(lists_BK)), np.diff(indptr)) * width + items
    shown = np.arange(len(lists_BK))[:, None] * width + lists_BK
    return np.asarray(np.isin(shown, wanted) & (lists_BK >= 0), np.bool_)
