"""Towers written as one ONNX and one TorchScript file each, without a trace of this machine."""

import io
import logging
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from avrec.bundle.program_file import check_no_pickle
from avrec.bundle.reader import MAX_GRAPH_BYTES
from avrec.core.errors import ArtefactError, require
from avrec.core.files import atomic_write
from avrec.export.graphs import TowerGraph


def export_onnx(graph: TowerGraph, path: Path, properties: Mapping[str, str]) -> None:
    """Write `graph` as one ONNX file without external data.

    PyTorch notes for each node the source lines it came from, with the folders of this machine: they are taken out.

    Args:
        graph: a tower.
        path: the file.
        properties: stored as the model's `metadata_props`.

    Raises:
        ArtefactError: the tower is too large for one file.
        MissingExtraError: the extra `export` is not installed.
    """
    num_bytes = sum(value.nbytes for value in (*graph.parameters(), *graph.buffers()))
    if num_bytes > MAX_GRAPH_BYTES:
        raise ArtefactError(
            f"{path}: the tower holds {num_bytes} bytes; one ONNX file takes at most {MAX_GRAPH_BYTES}. "
            "Train with a smaller encoder."
        )
    require("onnxscript", "export")
    onnx = require("onnx", "export")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it reports that packages no tower uses are absent
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message="# The axis name", category=UserWarning)  # inputs share `batch`
        program = torch.onnx.export(
            graph,
            graph.example(),
            dynamo=True,
            external_data=False,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=(graph.dynamic_shapes(),),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _forget_sources(model)
    onnx.helper.set_model_props(model, dict(properties))
    onnx.checker.check_model(model)
    with atomic_write(path) as file:
        file.write(model.SerializeToString(deterministic=True))


def _forget_sources(model: Any) -> None:
    for holder in (model.graph, *model.functions):
        holder.ClearField("metadata_props")
        holder.ClearField("doc_string")
        for part in (*holder.node, *holder.value_info):
            part.ClearField("metadata_props")
            part.ClearField("doc_string")
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.ClearField("metadata_props")
        value.ClearField("doc_string")


def export_torchscript(graph: TowerGraph, path: Path) -> None:
    """Write `graph` as TorchScript by tracing, which also takes modules that cannot be scripted.

    Neither the example inputs nor the debug records, which name source files of this machine, are kept.
    """
    buffer = io.BytesIO()
    with _no_jit_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]  # parity shows
        traced = torch.jit.trace(graph, graph.example(), strict=False, _store_inputs=False)
        torch.jit.save(traced, buffer)
    with zipfile.ZipFile(buffer) as whole, atomic_write(path) as file, zipfile.ZipFile(file, "w") as slim:
        for member in whole.infolist():
            if not member.filename.endswith(".debug_pkl"):
                slim.writestr(zipfile.ZipInfo(member.filename), whole.read(member))


def export_program(graph: TowerGraph, path: Path) -> None:
    """Write `graph` as a program of torch.export with a dynamic batch, without anything that loading would unpickle.

    Weights are raw bytes. Neither the example inputs, which would be pickled, nor the source lines of this machine are kept.
    """
    dynamic = tuple(dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for axes in graph.dynamic_shapes())
    program = torch.export.export(graph, graph.example(), dynamic_shapes=(dynamic,), strict=False)
    program.example_inputs = None
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="No complete tensor found"
        )  # of buffers that share memory; parity shows
        torch.export.save(program, buffer)
    with atomic_write(path) as file:
        file.write(buffer.getvalue())


def load_program(path: Path) -> nn.Module:
    """A program that `export_program` wrote; only for files that this process wrote or whose sha256 was compared.

    Raises:
        ArtefactError: it holds something that PyTorch would unpickle.
    """
    check_no_pickle(path)
    module: nn.Module = torch.export.load(str(path)).module()
    return module


def load_torchscript(path: Path) -> nn.Module:
    """A traced graph; only for files that this process wrote or whose sha256 was compared."""
    with _no_jit_warnings():
        module: nn.Module = torch.jit.load(str(path), map_location="cpu")
    return module


@contextmanager
def _no_jit_warnings() -> Iterator[None]:
    """PyTorch calls TorchScript deprecated at every use; the bundle's contract asks for it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=FutureWarning)
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
        yield
