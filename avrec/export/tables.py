"""What lies beside the graphs in a bundle: tables of users and items, histories and ids.

Axes: U users, N items, D embedding of the ids, C content width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from torch import Tensor

from avrec.bundle.schema import ITEM_IDS, MODALITY_VECTORS, SHARES, TIMESTAMPS, USER_IDS
from avrec.core.arrays import Float32
from avrec.core.dataset import Dataset
from avrec.core.errors import ArtefactError
from avrec.core.files import write_npy, write_table
from avrec.core.ids import IdMap
from avrec.core.interactions import Interactions
from avrec.export.display import item_rows
from avrec.export.modality_vectors import modality_vectors
from avrec.models.two_tower import CatalogueFeatures, TwoTower
from avrec.training.scorer import comparable_content


@dataclass(frozen=True)
class Tables:
    """The model's tables as arrays on the CPU, numbers in float32.

    Attributes:
        users: ids.
        items: ids.
        user_vectors: (U, D).
        item_vectors: (N, D + 1 + C).
        history_vectors: (N, D + C).
        content_vectors: (N, C) fused content by itself, zero for an item without any modality, which resembles nobody.
        id_vectors: (N, D).
        evidence: (N,) training events.
        history: each user's whole log.
        shares: (N, M) how much each modality made up of each item's content.
        item_rows: ids of the items, and what a page shows of them.
        modality_vectors: modality -> (N, W), in the order of the tower.
    """

    users: IdMap
    items: IdMap
    user_vectors: Float32
    item_vectors: Float32
    history_vectors: Float32
    content_vectors: Float32
    id_vectors: Float32
    evidence: Float32
    history: Interactions
    shares: Float32
    item_rows: pa.Table
    modality_vectors: Mapping[str, Float32]

    @classmethod
    def of(cls, model: TwoTower, catalogue: CatalogueFeatures, dataset: Dataset) -> "Tables":
        """Read them off the model.

        Raises:
            ArtefactError: model and data set are of different size.
        """
        if (model.num_items, model.user_table.num_users) != (dataset.num_items, dataset.num_users):
            raise ArtefactError(
                f"the model holds {model.num_items} items and {model.user_table.num_users} users; the data set "
                f"{dataset.name!r} {dataset.num_items} and {dataset.num_users}. Export with the data it was trained on."
            )
        item, history, shares = model.item_vectors(catalogue)
        return cls(
            users=dataset.users,
            items=dataset.items,
            user_vectors=_array(model.user_vectors()),
            item_vectors=_array(item),
            history_vectors=_array(history),
            content_vectors=comparable_content(model, catalogue),
            id_vectors=_array(model.id_vectors()),
            evidence=_array(model.item_evidence_N),
            history=dataset.train.merged(dataset.validation).merged(dataset.test),
            shares=_array(shares),
            item_rows=item_rows(dataset),
            modality_vectors=modality_vectors(model, catalogue),
        )

    def write(self, folder: Path) -> None:
        """Write what a bundle stores."""
        arrays: dict[str, np.ndarray] = {
            "user_vectors.npy": self.user_vectors,
            "item_vectors.npy": self.item_vectors,
            "history_vectors.npy": self.history_vectors,
            "id_vectors.npy": self.id_vectors,
            "content_vectors.npy": self.content_vectors,
            "evidence.npy": self.evidence,
            "history_indptr.npy": self.history.indptr,
            "history_item_idx.npy": self.history.item_idx,
            "history_weight.npy": self.history.weight.astype(np.float32),
        }
        if self.history.timestamp is not None:
            arrays[TIMESTAMPS] = self.history.timestamp
        if self.shares.shape[1]:
            arrays[SHARES] = self.shares
        for place, vectors in enumerate(self.modality_vectors.values()):
            arrays[MODALITY_VECTORS.format(place)] = vectors
        for name, array in arrays.items():
            write_npy(folder / name, array)
        write_table(folder / ITEM_IDS, self.item_rows)
        write_table(folder / USER_IDS, pa.table({"user_id": self.users.array}))


def _array(tensor: Tensor) -> Float32:
    array: Float32 = tensor.detach().cpu().float().contiguous().numpy()
    return array
