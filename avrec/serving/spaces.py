"""`Spaces`: the ways in which a bundle's items can be ranked, each a table whose inner products are the scores.

Axes: N items, n items of one space, W its width, D embedding of the ids, C content width, B vectors, E hidden items.
"""

from dataclasses import dataclass
from threading import Lock
from typing import Literal

import numpy as np

from avrec.bundle.likeness import Likeness
from avrec.bundle.reader import Bundle
from avrec.core.arrays import Bool, Float32, Int64
from avrec.retrieval.exact import top_k
from avrec.retrieval.index import Index

Mode = Literal["hybrid", "content", "collaborative"]
Hidden = tuple[Int64, Int64]  # indptr (B + 1,), item_idx (E,)
Segments = tuple[slice, slice, slice]  # columns of a table: of ids, of the bias, of content


@dataclass(frozen=True)
class Space:
    """Items and their vectors.

    Attributes:
        table: (n, W).
        rows: (n,) item_idx of each row, rising.
        position: (N,) row of each item, -1 where this space does not hold it.
        tie_order: (n,) of items with equal scores the smaller comes first.
        index: the bundle's own, over this table; every item is looked at when None.
    """

    table: Float32
    rows: Int64
    position: Int64
    tie_order: Int64
    index: Index | None = None

    def search(self, vectors_BW: Float32, k: int, hidden: Hidden, only: Int64 | None) -> tuple[Int64, Float32]:
        """item_idx (B, k) and scores (B, k), best first; -1 and -inf where fewer items may be shown.

        Args:
            vectors_BW: what the table is multiplied with.
            k: length of the lists.
            hidden: items that each of them is not shown.
            only: distinct items that may be shown; all when None.

        Raises:
            AvrecError: a score is not finite.
        """
        allowed: Bool | None = None
        if only is not None:
            allowed = np.zeros(len(self.rows), np.bool_)
            held = self.position[only]
            allowed[held[held >= 0]] = True
        seen = (hidden[0], self.position[hidden[1]])  # -1, an item that is not held, is no column of the table
        if self.index is None:
            position, scores = top_k(vectors_BW, self.table, k, seen, allowed, self.tie_order)
        else:
            position, scores = self.index.search(vectors_BW, k, seen, allowed)
        return np.where(position < 0, -1, self.rows[position]), scores


class Spaces:
    """The spaces of a bundle, made when first used.

    For users, whose vector is `[id segment, 1, content segment]`: `hybrid` is the model's own score over all items;
    `collaborative` the id segment and the bias over items with training events, without the gate, as the id loss trains it;
    `content` the content segment over items with content. For "more like this" the score is a cosine: of id vectors, of
    content, or `hybrid`, the mean of both, where an item without training events has the id vector its neighbours lend it.

    Args:
        bundle: an opened one.
        tie_order: (N,) of its items.
        index: the bundle's, for `hybrid` lists of users.
    """

    def __init__(self, bundle: Bundle, tie_order: Int64, index: Index | None = None) -> None:
        self._bundle = bundle
        self._index = index
        self._tie_order = tie_order
        self._id_dim = bundle.manifest.dims.id_dim
        self._for_users: dict[Mode, Space] = {}
        self._alike: dict[Mode, Space] = {}
        self._ways: dict[str, Space] = {}
        self._lock = Lock()
        ids_ND = bundle.history_vectors[:, : self._id_dim]
        has_id_N: Bool = np.any(ids_ND, axis=1)
        has_content_N: Bool = np.any(bundle.content_vectors, axis=1)
        self._trained_N: Bool = bundle.evidence > 0
        self.informative: dict[Mode, Bool] = {
            "hybrid": has_id_N | has_content_N,
            "content": has_content_N,
            "collaborative": has_id_N,
        }
        """(N,) true where an item in a history says something of its user."""

    def for_users(self, mode: Mode) -> Space:
        """Multiplied with `user_part` of users' vectors."""
        if mode not in self._for_users:
            self._for_users[mode] = self._users_space(mode)
        return self._for_users[mode]

    def user_part(self, mode: Mode, vectors: Float32) -> Float32:
        """The columns of users' vectors (B, D + 1 + C) that belong to the mode."""
        first = self._id_dim + 1 if mode == "content" else 0
        last = self._id_dim + 1 if mode == "collaborative" else None
        return np.ascontiguousarray(vectors[:, first:last])

    def segments(self, mode: Mode, of_users: bool) -> Segments:
        """The columns of `for_users` or `alike` by what they hold; empty where the mode does not use it."""
        id_dim = 0 if mode == "content" else self._id_dim
        bias_stop = id_dim + (of_users and mode != "content")
        return slice(0, id_dim), slice(id_dim, bias_stop), slice(bias_stop, None)

    def alike(self, mode: Mode) -> Space:
        """Multiplied with `direction` of items."""
        if mode not in self._alike:
            every = np.arange(len(self._tie_order))
            self._alike[mode] = self._restricted(self.directions(mode, every), self.held(mode))
        return self._alike[mode]

    def way(self, likeness: Likeness, name: str) -> Space:
        """Multiplied with the directions of one way of likeness."""
        with self._lock:
            if name not in self._ways:
                way = likeness.way(name)
                self._ways[name] = self._restricted(way.table_NW, way.known_N)
            return self._ways[name]

    def held(self, mode: Mode) -> Bool:
        """(N,) the items of `alike`: those that the mode knows something of."""
        return self._trained_N if mode == "collaborative" else self.informative[mode]

    def direction(self, mode: Mode, ids_ND: Float32, content_NC: Float32) -> Float32:
        """What items with these segments look for in `alike`; zero where the mode knows nothing of them."""
        parts = {"hybrid": [ids_ND, content_NC], "content": [content_NC], "collaborative": [ids_ND]}[mode]
        units = [_unit(part) for part in parts if part.shape[1]]
        joined: Float32 = np.concatenate(units, axis=1) / np.float32(np.sqrt(len(units)))
        return joined

    def directions(self, mode: Mode, item_idx: Int64) -> Float32:
        """`direction` of the catalogue's own items."""
        bundle = self._bundle
        ids_ND = bundle.id_vectors if mode == "collaborative" else bundle.history_vectors[:, : self._id_dim]
        return self.direction(mode, ids_ND[item_idx], bundle.content_vectors[item_idx])

    def _users_space(self, mode: Mode) -> Space:
        bundle = self._bundle
        if mode == "hybrid":
            every = np.arange(len(self._tie_order))
            return Space(bundle.item_vectors, every, every, self._tie_order, self._index)
        if mode == "content":
            return self._restricted(bundle.content_vectors, self.informative["content"])
        bias_N1 = bundle.item_vectors[:, self._id_dim : self._id_dim + 1]
        return self._restricted(np.concatenate([bundle.id_vectors, bias_N1], axis=1), self._trained_N)

    def _restricted(self, table: Float32, held: Bool) -> Space:
        rows = np.flatnonzero(held)
        position = np.full(len(held), -1, np.int64)
        position[rows] = np.arange(len(rows))
        return Space(np.ascontiguousarray(table[rows]), rows, position, self._tie_order[rows])


def _unit(vectors: Float32) -> Float32:
    length = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    unit: Float32 = (vectors / np.where(length > 0, length, 1.0)).astype(np.float32)
    return unit
