"""`ItemEmbedder`: vectors of items that the catalogue did not hold when the bundle was made.

Axes: N items, M modalities, F feature dimensions, D embedding of the ids, C content width.
"""

from collections.abc import Mapping

import numpy as np

from avrec.bundle.reader import Bundle
from avrec.bundle.schema import ITEM_TOWER, Manifest, item_tower_inputs, item_tower_outputs
from avrec.bundle.session import OnnxGraph
from avrec.bundle.stand_in import StandIns
from avrec.core.arrays import Bool, Float32
from avrec.core.errors import AvrecError, DataError

ITEMS_PER_BLOCK = 1024


class ItemEmbedder:
    """Runs the item tower's graph on features, and lends each new item the id vectors of its content neighbours.

    Args:
        manifest: of the bundle.
        tower: the item tower's graph.
        stand_ins: over the bundle's catalogue.
    """

    def __init__(self, manifest: Manifest, tower: OnnxGraph, stand_ins: StandIns) -> None:
        self._manifest = manifest
        self._tower = tower
        self._stand_ins = stand_ins

    @classmethod
    def of(cls, bundle: Bundle, num_threads: int = 1) -> "ItemEmbedder":
        """The embedder of an opened bundle; `num_threads` are ONNX Runtime's within one call."""
        modalities = bundle.manifest.modalities
        inputs, outputs = item_tower_inputs(modalities), item_tower_outputs(modalities)
        path = bundle.folder / f"{ITEM_TOWER}.onnx"
        tower = OnnxGraph(bundle.graph(ITEM_TOWER), path, inputs, outputs, num_threads)
        return cls(bundle.manifest, tower, StandIns(bundle.id_vectors, bundle.content_vectors, bundle.evidence))

    def embed(
        self, features: Mapping[str, Float32], masks: Mapping[str, Bool] | None = None
    ) -> tuple[Float32, Float32, Float32]:
        """Vectors of new items, which have content but neither an id vector, a bias nor training events.

        They are what a cold item of the catalogue with the same content has.

        Args:
            features: {modality: (N, F)}; a modality that is not given is missing from every item.
            masks: {modality: (N,)} true where the item has it; all true when not given.

        Returns:
            item vectors (N, D + 1 + C), history vectors (N, D + C), shares (N, M) in the manifest's order of modalities.

        Raises:
            AvrecError: the bundle has no modality.
            DataError: an unknown modality, another width or length than the rest, or a present feature or what comes out
                is not finite.
        """
        if not self._manifest.modalities:
            raise AvrecError("this bundle was trained on ids alone and cannot embed new items. Train with features.")
        masks = masks or {}
        num_items = self._check(features, masks)
        inputs = self._content(features, masks, num_items)
        no_vectors = np.zeros((num_items, self._manifest.dims.id_dim), np.float32)
        nothing = np.zeros(num_items, np.float32)
        inputs |= {"id_vector": no_vectors, "neighbour_vector": no_vectors, "bias": nothing, "evidence": nothing}
        blocks = []
        for start in range(0, max(num_items, 1), ITEMS_PER_BLOCK):
            rows = slice(start, start + ITEMS_PER_BLOCK)
            blocks.append(self._tower.run({name: values[rows] for name, values in inputs.items()}))
        item, history, share = (
            np.concatenate([block[name] for block in blocks]) for name in ("item_vector", "history_vector", "share")
        )
        bad = np.flatnonzero(~np.isfinite(item).all(axis=1) | ~np.isfinite(history).all(axis=1))
        if len(bad):
            raise DataError(
                [
                    f"row {bad[0]}: the item tower gives a vector that is not finite ({len(bad)} such rows). "
                    "Look for extreme features; if there are none, verify the bundle."
                ]
            )
        self._lend(item, history, np.logical_or.reduce([inputs[f"mask_{name}"] for name in self._manifest.modalities]))
        return item, history, share

    def _lend(self, item: Float32, history: Float32, present: Bool) -> None:
        """Add the stand-ins to both id segments, as the tower would if it were given them.

        The content that they are found by comes out of the tower, which is too dear to run twice. Without training events
        the gate is 0, so the tower's `(1 - g) s w v` is `s w v` (`ItemTower.assemble`). An item without any modality
        resembles nobody.
        """
        point = self._manifest.operating_point
        if point["neighbour_weight"] == 0:
            return
        id_dim = self._manifest.dims.id_dim
        lent_ND = point["neighbour_weight"] * self._stand_ins.of(history[:, id_dim:] * present[:, None])
        item[:, :id_dim] += point["content_scale"] * lent_ND
        history[:, :id_dim] += lent_ND

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
        for name, mask in masks.items():
            if mask.ndim != 1:
                problems.append(f"modality {name!r}: mask of shape {mask.shape}; expected (items,).")
        if problems:
            raise DataError(problems)
        return lengths.pop()

    def _content(
        self, features: Mapping[str, Float32], masks: Mapping[str, Bool], num_items: int
    ) -> dict[str, np.ndarray]:
        inputs: dict[str, np.ndarray] = {}
        for name in self._manifest.modalities:
            width = self._manifest.feature_dims[name]
            mask = np.asarray(masks.get(name, np.full(num_items, name in features)), np.bool_)
            values = np.asarray(features.get(name, np.zeros((num_items, width))), np.float32)
            # What an absent row holds must not matter, not even NaN.
            values = np.where(mask[:, None], values, np.float32(0))
            bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
            if len(bad):
                raise DataError(
                    [f"modality {name!r} row {bad[0]} is not finite ({len(bad)} such rows). Fix or mask it."]
                )
            inputs |= {f"feature_{name}": values, f"mask_{name}": mask}
        return inputs
