"""Why an item stands where it stands: its score, taken apart by the segments of the two vectors.

A score is one inner product over segments laid end to end, so each segment's own product is its part, and the parts add up to
the score. The content segment fuses all modalities; its part is divided by the shares that each modality has of the item's
content.

Axes: K items of a list, W width of a space, M modalities.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from avrec.core.arrays import Float32, Float64, Int64
from avrec.serving.messages import Why
from avrec.serving.spaces import Segments, Space


@dataclass(frozen=True)
class Parts:
    """The parts of the scores of one list.

    Attributes:
        taste: (K,) of the id segments.
        popularity: (K,) of the bias.
        content: (K,) of the content segments.
        shares: (K, M) how much each modality made up of each item's content, zero for an item without any; None where the
            bundle does not say.
    """

    taste: Float64
    popularity: Float64
    content: Float64
    shares: Float32 | None

    @classmethod
    def of(
        cls, space: Space, segments: Segments, direction_W: Float32, item_idx: Int64, shares_NM: Float32 | None
    ) -> "Parts":
        """Take the scores of items that `space` holds apart.

        Args:
            space: that ranked them.
            segments: its columns.
            direction_W: what its table was multiplied with.
            item_idx: (K,) the items.
            shares_NM: of the catalogue.
        """
        rows_KW = space.table[space.position[item_idx]].astype(np.float64)
        products_KW = rows_KW * direction_W
        taste, popularity, content = (products_KW[:, part].sum(axis=1) for part in segments)
        return cls(taste, popularity, content, None if shares_NM is None else shares_NM[item_idx])

    def told(self, modalities: tuple[str, ...]) -> Iterable[Why]:
        """For each item, with the shares under the names of their modalities."""
        by_modality: list[dict[str, float]] = [{} for _ in self.content]
        if self.shares is not None:
            split_KM = (self.content[:, None] * self.shares).tolist()
            for place in np.flatnonzero(self.shares.any(axis=1)).tolist():
                by_modality[place] = dict(zip(modalities, split_KM[place], strict=True))
        numbers = (self.taste.tolist(), self.popularity.tolist(), self.content.tolist())
        for taste, popularity, content, modality in zip(*numbers, by_modality, strict=True):
            yield Why.model_construct(taste=taste, popularity=popularity, content=content, modalities=modality)
