"""The towers of a bundle in ONNX Runtime."""

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

MAX_USERS, MAX_ITEMS, MAX_MEDIA_ITEMS = (
    256,
    1024,
    16,
)  # rows of one call; an encoder's activations are a hundred times its input


def open_user_tower(bundle: Bundle, num_threads: int = 1) -> OnnxGraph:
    """The user tower; `num_threads` are ONNX Runtime's within one call."""
    path = bundle.folder / f"{USER_TOWER}.onnx"
    return OnnxGraph(bundle.graph(USER_TOWER), path, USER_TOWER_INPUTS, USER_TOWER_OUTPUTS, num_threads)


def open_item_tower(bundle: Bundle, num_threads: int = 1, name: str = ITEM_TOWER) -> OnnxGraph:
    """The item tower, or by its name a smaller one (`avrec.bundle.parts.SMALLER`)."""
    manifest = bundle.manifest
    inputs = item_tower_inputs(manifest.modalities, manifest.media)
    path = bundle.folder / f"{name}.onnx"
    return OnnxGraph(bundle.graph(name), path, inputs, item_tower_outputs(manifest.modalities), num_threads)


def max_rows(bundle: Bundle) -> dict[str, int]:
    """Rows that each tower is given at once."""
    return {USER_TOWER: MAX_USERS, ITEM_TOWER: MAX_MEDIA_ITEMS if bundle.manifest.media else MAX_ITEMS}
