"""What new items bring to the item tower: finished features or raw clips, compared with the manifest before they are run.

Axes: N items, F feature dimensions, C clips of a file, S samples, T frames, H height, W width.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from avrec.bundle.schema import Manifest, content_inputs
from avrec.core.arrays import Bool, Float32
from avrec.core.clips import AudioSpec
from avrec.core.errors import DataError
from avrec.media.wire import dtype_of

MAX_FLOAT, MAX_HALF = (float(np.finfo(kind).max) for kind in (np.float32, np.float16))


class RawClips(NamedTuple):
    """The clips of several files; of one file they are `avrec.core.clips.Clips`.

    Attributes:
        values: (N, C, S) float sound or (N, C, T, H, W, 3) uint8 pictures.
        valid: (N, C) share of each clip that the file really held, above 0 and at most 1.
    """

    values: np.ndarray
    valid: Float32


Content = Mapping[str, Float32 | RawClips]


def half_precision(sound: np.ndarray) -> Float32:
    """Sound as the model heard it in training: rounded to float16, in which the caches of clips keep it, and back."""
    return sound.astype(np.float16).astype(np.float32)


class NewItems:
    """The content of new items, checked as a whole when it is made and turned into the tower's inputs block by block.

    Args:
        manifest: of the bundle.
        content: {modality: features (N, F) or clips}; a modality that is not given is missing from every item.
        masks: {modality: (N,)} true where the item has it; all true when not given.

    Raises:
        DataError: an unknown modality, another shape, type or length than the rest, or a present row is not finite.
    """

    def __init__(self, manifest: Manifest, content: Content, masks: Mapping[str, Bool]) -> None:
        self._manifest = manifest
        self._content = content
        problems = [*self._of_names(masks), *self._of_values(), *self._of_masks(masks)]
        if problems:
            raise DataError(problems)
        self.num_items = self._lengths(masks).pop()
        self._masks = {
            name: np.asarray(masks.get(name, np.full(self.num_items, name in content)), np.bool_)
            for name in manifest.modalities
        }
        problems = [line for name in content for line in self._of_rows(name)]
        if problems:
            raise DataError(problems)

    @property
    def present(self) -> Bool:
        """(N,) true where the item has any modality."""
        present: Bool = np.logical_or.reduce(list(self._masks.values()))
        return present

    def inputs(self, rows: slice) -> dict[str, np.ndarray]:
        """The item tower's inputs of these items, as of items without an id vector, a bias or training events."""
        inputs: dict[str, np.ndarray] = {}
        for name, mask in self._masks.items():
            inputs |= self._of_modality(name, rows, mask[rows]) | {f"mask_{name}": mask[rows]}
        count = len(range(*rows.indices(self.num_items)))
        no_vectors, nothing = np.zeros((count, self._manifest.dims.id_dim), np.float32), np.zeros(count, np.float32)
        return inputs | {"id_vector": no_vectors, "neighbour_vector": no_vectors, "bias": nothing, "evidence": nothing}

    def _of_modality(self, name: str, rows: slice, mask: Bool) -> dict[str, np.ndarray]:
        spec, given = self._manifest.media.get(name), self._content.get(name)
        names = content_inputs(name, spec is not None)
        if spec is None:
            width = self._manifest.feature_dims[name]
            values = np.zeros((len(mask), width)) if given is None else np.asarray(given)[rows]
            return {names[0]: _present(values, mask).astype(np.float32, copy=False)}
        sound = isinstance(spec, AudioSpec)
        if not isinstance(given, RawClips):
            values = np.zeros((len(mask), *spec.shape), dtype_of(spec))
            return {names[0]: values, names[1]: np.zeros((len(mask), spec.num_clips), np.float32)}
        values = _present(given.values[rows], mask)
        valid = _present(given.valid[rows], mask).astype(np.float32, copy=False)
        return {names[0]: half_precision(values) if sound else values, names[1]: valid}

    def _lengths(self, masks: Mapping[str, Bool]) -> set[int]:
        arrays = [
            part for given in self._content.values() for part in (given if isinstance(given, RawClips) else [given])
        ]
        return {len(array) for array in (*arrays, *masks.values())}

    def _of_names(self, masks: Mapping[str, Bool]) -> list[str]:
        problems = []
        lengths = self._lengths(masks)
        if len(lengths) != 1:
            problems.append(f"content and masks: {sorted(lengths)} rows; expected one number of items.")
        known = self._manifest.modalities
        for name in sorted((self._content.keys() | masks.keys()) - set(known)):
            problems.append(f"modality {name!r} is unknown; this bundle takes {list(known)}.")
        for name in sorted(masks.keys() - self._content.keys()):
            problems.append(f"modality {name!r} has a mask but no content. Give both.")
        return problems

    def _of_values(self) -> list[str]:
        problems = []
        for name, given in self._content.items():
            spec, width = self._manifest.media.get(name), self._manifest.feature_dims.get(name)
            if spec is not None and not isinstance(given, RawClips):
                problems.append(f"modality {name!r} comes as a {type(given).__name__}; this bundle takes RawClips.")
            elif spec is not None and isinstance(given, RawClips):
                problems += _clip_problems(name, given, spec.shape, isinstance(spec, AudioSpec))
            elif width is not None and isinstance(given, RawClips):
                problems.append(f"modality {name!r} comes as clips; this bundle takes features (items, {width}).")
            elif width is not None and np.shape(given)[1:] != (width,):
                problems.append(f"modality {name!r}: shape {np.shape(given)}; expected (items, {width}).")
        return problems

    @staticmethod
    def _of_masks(masks: Mapping[str, Bool]) -> list[str]:
        return [
            f"modality {name!r}: mask of shape {mask.shape}; expected (items,)."
            for name, mask in masks.items()
            if mask.ndim != 1
        ]

    def _of_rows(self, name: str) -> list[str]:
        given, mask = self._content[name], self._masks[name]
        if not isinstance(given, RawClips):
            return _row_problems(name, ~_within(np.asarray(given), MAX_FLOAT) & mask, "is not finite")
        wrong = ~((given.valid > 0) & (given.valid <= 1)).all(axis=1) & mask
        return [
            *_row_problems(name, wrong, "has a valid share that is not above 0 and at most 1"),
            *_row_problems(name, ~_within(given.values, MAX_HALF) & mask, f"is not finite, or above {MAX_HALF:,.0f}"),
        ]


