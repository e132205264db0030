"""Which nodes of an item tower's ONNX graph belong to the trunks of its encoders: where nearly all of the work is.

A weight keeps its name in PyTorch, so a node's place can be told from what it depends on: before any trunk (decoding of
levels, mel spectra, pixels), within one, or behind (heads, fusion, gate).
"""

from enum import IntEnum
from typing import Any


class Place(IntEnum):
    """Where a node stands; a node is as far as the farthest of its inputs."""

    BEFORE = 0
    TRUNK = 1
    BEHIND = 2


def places(graph: Any) -> dict[str, Place]:
    """{value: where it is computed} of every node's outputs.

    Args:
        graph: a `GraphProto`, its nodes in an order in which they can be computed.
    """
    known = {weight.name: _place_of_weight(weight.name) for weight in graph.initializer}
    found: dict[str, Place] = {}
    for node in graph.node:
        place = max((found.get(name, known.get(name, Place.BEFORE)) for name in node.input), default=Place.BEFORE)
        found |= dict.fromkeys(node.output, place)
    return found


def _place_of_weight(name: str) -> Place:
    if not name.startswith("tower."):  # a folded constant: of whoever takes it
        return Place.BEFORE
    if ".trunk." not in name:
        return Place.BEHIND
    return Place.BEFORE if ".trunk.preprocess." in name else Place.TRUNK
