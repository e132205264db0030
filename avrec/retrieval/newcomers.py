"""`Newcomers`: from what somebody without a history tells (interests, friends, fields) to a vector in a user's place.

Everything is said in vectors of users: a tag is the mean vector of those whose histories carry it, a group of a field the mean
of its members, friends are the mean of the friends. So a newcomer is served by the same inner product as everybody, whatever
model the vectors come from.

Axes: B newcomers, U users, T tags, G groups, W width of a user's vector, E entries.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from avrec.core.arrays import Bool, Float32, Float64, Int64
from avrec.core.interactions import run_starts
from avrec.core.sparse import SparseRows
from avrec.retrieval.told import Told

How = Literal["known user", "history", "interests", "friends", "fields", "popularity"]
BLOCK_ENTRIES = 65_536
# How many users' worth of the mean of all stands in each mean. Chosen on validation: of Last.fm and the sample catalogue, and
# for fields of MovieLens-100K (ages, genders and occupations: Recall@20 .1175; popularity has .1107).
TAG_KAPPA = 0.03
GROUP_KAPPA = 30.0
FRIENDS_KAPPA = 1.0
HISTORY_KAPPA = 1.0
STRETCH = 1.5  # a mean of means lies nearer to the mean of all than a user who states these tags does


@dataclass(frozen=True)
class NewcomerVectors:
    """What newcomers are answered with.

    Attributes:
        vectors: (B, W) in a user's place; zero where `how` is popularity, which is no vector.
        how: (B,) from what.
    """

    vectors: Float32
    how: tuple[How, ...]


@dataclass(frozen=True)
class Newcomers:
    """The vectors that newcomers are answered with.

    Attributes:
        mean: (W,) the mean vector of the users with a history.
        tags: (T, W) of each tag.
        groups: (G, W) of each group of a field.
        tag_size: (T,) how many users' worth of profiles carry each tag; a tag of size 0 says nothing.
        group_size: (G,) users with a history in each group.
    """

    mean: Float32
    tags: Float32
    groups: Float32
    tag_size: Float32
    group_size: Float32

    @classmethod
    def of(cls, vectors_UW: Float32, taught_U: Bool, profiles: SparseRows, members: SparseRows) -> "Newcomers":
        """Average the users with a history.

        Args:
            vectors_UW: of every user.
            taught_U: whose vectors count; those of users without a history say nothing.
            profiles: (U, T) `tag_profiles`.
            members: (U, G) ones where a user belongs to a group.
        """
        taught = np.flatnonzero(taught_U)
        vectors = vectors_UW[taught]
        mean = vectors.mean(axis=0, dtype=np.float64) if len(taught) else np.zeros(vectors_UW.shape[1])
        tags, tag_size = means_of(profiles.taken(taught), vectors, mean, TAG_KAPPA)
        groups, group_size = means_of(members.taken(taught), vectors, mean, GROUP_KAPPA)
        return cls(mean.astype(np.float32), tags, groups, tag_size, group_size)

    def answer(
        self, told: Told, history_BW: Float32, num_events_B: Int64, vectors_of: Callable[[Int64], tuple[Float32, Bool]]
    ) -> NewcomerVectors:
        """Answer each newcomer from the first thing that he tells: a history, interests, friends, fields.

        A history of n events is taken as it is; with interests beside it, it weighs `n / (n + HISTORY_KAPPA)`.

        Args:
            told: besides the history.
            history_BW: what the user tower makes of the history.
            num_events_B: its length, 0 for none.
            vectors_of: the vectors (F, W) of some known users, and (F,) which of them have a history.
        """
        interests, has_interests = self._of_interests(told.interests)
        friends, has_friends = self._of_friends(told.friends, vectors_of)
        fields, has_fields = self._of_fields(told.groups)
        ways: list[tuple[How, Bool, Float64]] = [
            ("history", num_events_B > 0, self._blended(history_BW, num_events_B, interests, has_interests)),
            ("interests", has_interests, interests),
            ("friends", has_friends, friends),
            ("fields", has_fields, fields),
        ]
        vectors = np.zeros(history_BW.shape)
        how = np.full(len(told), "popularity", object)
        for name, says, values in reversed(ways):
            vectors[says], how[says] = values[says], name
        return NewcomerVectors(vectors.astype(np.float32), tuple(how.tolist()))

    def _of_interests(self, interests: SparseRows) -> tuple[Float64, Bool]:
        """(B, W) `mean + STRETCH (sum_t w_t v_t / sum_t w_t - mean)`, and (B,) who states a tag that says anything."""
        said = _said(interests, self.tag_size > 0)
        sums, size = _sums(said, lambda block: self.tags[said.column[block]] - self.mean)
        return self.mean + STRETCH * sums / np.where(size > 0, size, 1.0)[:, None], size > 0

    def _of_friends(
        self, friends: SparseRows, vectors_of: Callable[[Int64], tuple[Float32, Bool]]
    ) -> tuple[Float64, Bool]:
        """(B, W) `(sum_f w_f v_f + kappa mean) / (sum_f w_f + kappa)` over friends with a history, and (B,) who has such."""
        distinct, place = np.unique(friends.column, return_inverse=True)
        vectors, taught = vectors_of(distinct)
        weight = friends.weight * taught[place]
        nearby = replace(friends, weight=weight)
        sums, size = _sums(nearby, lambda block: vectors[place[block]])
        return (sums + FRIENDS_KAPPA * self.mean) / (size + FRIENDS_KAPPA)[:, None], size > 0

    def _of_fields(self, groups: SparseRows) -> tuple[Float64, Bool]:
        """(B, W) `mean + sum_g (v_g - mean)`, and (B,) who is in any group."""
        said = _said(groups, self.group_size > 0)
        sums, size = _sums(said, lambda block: self.groups[said.column[block]] - self.mean)
        return self.mean + sums, size > 0

    @staticmethod
    def _blended(history_BW: Float32, num_events_B: Int64, interests_BW: Float64, has_interests_B: Bool) -> Float64:
        share = np.where(has_interests_B, num_events_B / (num_events_B + HISTORY_KAPPA), 1.0)[:, None]
        return share * history_BW + (1.0 - share) * interests_BW


def means_of(members: SparseRows, vectors_UW: Float32, mean_W: Float64, kappa: float) -> tuple[Float32, Float32]:
    """(G, W) `(sum_u m_ug v_u + kappa mean) / (sum_u m_ug + kappa)`, and (G,) `sum_u m_ug`: what few have is like everybody.

    Args:
        members: (U, G) how much each user belongs to each tag or group.
        vectors_UW: of the same users.
        mean_W: of all.
        kappa: how many users' worth of the mean stands in each.
    """
    by_group = members.transposed()
    sums, size = _sums(by_group, lambda block: vectors_UW[by_group.column[block]])
    means = (sums + kappa * mean_W) / (size + kappa)[:, None]
    return means.astype(np.float32), size.astype(np.float32)


def _said(rows: SparseRows, says: Bool) -> SparseRows:
    """The same rows, in which columns that say nothing weigh nothing."""
    return replace(rows, weight=rows.weight * says[rows.column])


def _sums(rows: SparseRows, vectors: Callable[[slice], Float32]) -> tuple[Float64, Float64]:
    """(R, W) the sum of the entries' vectors by weight in each row, and (R,) the sum of the weights; blocks bound the memory."""
    row = rows.row
    sums = np.zeros((rows.num_rows, vectors(slice(0, 0)).shape[1]))
    for start in range(0, len(row), BLOCK_ENTRIES):
        block = slice(start, start + BLOCK_ENTRIES)
        starts = run_starts(row[block])
        weighted = rows.weight[block, None].astype(np.float64) * vectors(block)
        sums[row[block][starts]] += np.add.reduceat(weighted, starts, axis=0)
    return sums, np.asarray(np.bincount(row, rows.weight, minlength=rows.num_rows), np.float64)
