"""`Recommender`: a bundle's answers, without PyTorch in the process.

Axes: B users in the batch, L history length, N items, M modalities, D embedding of the ids, C content width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from avrec.bundle.content import Content
from avrec.bundle.embedder import ItemEmbedder
from avrec.bundle.queries import UnknownItem, UnknownUser, check_query, query_histories, query_users
from avrec.bundle.reader import Bundle
from avrec.bundle.schema import USER_TOWER, USER_TOWER_INPUTS, USER_TOWER_OUTPUTS
from avrec.bundle.session import OnnxGraph
from avrec.bundle.uploads import EmbeddedFiles, embed_files
from avrec.core.arrays import Bool, Float32, Int64
from avrec.core.dataset import tie_order
from avrec.core.query import UserQuery, padded
from avrec.media.limits import Limits
from avrec.retrieval.exact import top_k

How = Literal["known user", "history", "no history"]
USERS_PER_BLOCK = 256  # bounds the gathered histories: 256 x 50 x 1,000 float32 are 50 MB


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One user's list, best first.

    Attributes:
        item_ids: at most k; fewer when the catalogue holds no more that may be shown.
        scores: of each item.
        how: from what the user was served: `known user` by the bundle's own tables, `history` by the given events alone,
            `no history` by nothing but what holds for everybody.
    """

    item_ids: tuple[str, ...]
    scores: tuple[float, ...]
    how: How


class Recommender:
    """Recommends from a bundle; it is also a `Scorer`, so the evaluation that judged the model can judge the bundle.

    Args:
        bundle: an opened one.
        num_threads: of ONNX Runtime within one call.
    """

    def __init__(self, bundle: Bundle, num_threads: int = 1) -> None:
        self.bundle = bundle
        self.num_threads = num_threads
        path = bundle.folder / f"{USER_TOWER}.onnx"
        model = bundle.graph(USER_TOWER)
        self._user_tower = OnnxGraph(model, path, USER_TOWER_INPUTS, USER_TOWER_OUTPUTS, num_threads)

    @cached_property
    def _tie_order(self) -> Int64:
        return tie_order(self.bundle.items)

    @cached_property
    def _embedder(self) -> ItemEmbedder:
        return ItemEmbedder.of(self.bundle, self.num_threads)

    def user_vectors(self, query: UserQuery) -> Float32:
        """The vectors (B, D + 1 + C) whose inner products with the bundle's item vectors are the scores.

        Raises:
            DataError: an index of the query is not in the bundle.
        """
        check_query(self.bundle, query)
        vectors = np.empty((len(query), self.bundle.manifest.dims.item_dim), np.float32)
        for start in range(0, len(query), USERS_PER_BLOCK):
            stop = min(start + USERS_PER_BLOCK, len(query))
            vectors[start:stop] = self._user_block(_part(query, start, stop))
        return vectors

    def _user_block(self, query: UserQuery) -> Float32:
        history = padded(query, self.bundle.manifest.max_history_items)
        own_BD = np.zeros((len(query), self.bundle.manifest.dims.id_dim), np.float32)
        known = query.user_idx >= 0
        own_BD[known] = self.bundle.user_vectors[query.user_idx[known]]
        inputs = (
            own_BD,
            self.bundle.history_vectors[history.item_idx],
            history.weight.astype(np.float32, copy=False),
            history.age_days.astype(np.float32, copy=False),
            history.mask,
        )
        return self._user_tower.run(dict(zip(USER_TOWER_INPUTS, inputs, strict=True)))["vector"]

    def score(self, query: UserQuery) -> Float32:
        """Scores (B, N) of the whole catalogue; seen items are not masked."""
        scores: Float32 = self.user_vectors(query) @ self.bundle.item_vectors.T
        return scores

    def recommend(
        self, query: UserQuery, k: int, exclude_seen: bool = True, allowed: Bool | None = None
    ) -> list[Recommendation]:
        """The k best items for each user.

        Args:
            query: B users; `for_users` and `for_histories` make one from ids.
            k: length of the lists, at least 1.
            exclude_seen: leave out the items of the query's own histories.
            allowed: (N,) true for the items that may be shown; all when None.

        Raises:
            AvrecError: k is below 1, an index is not in the bundle, or a score is not finite.
        """
        user_vectors = self.user_vectors(query)
        seen = (query.indptr, query.item_idx) if exclude_seen else None
        length = min(k, len(self.bundle.items))
        item_idx, scores = top_k(user_vectors, self.bundle.item_vectors, length, seen, allowed, self._tie_order)
        item_ids = self.bundle.items.ids(item_idx[item_idx >= 0])
        counts = (item_idx >= 0).sum(axis=1).tolist()
        answers, start = [], 0
        for count, row, how in zip(counts, scores.tolist(), self._how(query), strict=True):
            answers.append(Recommendation(tuple(item_ids[start : start + count]), tuple(row[:count]), how))
            start += count
        return answers

    def for_users(
        self,
        user_ids: Sequence[str],
        k: int,
        exclude_seen: bool = True,
        unknown: UnknownUser = "error",
        now_sec: int | None = None,
    ) -> list[Recommendation]:
        """`recommend` for the bundle's users by id; see `query_users`."""
        return self.recommend(query_users(self.bundle, user_ids, unknown, now_sec), k, exclude_seen)

    def for_histories(
        self, histories: Sequence[Sequence[str]], k: int, exclude_seen: bool = True, unknown: UnknownItem = "error"
    ) -> list[Recommendation]:
        """`recommend` for strangers by lists of item ids, oldest first; see `query_histories`."""
        return self.recommend(query_histories(self.bundle, histories, unknown), k, exclude_seen)

    def embed_items(
        self, content: Content, masks: Mapping[str, Bool] | None = None
    ) -> tuple[Float32, Float32, Float32]:
        """Item vectors, history vectors and shares of new items; see `ItemEmbedder.embed`."""
        return self._embedder.embed(content, masks)

    def embed_files(
        self,
        paths: Mapping[str, Sequence[str | None]],
        media_root: str | Path,
        features: Mapping[str, Float32] | None = None,
        num_workers: int = 1,
        limits: Limits = Limits(),  # noqa: B008
    ) -> EmbeddedFiles:
        """The vectors of new uploads, from their media files; see `embed_files` of `avrec.bundle.uploads`.

        For example `embed_files({"audio": ["a.mp4"], "video": ["a.mp4"]}, "uploads")`.
        """
        return embed_files(self._embedder, paths, media_root, features or {}, num_workers, limits)

    def _how(self, query: UserQuery) -> list[How]:
        known = query.user_idx >= 0
        has_events = np.diff(query.indptr) > 0
        own = np.zeros(len(query), np.bool_)
        own[known] = self.bundle.user_vectors[query.user_idx[known]].any(axis=1)
        ways: list[How] = []
        for is_known, events, has_own in zip(known.tolist(), has_events.tolist(), own.tolist(), strict=True):
            nothing = not events and not has_own
            ways.append("no history" if nothing else "known user" if is_known else "history")
        return ways


def _part(query: UserQuery, start: int, stop: int) -> UserQuery:
    first, last = query.indptr[start], query.indptr[stop]
    return UserQuery(
        query.user_idx[start:stop],
        query.indptr[start : stop + 1] - first,
        query.item_idx[first:last],
        query.weight[first:last],
        query.age_days[first:last],
    )
