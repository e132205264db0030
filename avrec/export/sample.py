"""`ItemSample`: rows of the catalogue as the item tower's inputs: all of them, or of raw media a few.

Axes: S items of the sample, N items of the catalogue, M modalities, C clips of a file.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from avrec.bundle.content import Content, RawClips
from avrec.bundle.schema import content_inputs
from avrec.core.arrays import Bool, Float32, Int64
from avrec.core.clips import AudioSpec, VideoSpec
from avrec.media.wire import dtype_of
from avrec.models.two_tower import CatalogueFeatures, TwoTower
from avrec.training.media_store import LevelReader, media_encoders

Arrays = dict[str, np.ndarray]

MEDIA_ITEMS = 5  # of each sort: cold ones, ones that lack a modality, and others


class EveryItem:
    """The catalogue as the item tower takes it, raw media included.

    Args:
        model: whose items they are.
        catalogue: features of every item, of media the steps.
        clips: {modality: reader of the raw clips} of each media encoder.
    """

    def __init__(self, model: TwoTower, catalogue: CatalogueFeatures, clips: Mapping[str, LevelReader]) -> None:
        self.model = model
        self.encoders = media_encoders(model)
        self._values = catalogue.values
        self._clips = clips
        modalities = model.item_tower.modalities
        self.masks = {name: catalogue.masks[name].cpu().numpy().astype(np.bool_) for name in modalities}

    def __len__(self) -> int:
        return self.model.num_items

    def inputs(self, rows: Int64) -> Arrays:
        """The item tower's inputs of some items."""
        inputs: Arrays = {}
        for name, mask in self.masks.items():
            if name in self.encoders:
                inputs |= _raw(name, self._clips[name], rows, mask, self.encoders[name].spec)
            else:
                inputs[f"feature_{name}"] = _taken(self._values[name], rows)
            inputs[f"mask_{name}"] = mask[rows]
        return inputs | {
            "id_vector": _taken(self.model.id_vectors(), rows),
            "neighbour_vector": _taken(self.model.neighbour_vector_ND, rows),
            "bias": _taken(self.model.item_table.bias_N, rows),
            "evidence": _taken(self.model.item_evidence_N, rows),
        }

    def smoothed(self, content_NC: Float32) -> Float32:
        """The content segment of the history table: each item's content and a share of its neighbours' (`TwoTower`)."""
        share = self.model.item_tower.operating_point.history_smoothing
        index_NK = self.model.smoothing_idx_NK.cpu().numpy()
        weight_NK = self.model.smoothing_weight_NK.cpu().numpy()
        mixed: Float32 = content_NC + np.float32(share) * np.einsum("nk,nkc->nc", weight_NK, content_NC[index_NK])
        return mixed


@dataclass(frozen=True)
class ItemSample:
    """Real items to run the item tower on.

    Attributes:
        rows: (S,) their indices in the catalogue, ascending.
        inputs: the item tower's inputs of these items by name.
        modalities: in the tower's order.
        media: those of the modalities that come as raw clips.
    """

    rows: Int64
    inputs: Arrays
    modalities: tuple[str, ...]
    media: frozenset[str]

    @classmethod
    def of(cls, every: EveryItem) -> "ItemSample":
        """The whole catalogue of a model of finished features; at most 15 items of one that takes raw media."""
        rows = _few(every.model, every.masks) if every.encoders else np.arange(len(every))
        return cls(rows, every.inputs(rows), every.model.item_tower.modalities, frozenset(every.encoders))

    def __len__(self) -> int:
        return len(self.rows)

    def taken(self, places: Int64) -> Arrays:
        """The inputs of some of these items."""
        return {name: np.ascontiguousarray(values[places]) for name, values in self.inputs.items()}

    def content(self, places: Int64) -> tuple[Content, dict[str, Bool]]:
        """Content and masks of some of these items, as of new ones."""
        found = self.taken(places)
        content = {}
        for name in self.modalities:
            values = [found[part] for part in content_inputs(name, name in self.media)]
            content[name] = RawClips(*values) if name in self.media else values[0]
        return content, {name: found[f"mask_{name}"] for name in self.modalities}

    @property
    def new(self) -> Int64:
        """Places of the cold items that have any content."""
        if not self.modalities:
            return np.zeros(0, np.int64)
        present = np.logical_or.reduce([self.inputs[f"mask_{name}"] for name in self.modalities])
        return np.flatnonzero((self.inputs["evidence"] <= 0) & present)


def spread(size: int, count: int) -> Int64:
    """At most `count` indices, evenly over `range(size)`."""
    return np.unique(np.linspace(0, size - 1, min(count, size)).astype(np.int64))


def _few(model: TwoTower, masks: Mapping[str, Bool]) -> Int64:
    """A few items of every sort that the tower treats differently."""
    mask_NM = np.stack(list(masks.values()), axis=1)
    cold_N = (model.item_evidence_N <= 0).cpu().numpy() & mask_NM.any(axis=1)
    lacking_N = ~mask_NM.all(axis=1)
    sorts = [np.flatnonzero(sort) for sort in (cold_N, lacking_N, ~cold_N & ~lacking_N)]
    return np.unique(np.concatenate([sort[spread(len(sort), MEDIA_ITEMS)] for sort in sorts]))


def _raw(name: str, reader: LevelReader, rows: Int64, mask: Bool, spec: AudioSpec | VideoSpec) -> Arrays:
    """Clips and valid shares, both zero where an item has no such media."""
    values = np.zeros((len(rows), *spec.shape), dtype_of(spec))
    valid = np.zeros((len(rows), spec.num_clips), np.float32)
    places = np.flatnonzero(mask[rows])
    if len(places):
        values[places], valid[places] = reader.read(rows[places])
    return dict(zip(content_inputs(name, is_media=True), (values, valid), strict=True))


def _taken(tensor: torch.Tensor, rows: Int64) -> np.ndarray:
    """Rows as float32 on the CPU; without a copy where they are all of them."""
    array: np.ndarray = tensor.detach().cpu().float().numpy()
    return array if len(rows) == len(array) else array[rows]
