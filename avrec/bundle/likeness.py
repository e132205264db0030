"""`Likeness`: the items of a bundle that resemble one, by sound, by picture, by content, by taste, or by when they are used.

Axes: N items, W width of a table.
"""

from dataclasses import dataclass
from functools import cached_property
from threading import Lock

import numpy as np

from avrec.bundle.reader import Bundle
from avrec.core.arrays import Bool, Float32, Int64
from avrec.core.dataset import tie_order
from avrec.core.errors import ConfigError, DataError
from avrec.retrieval.exact import top_k
from avrec.retrieval.rerank import unit_vectors
from avrec.retrieval.rhythm import rhythms

WORDS = {"sound": ("audio",), "picture": ("video", "visual", "image")}  # and every modality by its own name
LACKS = {"content": "no content", "taste": "no training events", "time": "no events of its own rhythm"}


@dataclass(frozen=True)
class Way:
    """One way in which items are alike; the likeness of item j to item i is `direction_i · table_j`.

    Attributes:
        direction_NW: of unit length, zero where this way knows nothing of the item.
        table_NW: the same, except where likeness is believed by halves.
        known_N: true where this way knows something of the item; other items are not shown.
    """

    direction_NW: Float32
    table_NW: Float32
    known_N: Bool

    @classmethod
    def cosine(cls, vectors_NW: Float32, known_N: Bool | None = None) -> "Way":
        """By the cosine of vectors; a row of zeros, or one that is said not to be known, is not."""
        unit_NW = unit_vectors(np.asarray(vectors_NW))
        if known_N is not None:
            unit_NW *= known_N[:, None]
        return cls(unit_NW, unit_NW, np.any(unit_NW, axis=1))


class Likeness:
    """Ways of likeness, each made when it is first asked for.

    `content` is the cosine of the fused content, `taste` that of the trained id vectors, `time` that of the hours of the week
    (see `rhythms`), and a modality's name (or `sound`, `picture`) that of its own encoder's output, from which the mean over
    the items is subtracted.

    Args:
        bundle: an opened one.
        order: (N,) of items that are equally alike the smaller comes first; made from the ids when None.
    """

    def __init__(self, bundle: Bundle, order: Int64 | None = None) -> None:
        self._bundle = bundle
        self._given_order = order
        self._made: dict[str, Way] = {}
        self._lock = Lock()

    def way(self, by: str) -> Way:
        """The table of one way, made once, whoever asks at the same time.

        Raises:
            ConfigError: the bundle cannot answer in this way.
        """
        with self._lock:
            if by not in self._made:
                self._made[by] = self._make(by)
            return self._made[by]

    @property
    def names(self) -> tuple[str, ...]:
        """The ways in which this bundle can answer."""
        bundle = self._bundle
        names = ["content"] if bundle.content_vectors.shape[1] else []
        names += ["taste"] if bundle.id_vectors.shape[1] else []
        names += ["time"] if bundle.history.timestamp is not None and len(bundle.history) else []
        words = [word for word, modalities in WORDS.items() if self._modality_of(word, modalities)]
        return (*names, *words, *bundle.modality_vectors)

    @property
    def usual(self) -> str:
        """`content` where the model reads any, else `taste`."""
        return "content" if self._bundle.content_vectors.shape[1] else "taste"

    def similar(self, item_idx: int, k: int, by: str, allowed: Bool | None = None) -> tuple[Int64, Float32]:
        """The k items most alike to one, which is not among them.

        Args:
            item_idx: the item.
            k: length of the list, at least 1.
            by: one of `names`.
            allowed: (N,) true for the items that may be shown; all when None.

        Returns:
            item_idx and likeness, most alike first; fewer than k where this way knows no more items.

        Raises:
            ConfigError: the bundle cannot answer in this way.
            DataError: this way knows nothing of the item.
        """
        way = self.way(by)
        if not way.known_N[item_idx]:
            item_id = self._bundle.items.ids([item_idx])[0]
            others = [name for name in self.names if self.way(name).known_N[item_idx]]
            raise DataError([f"item {item_id!r} has {self.lacking(by)}; ask by one of {others}."])
        shown = way.known_N if allowed is None else way.known_N & allowed
        itself = (np.array([0, 1], np.int64), np.array([item_idx], np.int64))
        query = way.direction_NW[item_idx : item_idx + 1]
        found, scores = top_k(query, way.table_NW, k, itself, shown, self._order)
        return found[0][found[0] >= 0], scores[0][found[0] >= 0]

    @staticmethod
    def lacking(by: str) -> str:
        """What an item does not have of which a way knows nothing, such as `no sound`."""
        return LACKS.get(by, f"no {by}")

    @cached_property
    def _order(self) -> Int64:
        return tie_order(self._bundle.items) if self._given_order is None else self._given_order

    def _modality_of(self, word: str, modalities: tuple[str, ...]) -> str | None:
        held = self._bundle.modality_vectors
        return None if word in held else next((name for name in modalities if name in held), None)

    def _make(self, by: str) -> Way:
        bundle = self._bundle
        if by not in self.names:
            raise ConfigError(f"by: {by!r} is no way in which {bundle.folder} can answer; it can by {self.names}.")
        if by == "content":
            return Way.cosine(bundle.content_vectors)
        if by == "taste":
            return Way.cosine(bundle.id_vectors, bundle.evidence > 0)
        if by == "time" and bundle.history.timestamp is not None:
            history = bundle.history
            direction_NH, table_NH = rhythms(history.item_idx, bundle.history.timestamp, history.num_items)
            return Way(direction_NH, table_NH, np.any(direction_NH, axis=1))
        name = self._modality_of(by, WORDS.get(by, ())) or by
        return Way.cosine(_centred(bundle.modality_vectors[name]))


def _centred(vectors_NW: Float32) -> Float32:
    """Less the mean of the rows that are not zero, which all share and by which all would be alike."""
    there_N = np.any(vectors_NW, axis=1)
    mean_W = vectors_NW[there_N].mean(axis=0, dtype=np.float64) if there_N.any() else 0.0
    centred: Float32 = np.where(there_N[:, None], vectors_NW - mean_W, 0.0).astype(np.float32)
    return centred
