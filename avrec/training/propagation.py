"""Propagation of a trained item table over item neighbours: after training, not during it.

Axes: N items, D embedding of the ids, C content width.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from avrec.core.arrays import Bool, Float32
from avrec.core.interactions import Interactions
from avrec.factors.neighbours import content_neighbours, jaccard_neighbours, p3_neighbours
from avrec.models.two_tower import TwoTower


@dataclass(frozen=True)
class Mix:
    """How neighbours are mixed: `M = p3 P + jaccard J + content C`, then `E' = E + M (E + M E)` for two hops.

    Attributes:
        p3: weight of the 5 items most reached over shared users.
        jaccard: weight of the 20 items with the most similar audience.
        content: weight of the 10 items with the most similar content.
        hops: 1 or 2.
    """

    p3: float = 0.0
    jaccard: float = 0.0
    content: float = 0.0
    hops: int = 2


class Neighbourhoods:
    """The neighbour matrices of one catalogue, over trained items.

    Args:
        train: training events.
        content_NC: fused content of every item, or None.
        trained_N: items that count as trained; pseudo-cold ones do not.
    """

    def __init__(self, train: Interactions, content_NC: Float32 | None, trained_N: Bool) -> None:
        self.p3 = p3_neighbours(train)
        self.jaccard = jaccard_neighbours(train)
        self.trained_N = trained_N
        self.content: csr_array | None = None
        if content_NC is not None:
            present = np.any(content_NC != 0, axis=1)
            self.content = content_neighbours(content_NC, present, trained_N & present)

    def propagated(self, table_ND: Float32, mix: Mix) -> Float32:
        """`E'`: rows of trained items only change, and only by trained items."""
        mixed = mix.p3 * self.p3 + mix.jaccard * self.jaccard
        if self.content is not None:
            mixed = mixed + mix.content * self.content
        table = table_ND * self.trained_N[:, None]
        moved = table
        for _ in range(mix.hops):
            moved = table + mixed @ moved
        return np.where(self.trained_N[:, None], moved, table_ND).astype(np.float32)

    def stand_ins(self, table_ND: Float32) -> Float32:
        """The mean id vector of each item's content neighbours: what an item without a history of its own can borrow."""
        if self.content is None:
            return np.zeros_like(table_ND)
        return (self.content @ (table_ND * self.trained_N[:, None])).astype(np.float32)

    def lend_stand_ins(self, model: TwoTower) -> None:
        """Put the stand-ins for the id vectors that the model has now into it."""
        stand_ins = self.stand_ins(model.id_vectors().float().cpu().numpy())
        model.neighbour_vector_ND.copy_(torch.from_numpy(stand_ins))


def apply_mix(model: TwoTower, start: dict[str, Tensor], neighbourhoods: Neighbourhoods, mix: Mix) -> None:
    """Put the propagated tables, the stand-ins and the neighbours that smooth histories (the p3 ones) into the model.

    Args:
        model: its item table and the buffers that stand beside it are overwritten.
        start: the item table's state before any propagation.
        neighbourhoods: of the catalogue.
        mix: none (all weights 0) puts `start` back.
    """
    state = {name: value.clone() for name, value in start.items()}
    for name in ("output_ND", "history_ND"):
        if name in state:
            table = neighbourhoods.propagated(state[name].float().cpu().numpy(), mix)
            state[name] = torch.from_numpy(table).to(state[name])
    model.item_table.load_state_dict(state)
    neighbourhoods.lend_stand_ins(model)
    indices, weights = _rows(neighbourhoods.p3, model.smoothing_idx_NK.shape[1])
    model.smoothing_idx_NK.copy_(torch.from_numpy(indices))
    model.smoothing_weight_NK.copy_(torch.from_numpy(weights))


def _rows(matrix: csr_array, width: int) -> tuple[np.ndarray, Float32]:
    """The first `width` entries of each row as (N, width) indices and weights, 0 where there are fewer."""
    counts = np.minimum(np.diff(matrix.indptr), width)
    row = np.repeat(np.arange(matrix.shape[0]), counts)
    column = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    position = matrix.indptr[row] + column
    indices = np.zeros((matrix.shape[0], width), np.int64)
    weights = np.zeros((matrix.shape[0], width), np.float32)
    indices[row, column] = matrix.indices[position]
    weights[row, column] = matrix.data[position]
    return indices, weights
