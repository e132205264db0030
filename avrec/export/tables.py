"""What lies beside the graphs in a bundle: tables of users and items, histories and ids.

Axes: U users, N items, D embedding of the ids, C content width.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from torch import Tensor

from avrec.bundle.schema import ITEM_IDS, TIMESTAMPS, USER_IDS
from avrec.core.arrays import Float32
from avrec.core.dataset import Dataset
from avrec.core.errors import ArtefactError
from avrec.core.files import write_npy, write_table
from avrec.core.ids import IdMap
from avrec.core.interactions import Interactions
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
        item, history, _ = model.item_vectors(catalogue)
        return cls(
            users=dataset.users,
            items=dataset.items,
            user_vectors=_array(model.user_vectors()),
            item_vectors=_array(item),
            history_vectors=_array(history),
            content_vectors=comparable_content(model, catalogue),
            id_vectors=_array(model.item_table.output_ND),
            evidence=_array(model.item_evidence_N),
            history=dataset.train.merged(dataset.validation).merged(dataset.test),
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
        for name, array in arrays.items():
            write_npy(folder / name, array)
        write_table(folder / ITEM_IDS, pa.table({"item_id": self.items.array}))
        write_table(folder / USER_IDS, pa.table({"user_id": self.users.array}))


def _array(tensor: Tensor) -> Float32:
    array: Float32 = tensor.detach().cpu().float().contiguous().numpy()
    return array
