"""`Tower`: one graph of a bundle as a model of the Open Inference Protocol, for callers who bring tensors of their own.

A tower holds its own session, beside the recommender's: opened when first asked for, it costs nothing until then.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from avrec.bundle.reader import Bundle
from avrec.bundle.schema import (
    ITEM_TOWER,
    USER_TOWER,
    USER_TOWER_INPUTS,
    USER_TOWER_OUTPUTS,
    item_tower_inputs,
    item_tower_outputs,
)
from avrec.bundle.session import OnnxGraph
from avrec.core.clips import VideoSpec
from avrec.serving.refusals import RefusedError

Datatype = Literal["FP32", "BOOL", "UINT8"]
TOWERS = (USER_TOWER, ITEM_TOWER)
VERSION = "1"
MAX_ROWS = 256
NUMPY: Mapping[Datatype, type] = {"FP32": np.float32, "BOOL": np.bool_, "UINT8": np.uint8}


@dataclass(frozen=True)
class TensorSpec:
    """A named tensor; an axis of free length is given by its name."""

    name: str
    datatype: Datatype
    shape: tuple[int | str, ...]


class Tower:
    """A graph with what it takes and gives.

    Args:
        bundle: an opened one.
        name: `user_tower` or `item_tower`.
    """

    def __init__(self, bundle: Bundle, name: str) -> None:
        manifest = bundle.manifest
        inputs: tuple[str, ...] = USER_TOWER_INPUTS
        outputs: tuple[str, ...] = USER_TOWER_OUTPUTS
        if name == ITEM_TOWER:
            inputs = item_tower_inputs(manifest.modalities, manifest.media)
            outputs = item_tower_outputs(manifest.modalities)
        self._graph = OnnxGraph(bundle.graph(name), bundle.folder / f"{name}.onnx", inputs, outputs)
        pictures = {f"clips_{medium}" for medium, spec in manifest.media.items() if isinstance(spec, VideoSpec)}
        self.inputs = {
            each: TensorSpec(each, _datatype(each, pictures), tuple(self._graph.input_shapes[each])) for each in inputs
        }
        dims = manifest.dims
        widths = {"history_vector": dims.history_dim, "share": len(manifest.modalities)}
        self.outputs = {each: TensorSpec(each, "FP32", ("batch", widths.get(each, dims.item_dim))) for each in outputs}

    def run(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All outputs by name.

        Raises:
            RefusedError: a tensor is missing, unknown or does not fit, or an output is not finite.
        """
        problems = [f"input {name!r} is missing" for name in self.inputs.keys() - tensors.keys()]
        problems += [
            f"input {name!r} is unknown; there are {list(self.inputs)}" for name in tensors.keys() - self.inputs.keys()
        ]
        if not problems:
            problems = self._misfits(tensors)
        if problems:
            raise RefusedError(422, "inputs: " + "; ".join(sorted(problems)) + ".")
        outputs = self._graph.run(tensors)
        if not all(np.isfinite(values).all() for values in outputs.values()):
            raise RefusedError(422, "inputs: the tower gives a vector that is not finite. Look for extreme values.")
        return outputs

    def _misfits(self, tensors: Mapping[str, np.ndarray]) -> list[str]:
        """Datatypes and shapes; axes of the same name must agree over all inputs."""
        problems, lengths = [], dict[str, int]()
        for name, spec in self.inputs.items():
            shape = tensors[name].shape
            if tensors[name].dtype != NUMPY[spec.datatype]:
                problems.append(f"input {name!r} is not of datatype {spec.datatype}")
            fits = len(shape) == len(spec.shape) and all(
                found == lengths.setdefault(axis, found) if isinstance(axis, str) else found == axis
                for axis, found in zip(spec.shape, shape, strict=True)
            )
            if not fits:
                problems.append(f"input {name!r} has shape {list(shape)}; expected {list(spec.shape)}, {lengths}")
        wrong = [axis for axis, length in lengths.items() if not 1 <= length <= MAX_ROWS]
        return problems + [f"axis {axis!r} is {lengths[axis]} long; expected 1 to {MAX_ROWS}" for axis in wrong]


def tensor(name: str, datatype: Datatype, shape: Sequence[int], data: Sequence[Any]) -> np.ndarray:
    """A tensor from JSON, its data flat in row-major order or nested.

    Raises:
        RefusedError: numbers of another kind or count than the datatype and the shape say, or not finite.
    """
    try:
        values = np.array(data)
    except (ValueError, OverflowError) as error:
        raise RefusedError(422, f"input {name!r}: data cannot be read as one array ({error}).") from None
    kinds = {"FP32": "fiu", "BOOL": "b", "UINT8": "iu"}[datatype]
    if values.size and values.dtype.kind not in kinds:
        raise RefusedError(422, f"input {name!r}: data is not all of datatype {datatype}.")
    if values.size != math.prod(shape):
        raise RefusedError(
            422, f"input {name!r}: {values.size} numbers; shape {list(shape)} asks for {math.prod(shape)}."
        )
    if datatype == "UINT8" and values.size and not 0 <= values.min() <= values.max() <= 255:
        raise RefusedError(422, f"input {name!r}: a number is outside 0 ... 255.")
    with np.errstate(over="ignore"):
        converted: np.ndarray = values.astype(NUMPY[datatype]).reshape(shape)
    if not np.isfinite(converted).all():
        raise RefusedError(422, f"input {name!r}: a number is not finite in float32.")
    return converted


def _datatype(name: str, pictures: set[str]) -> Datatype:
    if name == "mask" or name.startswith("mask_"):
        return "BOOL"
    return "UINT8" if name in pictures else "FP32"
