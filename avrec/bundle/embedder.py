"""`ItemEmbedder`: vectors of items that the catalogue did not hold when the bundle was made.

Axes: N items, M modalities, D embedding of the ids, C content width.
"""

from collections.abc import Mapping

import numpy as np

from avrec.bundle.content import Content, NewItems
from avrec.bundle.reader import Bundle
from avrec.bundle.schema import ITEM_TOWER, Manifest, content_inputs
from avrec.bundle.session import OnnxGraph
from avrec.bundle.stand_in import StandIns
from avrec.bundle.towers import MAX_ITEMS, MAX_MEDIA_ITEMS, open_item_tower
from avrec.core.arrays import Bool, Float32
from avrec.core.errors import ArtefactError, AvrecError, DataError


class ItemEmbedder:
    """Runs the item tower's graph on content, and lends each new item the id vectors of its content neighbours.

    Args:
        manifest: of the bundle.
        tower: the item tower's graph.
        stand_ins: over the bundle's catalogue.

    Raises:
        ArtefactError: the graph takes clips of another shape than the manifest would cut.
    """

    def __init__(self, manifest: Manifest, tower: OnnxGraph, stand_ins: StandIns) -> None:
        self.manifest = manifest
        self._tower = tower
        self._stand_ins = stand_ins
        for name, spec in manifest.media.items():
            expected, found = list(spec.shape), tower.input_shapes[content_inputs(name, is_media=True)[0]][1:]
            if found != expected:
                raise ArtefactError(
                    f"{tower.path}: takes {name} clips of shape {found}; the manifest's {spec} gives {expected}. "
                    "Export the bundle again."
                )

    @classmethod
    def of(cls, bundle: Bundle, num_threads: int = 1, name: str = ITEM_TOWER) -> "ItemEmbedder":
        """The embedder of an opened bundle.

        Args:
            bundle: an opened one.
            num_threads: ONNX Runtime's within one call.
            name: of the graph: the item tower, or a smaller one that the bundle has, such as `item_tower_int8`.
        """
        tower = open_item_tower(bundle, num_threads, name)
        return cls(bundle.manifest, tower, StandIns(bundle.id_vectors, bundle.content_vectors, bundle.evidence))

    def embed(self, content: Content, masks: Mapping[str, Bool] | None = None) -> tuple[Float32, Float32, Float32]:
        """Vectors of new items, which have content but neither an id vector, a bias nor training events.

        They are what a cold item of the catalogue with the same content has.

        Args:
            content: {modality: (N, F) finished features, or a `RawClips` where the manifest names media}; a modality that
                is not given is missing from every item.
            masks: {modality: (N,)} true where the item has it; all true when not given.

        Returns:
            item vectors (N, D + 1 + C), history vectors (N, D + C), shares (N, M) in the manifest's order of modalities.

        Raises:
            AvrecError: the bundle has no modality.
            DataError: an unknown modality, another shape, type or length than the rest, or what goes in or comes out is
                not finite.
        """
        if not self.manifest.modalities:
            raise AvrecError("this bundle was trained on ids alone and cannot embed new items. Train with features.")
        items = NewItems(self.manifest, content, masks or {})
        size = MAX_MEDIA_ITEMS if self.manifest.media else MAX_ITEMS
        blocks = [
            self._tower.run(items.inputs(slice(start, start + size))) for start in range(0, items.num_items, size)
        ]
        dims = self.manifest.dims
        widths = {
            "item_vector": dims.item_dim,
            "history_vector": dims.history_dim,
            "share": len(self.manifest.modalities),
        }
        item, history, share = (
            np.concatenate([np.zeros((0, width), np.float32), *(block[name] for block in blocks)])
            for name, width in widths.items()
        )
        bad = np.flatnonzero(~np.isfinite(item).all(axis=1) | ~np.isfinite(history).all(axis=1))
        if len(bad):
            raise DataError(
                [
                    f"row {bad[0]}: the item tower gives a vector that is not finite ({len(bad)} such rows). "
                    "Look for extreme values; if there are none, verify the bundle."
                ]
            )
        self._lend(item, history, items.present)
        return item, history, share

    def _lend(self, item: Float32, history: Float32, present: Bool) -> None:
        """Add the stand-ins to both id segments, as the tower would if it were given them.

        The content that they are found by comes out of the tower, which is too dear to run twice. Without training events
        the gate is 0, so the tower's `(1 - g) s w v` is `s w v` (`ItemTower.assemble`). An item without any modality
        resembles nobody.
        """
        point = self.manifest.operating_point
        if point["neighbour_weight"] == 0:
            return
        id_dim = self.manifest.dims.id_dim
        lent_ND = point["neighbour_weight"] * self._stand_ins.of(history[:, id_dim:] * present[:, None])
        item[:, :id_dim] += point["content_scale"] * lent_ND
        history[:, :id_dim] += lent_ND