def _row_problems(name: str, bad: Bool, what: str) -> list[str]:
    rows = np.flatnonzero(bad)
    return [f"modality {name!r} row {rows[0]} {what} ({len(rows)} such rows). Fix or mask it."] if len(rows) else []


def _clip_problems(name: str, given: RawClips, shape: tuple[int, ...], sound: bool) -> list[str]:
    problems = []
    expected = "floats, the full scale -1 to 1" if sound else "uint8"
    if not (given.values.dtype.kind == "f" if sound else given.values.dtype == np.uint8):
        problems.append(f"modality {name!r}: clips of type {given.values.dtype}; expected {expected}.")
    for what, array, row in (("clips", given.values, shape), ("valid shares", given.valid, shape[:1])):
        if array.shape[1:] != row:
            wanted = ", ".join(["items", *map(str, row)])
            problems.append(f"modality {name!r}: {what} of shape {array.shape}; expected ({wanted}).")
    return problems


def _within(values: np.ndarray, limit: float) -> Bool:
    """(N,) true where no number of the row is NaN or, in size, above `limit`; without a copy of the values."""
    axes = tuple(range(1, values.ndim))
    within: Bool = (values.min(axis=axes) >= -limit) & (values.max(axis=axes) <= limit)
    return within


def _present(values: np.ndarray, mask: Bool) -> np.ndarray:
    """Zeros where an item lacks the modality: what such a row holds must not matter, not even NaN."""
    if mask.all():
        return values
    return np.where(mask.reshape(-1, *[1] * (values.ndim - 1)), values, np.zeros((), values.dtype))
