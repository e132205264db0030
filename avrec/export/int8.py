"""Dynamic int8: the linear layers of encoders with whole-number weights, for CPUs."""

import logging
from pathlib import Path
from typing import Any

from avrec.core.errors import ConfigError, require
from avrec.export.region import Place, places


def write_int8(source: Path, target: Path) -> None:
    """Write a copy of an item tower whose encoders multiply in int8.

    Weights are rounded to 8 bits by output channel, activations by tensor while it runs (ONNX Runtime's
    `quantize_dynamic`). With one scale for a whole weight, Whisper's content vectors turn seven times as far.

    Args:
        source: the item tower as ONNX.
        target: the file to write.

    Raises:
        ConfigError: no encoder of the tower has a linear layer.
        MissingExtraError: the extra `export` is not installed.
    """
    quantization = require("onnxruntime.quantization", "export")
    names = linear_layers(require("onnx", "export").load(source).graph)
    if not names:
        raise ConfigError("smaller: int8 finds no linear layer in an encoder of this item tower. Leave int8 out.")
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)  # it advises, at every call, to look for shapes that the exporter wrote already
    try:
        quantization.quantize_dynamic(
            str(source), str(target), op_types_to_quantize=["MatMul", "Gemm"], nodes_to_quantize=names, per_channel=True
        )
    finally:
        logger.setLevel(before)


def linear_layers(graph: Any) -> list[str]:
    """Names of the products with a weight matrix inside a trunk; attention's own products have none."""
    found = places(graph)
    matrices = {weight.name for weight in graph.initializer if len(weight.dims) == 2}
    return [
        node.name
        for node in graph.node
        if node.op_type in ("MatMul", "Gemm") and found[node.output[0]] == Place.TRUNK and node.input[1] in matrices
    ]
