"""fp16: encoders in half precision, for GPUs; everything before and behind them stays in float32.

Mel spectra hold numbers of 1e-10, which half precision does not know, and the heads' sums are what is compared: so a cast
stands at each border of the trunks. The converters of onnxconverter-common and of ONNX Runtime cast around every node that
they are told to leave alone, so that its numbers still go through half precision, and gave NaN for Whisper.
"""

from pathlib import Path
from typing import Any

import numpy as np

from avrec.core.errors import ConfigError, require
from avrec.core.files import atomic_write
from avrec.export.region import Place, places

_LARGEST = float(np.finfo(np.float16).max)


def write_half(source: Path, target: Path) -> None:
    """Write a copy of an item tower whose encoders compute in half precision; its inputs and outputs are the same.

    Args:
        source: the item tower as ONNX.
        target: the file to write.

    Raises:
        ConfigError: the tower has no encoder.
        MissingExtraError: the extra `export` is not installed.
    """
    onnx = require("onnx", "export")
    model = onnx.load(source)
    if Place.TRUNK not in places(model.graph).values():
        raise ConfigError("smaller: fp16 finds no encoder in this item tower. Leave fp16 out.")
    _Halver(onnx, model).convert()
    onnx.checker.check_model(model)
    with atomic_write(target) as file:
        file.write(model.SerializeToString(deterministic=True))


class _Halver:
    """Converts one model in place."""

    def __init__(self, onnx: Any, model: Any) -> None:
        self.onnx = onnx
        self.graph = model.graph
        self.places = places(self.graph)
        self.weights = {weight.name: weight for weight in self.graph.initializer}
        inferred = onnx.shape_inference.infer_shapes(model).graph
        single = onnx.TensorProto.FLOAT
        values = (*inferred.value_info, *inferred.input, *inferred.output)
        self.floats = {value.name for value in values if value.type.tensor_type.elem_type == single}
        self.floats |= {name for name, weight in self.weights.items() if weight.data_type == single}
        self.made: dict[str, Any] = {}  # nodes and weights that were added, by the value they give

    def convert(self) -> None:
        """Rewrite nodes, casts at the borders, and weights."""
        nodes: list[Any] = []
        for node in self.graph.node:
            is_half = self.places[node.output[0]] == Place.TRUNK
            for place, name in enumerate(node.input):
                if name in self.floats and is_half != self._is_half(name):
                    node.input[place] = self._other(name, is_half, nodes)
            if is_half:
                self._retype(node)
            nodes.append(node)
        del self.graph.node[:]
        self.graph.node.extend(nodes)
        del self.graph.value_info[:]
        used = {name for node in nodes for name in node.input}
        kept = [weight for weight in (*self.graph.initializer, *self._made_weights()) if weight.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)

    def _is_half(self, name: str) -> bool:
        """Whether a value is computed in half precision; a weight is not until it is asked for."""
        return self.places.get(name) == Place.TRUNK

    def _other(self, name: str, to_half: bool, nodes: list[Any]) -> str:
        """The name of a float value in the other precision, made when it is first asked for."""
        other = f"{name}_{'half' if to_half else 'single'}"
        if other not in self.made:
            if name in self.weights:
                array = self.onnx.numpy_helper.to_array(self.weights[name])
                half = np.clip(array, -_LARGEST, _LARGEST).astype(np.float16)
                self.made[other] = self.onnx.numpy_helper.from_array(half, other)
            else:
                kind = self.onnx.TensorProto.FLOAT16 if to_half else self.onnx.TensorProto.FLOAT
                self.made[other] = self.onnx.helper.make_node("Cast", [name], [other], name=f"cast_{other}", to=kind)
                nodes.append(self.made[other])
        return other

    def _retype(self, node: Any) -> None:
        """Where a node says itself that it gives float32, let it say float16."""
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == self.onnx.TensorProto.FLOAT:
                attribute.i = self.onnx.TensorProto.FLOAT16
            if attribute.name == "value" and attribute.t.data_type == self.onnx.TensorProto.FLOAT:
                array = self.onnx.numpy_helper.to_array(attribute.t).astype(np.float16)
                attribute.t.CopyFrom(self.onnx.numpy_helper.from_array(array))

    def _made_weights(self) -> list[Any]:
        return [made for made in self.made.values() if isinstance(made, self.onnx.TensorProto)]
