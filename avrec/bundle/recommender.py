"""`Recommender`: a bundle's answers, without PyTorch in the process.

Axes: B users in the batch, L history length, N items, M modalities, D embedding of the ids, C content width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from avrec.bundle.answered import HOW, POPULARITY, Answered, How, answered
from avrec.bundle.content import Content
from avrec.bundle.embedder import ItemEmbedder
from avrec.bundle.likeness import Likeness
from avrec.bundle.popularity import Popularity
from avrec.bundle.queries import UnknownItem, UnknownUser, check_query, query_histories, query_users
from avrec.bundle.reader import Bundle
from avrec.bundle.schema import USER_TOWER, USER_TOWER_INPUTS, USER_TOWER_OUTPUTS
from avrec.bundle.search_index import open_index
from avrec.bundle.session import OnnxGraph
from avrec.bundle.strangers import Stranger, query_strangers
from avrec.bundle.uploads import EmbeddedFiles, embed_files
from avrec.core.arrays import Bool, Float32, Float64, Int64
from avrec.core.dataset import tie_order
from avrec.core.errors import ConfigError, DataError
from avrec.core.query import UserQuery, padded
from avrec.media.limits import Limits
from avrec.retrieval.index import Index
from avrec.retrieval.rerank import Reranking, age_days
from avrec.retrieval.told import Told

USERS_PER_BLOCK = 256  # bounds the gathered histories: 256 x 50 x 1,000 float32 are 50 MB


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One user's list, best first.

    Attributes:
        item_ids: at most k; fewer when the catalogue holds no more that may be shown.
        scores: of each item.
        how: from what the user was served: `known user` by the bundle's own tables, `history` by the given events (and
            interests, if any are stated beside them), `interests`, `friends` or `fields` by these, for who has no history,
            `popularity` by the number of training events, for whom nothing is known of; `item` where the list is of what
            resembles an item.
        unknown: what a stranger told and the bundle does not know.
    """

    item_ids: tuple[str, ...]
    scores: tuple[float, ...]
    how: How
    unknown: tuple[str, ...] = ()


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
    def index(self) -> Index:
        """What lists are searched with, read when first used; see `open_index`."""
        return open_index(self.bundle, self._tie_order)

    @cached_property
    def popularity(self) -> Popularity:
        """What is shown to whom nothing is known of."""
        return Popularity.of(self.bundle.evidence, self._tie_order)

    @cached_property
    def _embedder(self) -> ItemEmbedder:
        return ItemEmbedder.of(self.bundle, self.num_threads)

    @cached_property
    def likeness(self) -> Likeness:
        """What resembles what."""
        return Likeness(self.bundle, self._tie_order)

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

    def answered(self, query: UserQuery, told: Told | None = None, informed: Bool | None = None) -> Answered:
        """What each user is served with and from; see `answered` of `avrec.bundle.answered`.

        Raises:
            DataError: an index of the query is not in the bundle.
        """
        return answered(self.bundle, query, self.user_vectors, told, informed)

    def score(self, query: UserQuery) -> Float32:
        """Scores (B, N) of the whole catalogue; seen items are not masked."""
        scores: Float32 = self.user_vectors(query) @ self.bundle.item_vectors.T
        return scores

    def top(
        self,
        query: UserQuery,
        k: int,
        exclude_seen: bool = True,
        allowed: Bool | None = None,
        reranking: Reranking | None = None,
        told: Told | None = None,
    ) -> tuple[Int64, Float32, Int64]:
        """The k best items for each user, as arrays.

        Args:
            query: B users; `query_users` and `query_histories` make one from ids.
            k: length of the lists, at least 1.
            exclude_seen: leave out the items of the query's own histories.
            allowed: (N,) true for the items that may be shown; all when None.
            reranking: how the lists are put in order; by score when None. An item's age is the time from its first to the
                log's last event, 0 where nobody has had it. Popular items are not reranked.
            told: what the users tell besides their histories.

        Returns:
            item_idx (B, K) and scores (B, K) with K = min(k, N); -1 and -inf where fewer items may be shown; and (B,) from
            what each list is, as a place in `HOW`.

        Raises:
            AvrecError: k is below 1, an index is not in the bundle, or a score is not finite.
            ConfigError: the reranking asks for what the bundle does not hold.
        """
        users = self.answered(query, told)
        seen = (query.indptr, query.item_idx) if exclude_seen else None
        num_items = len(self.bundle.items)
        pool = k if reranking is None or not reranking.changes else max(k, reranking.pool)
        item_idx, scores = self.index.search(users.vectors, min(pool, num_items), seen, allowed)
        if reranking is not None and reranking.changes:
            by = reranking.by or self.likeness.usual
            unit_NW = self.likeness.way(by).direction_NW if reranking.needs_vectors else None
            ages = self._ages(item_idx) if reranking.needs_ages else None
            item_idx, scores = reranking(item_idx, scores, min(k, num_items), unit_NW, ages)
        nobody = users.how == POPULARITY  # who has no history, so nothing was seen
        if nobody.any():
            best, counts = self.popularity.top(
                k, np.zeros(0, np.int64), None if allowed is None else np.flatnonzero(allowed)
            )
            item_idx[nobody, : len(best)], scores[nobody, : len(best)] = best, counts
        return item_idx, scores, users.how

    def recommend(
        self,
        query: UserQuery,
        k: int,
        exclude_seen: bool = True,
        allowed: Bool | None = None,
        reranking: Reranking | None = None,
        told: Told | None = None,
    ) -> list[Recommendation]:
        """`top` as lists of ids."""
        item_idx, scores, ways = self.top(query, k, exclude_seen, allowed, reranking, told)
        item_ids = self.bundle.items.ids(item_idx[item_idx >= 0])
        counts = (item_idx >= 0).sum(axis=1).tolist()
        answers, start = [], 0
        for count, row, how in zip(counts, scores.tolist(), ways.tolist(), strict=True):
            answers.append(Recommendation(tuple(item_ids[start : start + count]), tuple(row[:count]), HOW[how]))
            start += count
        return answers

    def similar(self, item_id: str, k: int, by: str | None = None, allowed: Bool | None = None) -> Recommendation:
        """The k items most alike to one; see `Likeness`.

        Args:
            item_id: an item of the catalogue; it is not in the list.
            k: length of the list, at least 1.
            by: one of `likeness.names`, such as `sound`, `picture`, `content`, `taste` or `time`; `likeness.usual` when None.
            allowed: (N,) true for the items that may be shown; all when None.

        Raises:
            DataError: the item is not in the bundle, or this way knows nothing of it.
            ConfigError: the bundle cannot answer in this way.
        """
        item_idx = int(self.bundle.items.index([item_id])[0])
        if item_idx < 0:
            raise DataError([f"item id {item_id!r} is not in {self.bundle.folder}. Name an item of the catalogue."])
        found, scores = self.likeness.similar(item_idx, k, by or self.likeness.usual, allowed)
        return Recommendation(tuple(self.bundle.items.ids(found)), tuple(scores.tolist()), "item")

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

    def for_strangers(self, strangers: Sequence[Stranger], k: int, exclude_seen: bool = True) -> list[Recommendation]:
        """`recommend` for who is not in the bundle, by what each tells; what the bundle does not know is named in the answer."""
        query, told, unknown = query_strangers(self.bundle, strangers)
        answers = self.recommend(query, k, exclude_seen, told=told)
        return [replace(answer, unknown=names) for answer, names in zip(answers, unknown, strict=True)]

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

    def _ages(self, item_idx_BC: Int64) -> Float64:
        history = self.bundle.history
        if history.timestamp is None or not len(history):
            raise ConfigError(
                f"rerank: fresh_weight is above 0, but the log behind {self.bundle.folder} has no time. Set it to 0."
            )
        now_sec_B = np.full(len(item_idx_BC), float(history.timestamp.max()))
        return age_days(self._since_sec, item_idx_BC, now_sec_B)

    @cached_property
    def _since_sec(self) -> Float64:
        first = self.bundle.history.first_timestamps
        return np.where(first == np.iinfo(np.int64).max, np.inf, first)


def _part(query: UserQuery, start: int, stop: int) -> UserQuery:
    first, last = query.indptr[start], query.indptr[stop]
    return UserQuery(
        query.user_idx[start:stop],
        query.indptr[start : stop + 1] - first,
        query.item_idx[first:last],
        query.weight[first:last],
        query.age_days[first:last],
    )
