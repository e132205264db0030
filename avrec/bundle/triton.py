"""A Triton model repository: `triton/<tower>/config.pbtxt` beside a copy of the graph.

A copy and not a link: Triton is given the folder `triton` alone, mounted into a container or put into an object store, and a
link would lead out of it. The format is that of `ModelConfig` in Triton's `model_config.proto`, as protobuf text.
"""

from collections.abc import Sequence

from avrec.bundle.parts import TOWERS, TRITON_CONFIGS, TRITON_MODELS
from avrec.bundle.reader import Bundle
from avrec.bundle.session import Argument, OnnxGraph
from avrec.core.errors import ArtefactError

MAX_CONFIG_BYTES = 2**20
_TYPES = {
    "tensor(float)": "TYPE_FP32",
    "tensor(float16)": "TYPE_FP16",
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(int64)": "TYPE_INT64",
}


def triton_config(name: str, graph: OnnxGraph, max_batch: int) -> str:
    """`config.pbtxt` of one tower.

    Args:
        name: of the model and its folder.
        graph: whose signature it describes; the first axis of everything is the batch.
        max_batch: rows that Triton may join to one call.
    """
    blocks = [_arguments("input", graph.arguments), _arguments("output", graph.results)]
    head = [f'name: "{name}"', 'backend: "onnxruntime"', f"max_batch_size: {max_batch}", "dynamic_batching { }"]
    return "\n".join([*head, *blocks]) + "\n"


def _arguments(side: str, arguments: Sequence[Argument]) -> str:
    return f"{side} [\n" + ",\n".join(map(_argument, arguments)) + "\n]"


def _argument(argument: Argument) -> str:
    dims = [size if isinstance(size, int) else -1 for size in argument.shape[1:]]
    lines = [f'name: "{argument.name}"', f"data_type: {_TYPES[argument.kind]}"]
    # Triton wants at least one dimension beside the batch; an input of one number a row is given as one of length 1.
    lines += [f"dims: [ {', '.join(map(str, dims))} ]"] if dims else ["dims: [ 1 ]", "reshape: { shape: [ ] }"]
    return "  {\n" + "\n".join(f"    {line}" for line in lines) + "\n  }"


def check_triton(bundle: Bundle, graphs: dict[str, OnnxGraph], max_batch: dict[str, int]) -> None:
    """Compare both configs with the graphs' signatures, and both models with the graphs.

    Args:
        bundle: an opened one.
        graphs: the bundle's own, by tower.
        max_batch: by tower.

    Raises:
        ArtefactError: a config says something else than the graph, or a model is another graph.
    """
    files = bundle.manifest.files
    for tower in TOWERS:
        if files[TRITON_MODELS[tower]].sha256 != files[f"{tower}.onnx"].sha256:
            raise ArtefactError(f"{bundle.folder / TRITON_MODELS[tower]}: not the graph {tower}.onnx. Export again.")
        path = bundle.folder / TRITON_CONFIGS[tower]
        expected = triton_config(tower, graphs[tower], max_batch[tower]).encode()
        if files[TRITON_CONFIGS[tower]].bytes > MAX_CONFIG_BYTES or path.read_bytes() != expected:
            raise ArtefactError(f"{path}: does not describe the graph {tower}.onnx. Export the bundle again.")
