"""`ItemEmbedder`: vectors of items that the catalogue did not hold when the bundle was made.

Axes: N items, M modalities, F feature dimensions, D embedding of the ids, C content width.
"""

from collections.abc import Mapping

import numpy as np

from avrec.bundle.reader import Bundle
from avrec.bundle.schema import ITEM_TOWER, item_tower_inputs, item_tower_outputs
from avrec.bundle.session import OnnxGraph
from avrec.core.arrays import Bool, Float32
from avrec.core.errors import AvrecError, DataError

ITEMS_PER_BLOCK = 1024


class ItemEmbedder:
    """Runs the item tower's graph on features.

    Args:
        bundle: an opened one.
        num_threads: of ONNX Runtime within one call.
    """

    def __init__(self, bundle: Bundle, num_threads: int = 1) -> None:
        self._manifest = bundle.manifest
        modalities = bundle.manifest.modalities
        self._inputs = item_tower_inputs(modalities)
        outputs = item_tower_outputs(modalities)
        path = bundle.folder / f"{ITEM_TOWER}.onnx"
        self._tower = OnnxGraph(bundle.graph(ITEM_TOWER), path, self._inputs, outputs, num_threads)

    def embed(
        self,
        features: Mapping[str, Float32],
        masks: Mapping[str, Bool] | None = None,
        neighbour_vectors: Float32 | None = None,
    ) -> tuple[Float32, Float32, Float32]:
        """Vectors of new items, which have content but neither an id vector, a bias nor training events.

        Args:
            features: {modality: (N, F)}; a modality that is not given is missing from every item.
            masks: {modality: (N,)} true where the item has it; all true when not given.
            neighbour_vectors: (N, D) mean id vector of the items' content neighbours; zero when None. It counts where the
                operating point's `neighbour_weight` is not 0.

        Returns:
            item vectors (N, D + 1 + C), history vectors (N, D + C), shares (N, M) in the manifest's order of modalities.

        Raises:
            AvrecError: the bundle has no modality.
            DataError: an unknown modality, another width or length than the rest, or a present feature is not finite.
        """
        if not self._manifest.modalities:
            raise AvrecError("this bundle was trained on ids alone and cannot embed new items. Train with features.")
        num_items = self._check(features, masks or {})
        dims = self._manifest.dims
        inputs = self._content(features, masks or {}, num_items)
        zeros = np.zeros((num_items, dims.id_dim), np.float32)
        neighbours = zeros if neighbour_vectors is None else np.asarray(neighbour_vectors, np.float32)
        if neighbours.shape != zeros.shape:
            raise DataError([f"neighbour_vectors: shape {neighbours.shape}; expected {zeros.shape}."])
        none = np.zeros(num_items, np.float32)
        inputs |= {"id_vector": zeros, "neighbour_vector": neighbours, "bias": none, "evidence": none}
        blocks = []
        for start in range(0, max(num_items, 1), ITEMS_PER_BLOCK):
            rows = slice(start, start + ITEMS_PER_BLOCK)
            blocks.append(self._tower.run({name: values[rows] for name, values in inputs.items()}))
        item, history, share = (
            np.concatenate([block[name] for block in blocks]) for name in ("item_vector", "history_vector", "share")
        )
        return item, history, share

    def _check(self, features: Mapping[str, Float32], masks: Mapping[str, Bool]) -> int:
        problems = []
        lengths = {len(values) for values in (*features.values(), *masks.values())}
        if len(lengths) != 1:
            problems.append(f"features and masks: {sorted(lengths)} rows; expected one number of items.")
        for name in sorted((features.keys() | masks.keys()) - set(self._manifest.modalities)):
            problems.append(f"modality {name!r} is unknown; this bundle takes {list(self._manifest.modalities)}.")
        for name in sorted(masks.keys() - features.keys()):
            problems.append(f"modality {name!r} has a mask but no features. Give both.")
        for name, values in features.items():
            width = self._manifest.feature_dims.get(name)
            if width is not None and values.shape[1:] != (width,):
                problems.append(f"modality {name!r}: shape {values.shape}; expected (items, {width}).")
        if problems:
            raise DataError(problems)
        return lengths.pop()

    def _content(
        self, features: Mapping[str, Float32], masks: Mapping[str, Bool], num_items: int
    ) -> dict[str, np.ndarray]:
        inputs: dict[str, np.ndarray] = {}
        for name in self._manifest.modalities:
            width = self._manifest.feature_dims[name]
            default = np.full(num_items, name in features)
            mask = np.asarray(masks.get(name, default), np.bool_)
            values = np.asarray(features.get(name, np.zeros((num_items, width))), np.float32)
            values = np.where(
                mask[:, None], values, np.float32(0)
            )  # what an absent row holds must not matter, not even NaN
            bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
            if len(bad):
                raise DataError(
                    [f"modality {name!r} row {bad[0]} is not finite ({len(bad)} such rows). Fix or mask it."]
                )
            inputs |= {f"feature_{name}": values, f"mask_{name}": mask}
        return inputs
