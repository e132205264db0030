"""What lists are like, whether they hit or not: novelty, diversity, and how well they keep a user's taste for the popular.

A list is what somebody would be shown, so its ties are broken by the fixed hash of the item's id: half an item cannot be
shown. The metrics of ranks (`metrics.py`) count a tie as half instead.

# B users in the block, N items in the catalogue, K length of the lists, G groups of popularity
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from avrec.core.arrays import Float64, Int64
from avrec.core.dataset import Dataset
from avrec.evaluation.item_space import ItemSpace
from avrec.evaluation.ranking import Csr
from avrec.evaluation.slices import TAIL_SHARE, tail_items

GROUPS = ("head", "middle", "tail", "never trained")
SMOOTHING = 0.01  # alpha of Steck (2018)


@dataclass(frozen=True)
class ListMeasures:
    """What must be known of the catalogue to judge lists; made once and used for every recommender.

    Attributes:
        self_information_N: see `self_information`.
        group_N: index into `GROUPS`, see `popularity_groups`.
        space: by which diversity is measured.
    """

    self_information_N: Float64
    group_N: Int64
    space: ItemSpace

    @classmethod
    def of(cls, dataset: Dataset) -> "ListMeasures":
        """By a data set's train part and features."""
        return cls(self_information(dataset), popularity_groups(dataset), ItemSpace.of(dataset))

    def __call__(self, lists_BK: Int64, history: Csr) -> dict[str, Float64]:
        """`novelty`, `diversity` and `popularity_kl` of each user (B,), NaN where one is not defined.

        Args:
            lists_BK: item_idx, -1 where a list is shorter.
            history: what is known of the users.
        """
        return {
            "novelty": novelty(lists_BK, self.self_information_N),
            "diversity": diversity(lists_BK, self.space),
            "popularity_kl": popularity_divergence(lists_BK, history, self.group_N),
        }


def self_information(dataset: Dataset) -> Float64:
    """(N,) `log2(U / n_i)`: bits of surprise that a train user, drawn at random, has the item (Zhou et al. 2010).

    U counts the users with a train event, n_i the item's train events; a never-trained item counts as one event, the most
    surprising value there is.
    """
    users = int(np.count_nonzero(dataset.train.user_counts))
    return np.log2(max(users, 1) / np.maximum(dataset.train.item_counts, 1))


def novelty(lists_BK: Int64, self_information_N: Float64) -> Float64:
    """(B,) mean self-information of the items of each list (Castells, Vargas and Wang 2011).

    Example: items that 1 of 8 and 4 of 8 users have: (3 + 1) / 2.
        >>> novelty(np.array([[0, 1, -1]]), np.log2([8 / 1, 8 / 4])).tolist()
        [2.0]
    """
    shown = lists_BK >= 0
    sums = np.where(shown, self_information_N[lists_BK], 0.0).sum(axis=1)
    return _quotients(sums, shown.sum(axis=1))


def diversity(lists_BK: Int64, space: ItemSpace) -> Float64:
    """(B,) intra-list diversity: the mean of `1 - cosine` over all pairs of a list (Smyth and McClave 2001).

    Of m unit vectors v with sum s, the mean over pairs is `1 - (|s|^2 - m) / (m (m - 1))`, so no pair is looked at. Items that
    have no place in the space are left out; with fewer than two others the value is NaN.
    """
    placed = (lists_BK >= 0) & space.present[lists_BK]
    count_B = placed.sum(axis=1)
    indptr = np.concatenate([[0], np.cumsum(count_B)])
    ones = np.ones(indptr[-1], np.float32)
    rows = sparse.csr_array((ones, lists_BK[placed], indptr), (len(lists_BK), len(space.present)))
    return 1 - _quotients(space.lengths_of_sums(rows) - count_B, count_B * (count_B - 1))


def popularity_groups(dataset: Dataset) -> Int64:
    """(N,) head, middle, tail or never trained, as an index into `GROUPS` (Abdollahpouri et al. 2021, with a line for the new).

    The head are the fewest most popular items that together hold 20 % of the train events or more, the tail is `tail_items`;
    both lines run between two counts, never between items of equal count.
    """
    counts = dataset.train.item_counts
    events_by_count = np.bincount(counts, weights=counts)
    above = counts.sum() - np.cumsum(events_by_count)  # events of the items with more than so many
    group = np.where(above[counts] < TAIL_SHARE * counts.sum(), GROUPS.index("head"), GROUPS.index("middle"))
    group[tail_items(dataset)] = GROUPS.index("tail")
    group[counts == 0] = GROUPS.index("never trained")
    return group.astype(np.int64)


def popularity_divergence(lists_BK: Int64, history: Csr, group_N: Int64) -> Float64:
    """(B,) how far a list is from its user's taste for the popular: Kullback-Leibler divergence in nats (Steck 2018, equation 5).

    `sum_g p_g log(p_g / q_g)` over the groups of popularity, p_g being the share of g in the user's history and q_g that in
    his list, smoothed: `q_g = .99 q_g + .01 p_g`. 0 is a list as popular as the history. NaN without history or list.

    Example: history half head and half middle, a list of the head alone: .5 log(.5 / .995) + .5 log(.5 / .005).
        >>> indptr, items, groups = np.array([0, 2]), np.array([0, 1]), np.array([0, 1, 0])
        >>> popularity_divergence(np.array([[2]]), (indptr, items), groups).round(4).tolist()
        [1.9585]
    """
    indptr, items = history
    num_users = len(lists_BK)
    shown = lists_BK >= 0
    row = np.repeat(np.arange(num_users), np.diff(indptr))
    p_BG = _shares(row, group_N[items], num_users)
    q_BG = _shares(np.nonzero(shown)[0], group_N[lists_BK[shown]], num_users)
    smooth_BG = (1 - SMOOTHING) * q_BG + SMOOTHING * p_BG
    ratio_BG = np.divide(p_BG, smooth_BG, out=np.ones_like(p_BG), where=p_BG > 0)
    divergence = (p_BG * np.log(ratio_BG)).sum(axis=1)
    return np.where((np.diff(indptr) > 0) & shown.any(axis=1), divergence, np.nan)


def _shares(row: Int64, group: Int64, num_users: int) -> Float64:
    """(B, G) the share of each group among the items of a row, zero for a row without any."""
    code = row * len(GROUPS) + group
    counts_BG = np.bincount(code, minlength=num_users * len(GROUPS)).reshape(num_users, len(GROUPS))
    return np.asarray(counts_BG / np.maximum(counts_BG.sum(axis=1, keepdims=True), 1), np.float64)


def _quotients(sums: Float64, counts: Int64) -> Float64:
    quotients: Float64 = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
    return quotients
