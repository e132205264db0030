"""A look into an ONNX file without the `onnx` package: does any tensor point to another file?

ONNX Runtime would follow such a pointer from the bytes of a verified graph to a file that nobody verified. The walk knows
just the messages of onnx.proto (ONNX IR) that can hold tensors and skips everything else by its length.
"""

from avrec.core.errors import ArtefactError

MAX_DEPTH = 64
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # fields of TensorProto
_CHILDREN: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}


def check_self_contained(model: bytes, path: object) -> None:
    """Refuse a serialised ONNX model whose tensors lie in other files.

    Raises:
        ArtefactError: external data, or bytes that are no ONNX model.
    """
    try:
        external = _has_external(memoryview(model), "Model", 0)
    except (ValueError, IndexError) as error:
        raise ArtefactError(f"{path}: not a readable ONNX file ({error}). Export the bundle again.") from error
    if external:
        raise ArtefactError(
            f"{path}: keeps tensors in another file (ONNX external data), which is never followed. "
            "Save the graph as one file."
        )


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number of more than 10 bytes")


def _has_external(data: memoryview, kind: str, depth: int) -> bool:
    if depth > MAX_DEPTH:
        raise ValueError(f"graphs nested deeper than {MAX_DEPTH}")
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        field, wire = key >> 3, key & 7
        if kind == "Tensor" and field == _EXTERNAL_DATA:
            return True
        if wire == _VARINT:
            value, position = _varint(data, position)
            if kind == "Tensor" and field == _DATA_LOCATION and value != 0:
                return True
            continue
        if wire == _BYTES:
            length, position = _varint(data, position)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire} at byte {position}")
        if position + length > len(data):
            raise ValueError(f"a field of {length} bytes at byte {position} of {len(data)}")
        child = _CHILDREN[kind].get(field)
        if child is not None and wire == _BYTES and _has_external(data[position : position + length], child, depth + 1):
            return True
        position += length
    return False
