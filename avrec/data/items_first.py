"""Batches for heavy items: items first, then users of each, so that what is costly to encode is encoded once a batch.

Axes: M items of the batch, P users of an item, B pairs in the batch.
"""

import numpy as np

from avrec.core.arrays import Bool, Int64
from avrec.core.errors import ConfigError
from avrec.core.interactions import Interactions
from avrec.core.order import generator
from avrec.data.samplers import Batch, PairPolicy, batch_of


class ItemsFirstSampler:
    """Batches of up to M trained items and, of each, up to P of its training events.

    An epoch holds every trained item once, in an order that is a pure function of (seed, epoch), dealt to batches whose
    sizes differ by one at most: so no batch is left with too few items to tell apart. A batch's items are its candidates.
    Each is among them with the probability M / trained, equal for all, whatever its popularity; so the positives of an epoch
    are spread evenly over items too, up to P each.

    The P events of an item are drawn without replacement, event by event with a chance in proportion to
    `min(1, max_pairs_per_user / the user's events)`: users up to the cap are alike, and one above it counts as if he had done
    as much as the cap, which is what `PairSampler` makes of him. An item with no more than P events gives all of them.

    Of the ranks each is dealt an equal stretch of the sorted items, `ceil(M / world_size)` long; where that does not divide M
    the last ranks get fewer, the very last perhaps none. A rank's pairs are those whose positive is in its stretch.

    Args:
        train: the training events; a (user, item) pair occurs once.
        items_per_batch: M, of the global batch, at least 2.
        users_per_item: P.
        seed: of the run.
        policy: the cap and the histories.
        exclude: (num_items,) true for items that are treated as if nobody had met them: neither drawn nor in a history.
        renewing: whether new items keep coming; see `PairPolicy.only_available`.

    Raises:
        ConfigError: M is below 2, P below 1, fewer than 2 items are trained, or the policy's histories need timestamps that
            the log lacks.
    """

    def __init__(
        self,
        train: Interactions,
        items_per_batch: int,
        users_per_item: int,
        seed: int,
        policy: PairPolicy | None = None,
        exclude: Bool | None = None,
        renewing: bool = False,
    ) -> None:
        self.train = train if exclude is None else train.select(~exclude[train.item_idx])
        self.users_per_item = users_per_item
        self.seed = seed
        policy = PairPolicy() if policy is None else policy
        self.histories = policy.histories(self.train)
        self.available_sec = policy.available_sec(self.train, renewing)
        self.item_counts = self.train.item_counts
        self.trained = np.flatnonzero(self.item_counts)
        if items_per_batch < 2 or users_per_item < 1 or len(self.trained) < 2:
            raise ConfigError(
                f"items_per_batch is {items_per_batch}, users_per_item is {users_per_item} and {len(self.trained)} items are "
                "trained; expected at least 2, 1 and 2: an item is told from the others of its batch."
            )
        self.num_batches = -(-len(self.trained) // items_per_batch)
        self._by_item = np.argsort(self.train.item_idx, kind="stable")
        self._item_start = np.cumsum(self.item_counts) - self.item_counts
        count = self.train.user_counts[self.histories.user_idx]
        self._event_share = np.minimum(policy.max_pairs_per_user / count, 1.0)
        self._epoch_items: tuple[int, Int64] | None = None

    def items(self, epoch: int, index: int) -> Int64:
        """(M,) the items of a global batch, ascending."""
        if self._epoch_items is None or self._epoch_items[0] != epoch:
            self._epoch_items = (epoch, generator(self.seed, epoch, "items").permutation(self.trained))
        bounds = np.arange(index, index + 2) * len(self.trained) // self.num_batches
        return np.sort(self._epoch_items[1][bounds[0] : bounds[1]])

    def items_of(self, epoch: int, index: int, rank: int, world_size: int) -> Int64:
        """The stretch of a batch's items that a rank encodes, ascending; ranks in order make up `items`."""
        items = self.items(epoch, index)
        size = -(-len(items) // world_size)
        return items[rank * size : (rank + 1) * size]

    def batch(self, epoch: int, index: int, rank: int = 0, world_size: int = 1) -> Batch:
        """Batch `index` of an epoch, the pairs of one rank, ascending by item."""
        items = self.items(epoch, index)
        rng = generator(self.seed, epoch, f"items batch {index}")
        pairs = self._pairs(items, rng)
        mine = np.isin(self.train.item_idx[pairs], self.items_of(epoch, index, rank, world_size))
        log_q = np.full(len(items), np.log(len(items) / len(self.trained)), np.float32)
        return batch_of(self.histories, pairs, np.flatnonzero(mine), items, log_q, rng, self.available_sec)

    def _pairs(self, items: Int64, rng: np.random.Generator) -> Int64:
        """(B,) positions of up to P events of each item, item by item.

        Exponential waiting times at the events' rates: the first P arrivals are a weighted draw without replacement
        (Efraimidis and Spirakis, 2006).
        """
        counts = self.item_counts[items]
        row = np.repeat(np.arange(len(items)), counts)
        start = np.cumsum(counts) - counts
        position = self._by_item[self._item_start[items][row] + np.arange(len(row)) - start[row]]
        wait = rng.exponential(size=len(position)) / self._event_share[position]
        order = np.lexsort((wait, row))
        return position[order[np.arange(len(row)) - start[row] < self.users_per_item]]
