"""One ONNX graph in ONNX Runtime."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avrec.core.errors import ArtefactError, require


class Argument(NamedTuple):
    """One input or output: its name, ONNX Runtime's name of its type, and its shape; a dynamic axis is given by its name."""

    name: str
    kind: str
    shape: tuple[int | str, ...]


class OnnxGraph:
    """A graph that takes and gives numpy arrays by name.

    Attributes:
        path: where it came from.
        arguments: the inputs, in order.
        results: the outputs, in order.

    Args:
        model: a serialised ONNX model; bytes, so that what was verified is what runs.
        path: where it came from, for messages.
        inputs: the names it must take, in order.
        outputs: the names it must give, in order.
        num_threads: threads of one call; 1 suits a server with many workers.

    Raises:
        ArtefactError: the graph does not load, or has other inputs or outputs.
        MissingExtraError: ONNX Runtime is not installed.
    """

    def __init__(
        self, model: bytes, path: str | Path, inputs: Sequence[str], outputs: Sequence[str], num_threads: int = 1
    ) -> None:
        onnxruntime = require("onnxruntime", "serve")
        self.path = path
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has no common class of its own errors
            raise ArtefactError(f"{path}: ONNX Runtime cannot load it ({error}). Export the bundle again.") from error
        self.arguments, self.results = _signature(self._session.get_inputs()), _signature(self._session.get_outputs())
        found = [[argument.name for argument in side] for side in (self.arguments, self.results)]
        if found != [list(inputs), list(outputs)]:
            raise ArtefactError(
                f"{path}: takes {found[0]} and gives {found[1]}; expected {list(inputs)} and {list(outputs)}. "
                "Export the bundle again."
            )
        self._outputs = tuple(outputs)

    @property
    def input_shapes(self) -> dict[str, list[int | str]]:
        """{name: shape}."""
        return {argument.name: list(argument.shape) for argument in self.arguments}

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All outputs by name.

        Raises:
            ArtefactError: the graph cannot take these arrays.
        """
        try:
            values = self._session.run(self._outputs, dict(arrays))
        except Exception as error:
            shapes = {name: (array.dtype.name, array.shape) for name, array in arrays.items()}
            raise ArtefactError(
                f"{self.path}: cannot run on {shapes} ({error}). Does the graph belong to this bundle?"
            ) from error
        return dict(zip(self._outputs, values, strict=True))


def _signature(side: Sequence[Any]) -> tuple[Argument, ...]:
    return tuple(Argument(argument.name, argument.type, tuple(argument.shape)) for argument in side)
