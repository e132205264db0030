"""`Served`: one bundle with all that answering from it needs; a server holds the current one and swaps it whole.

Axes: N items, E hidden items.
"""

import threading
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from avrec.bundle.display import Display
from avrec.bundle.popularity import Popularity
from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender
from avrec.bundle.schema import MANIFEST
from avrec.bundle.verify import verify
from avrec.core.arrays import Int64
from avrec.core.dataset import tie_order
from avrec.core.errors import ArtefactError
from avrec.core.files import sha256_file
from avrec.core.query import UserQuery
from avrec.serving.spaces import Mode, Spaces
from avrec.serving.towers import Tower


@dataclass(frozen=True, eq=False)
class Served:
    """An opened, verified and warm bundle.

    Attributes:
        bundle: what was opened.
        version: the first 12 digits of its manifest's sha256: two bundles that differ anywhere differ here.
        recommender: over it.
        items: {item id: item_idx}, in the order of the catalogue.
        users: {user id: user_idx}.
        item_ids: the items' ids by item_idx.
        popularity: for whom the model does not know.
        spaces: tables of each mode.
        display: what a page shows of the items.
    """

    bundle: Bundle
    version: str
    recommender: Recommender
    items: dict[str, int]
    users: dict[str, int]
    item_ids: list[str]
    popularity: Popularity
    spaces: Spaces
    display: Display
    _towers: dict[str, Tower] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, folder: Path) -> "Served":
        """Verify a bundle, open it, and run it once.

        Raises:
            ArtefactError: something is wrong with it; the message lists everything.
        """
        report = verify(folder)
        if not report.ok:
            raise ArtefactError("\n".join(report.problems))
        bundle = Bundle.open(folder, verify=False)
        item_ids = bundle.items.array.to_pylist()
        order = tie_order(bundle.items)
        recommender = Recommender(bundle)
        _ = recommender.likeness  # made here: several threads may ask for it first
        served = cls(
            bundle=bundle,
            version=sha256_file(folder / MANIFEST)[:12],
            recommender=recommender,
            items=dict(zip(item_ids, range(len(item_ids)), strict=True)),
            users=dict(zip(bundle.users.array.to_pylist(), range(len(bundle.users)), strict=True)),
            item_ids=item_ids,
            popularity=Popularity.of(bundle.evidence, order),
            spaces=Spaces(bundle, order, recommender.index),
            display=Display.read(folder),
        )
        served.recommender.user_vectors(_somebody())
        return served

    def modes(self) -> tuple[Mode, ...]:
        """Those that this bundle can answer in."""
        if not self.bundle.manifest.modalities:
            return ("hybrid", "collaborative")
        return ("hybrid", "content", "collaborative")

    def tower(self, name: str) -> Tower:
        """The tower of that name, opened when first asked for."""
        with self._lock:
            if name not in self._towers:
                self._towers[name] = Tower(self.bundle, name)
            return self._towers[name]

    @cached_property
    def num_met(self) -> Int64:
        """(N,) known users who met each item."""
        return self.bundle.history.item_counts

    @cached_property
    def _sorted_users(self) -> list[str]:
        return sorted(self.users)

    def users_with(self, prefix: str, limit: int) -> list[tuple[str, int]]:
        """At most `limit` users whose ids begin with `prefix`, in order, with their user_idx."""
        start = bisect_left(self._sorted_users, prefix)
        near = self._sorted_users[start : start + limit]
        return [(user, self.users[user]) for user in near if user.startswith(prefix)]

    def find_users(self, user_ids: Sequence[str]) -> Int64:
        """user_idx of each, -1 where the bundle does not know the user."""
        return np.fromiter((self.users.get(user_id, -1) for user_id in user_ids), np.int64, len(user_ids))

    def find(self, item_ids: list[str]) -> Int64:
        """item_idx of each, -1 where the bundle does not know it."""
        return np.fromiter((self.items.get(item_id, -1) for item_id in item_ids), np.int64, len(item_ids))


def _somebody() -> UserQuery:
    """A stranger who saw the first item: any question loads what the first one must load."""
    one = np.ones(1, np.float32)
    return UserQuery(np.array([-1]), np.array([0, 1]), np.zeros(1, np.int64), one, 0 * one)
