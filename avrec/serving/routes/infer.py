"""`/v2`: the Open Inference Protocol (KServe V2) over both towers, with tensors as JSON."""

import asyncio
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

import avrec
from avrec.serving.desk import Desk
from avrec.serving.messages import Asked
from avrec.serving.refusals import REFUSALS, RefusedError, printable
from avrec.serving.towers import TOWERS, VERSION, Datatype, TensorSpec, Tower, tensor

router = APIRouter(prefix="/v2", tags=["open inference protocol"], responses=REFUSALS)
MAX_AXES = 8
Name = Annotated[str, Path(description="A tower.", json_schema_extra={"enum": list(TOWERS)})]


class InferInput(Asked):
    """A tensor, its data flat in row-major order or nested."""

    name: str
    datatype: Datatype
    shape: list[Annotated[int, Field(ge=0, le=2**31)]] = Field(max_length=MAX_AXES)
    data: list[Any]


class WantedOutput(Asked):
    """The name of an output."""

    name: str


class InferRequest(Asked):
    """Tensors for one run."""

    id: str | None = Field(default=None, max_length=512)
    inputs: list[InferInput] = Field(min_length=1, max_length=64)
    outputs: list[WantedOutput] | None = Field(
        None, max_length=8, description="Those to send back; all when not given."
    )


class OutputTensor(BaseModel):
    """A tensor, its data flat in row-major order."""

    name: str
    datatype: Literal["FP32"] = "FP32"
    shape: list[int]
    data: list[float]


class InferResponse(BaseModel):
    """What the tower gave."""

    model_config = ConfigDict(protected_namespaces=())
    model_name: str
    model_version: str = VERSION
    id: str | None = None
    outputs: list[OutputTensor]


class TensorMetadata(BaseModel):
    """A tensor of a model; -1 stands for an axis of free length."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """What a model takes and gives."""

    name: str
    versions: list[str] = [VERSION]
    platform: str = "onnx_onnxruntime"
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


@router.get("")
async def server_metadata() -> dict[str, str | list[str]]:
    """Name and version of the server."""
    return {"name": "avrec", "version": avrec.__version__, "extensions": []}


@router.get("/health/live")
async def live() -> dict[str, bool]:
    """Whether the process answers."""
    return {"live": True}


@router.get("/health/ready")
async def ready(request: Request) -> dict[str, bool]:
    """Whether all models can be asked."""
    return {"ready": Desk.at(request).batcher.alive}


async def model_metadata(name: Name, request: Request) -> ModelMetadata:
    """What a tower takes and gives."""
    tower = await _tower(request, name)
    return ModelMetadata(name=name, inputs=_metadata(tower.inputs), outputs=_metadata(tower.outputs))


async def model_ready(name: Name, request: Request) -> dict[str, bool | str]:
    """Whether a tower can be asked."""
    await _tower(request, name)
    return {"name": name, "ready": True}


async def infer(name: Name, asked: InferRequest, request: Request) -> InferResponse:
    """Run a tower."""
    tower = await _tower(request, name)
    wanted = list(tower.outputs) if asked.outputs is None else [output.name for output in asked.outputs]
    if unknown := sorted(set(wanted) - tower.outputs.keys()):
        raise RefusedError(422, f"outputs: {unknown[0]!r} is unknown; there are {list(tower.outputs)}.")
    if len({given.name for given in asked.inputs}) != len(asked.inputs):
        raise RefusedError(422, "inputs: a name occurs twice.")
    found = await asyncio.to_thread(_run, tower, asked.inputs)
    outputs = [
        OutputTensor(name=each, shape=list(found[each].shape), data=found[each].ravel().tolist()) for each in wanted
    ]
    return InferResponse(model_name=name, id=None if asked.id is None else printable(asked.id), outputs=outputs)


for prefix in ("/models/{name}", f"/models/{{name}}/versions/{VERSION}"):
    router.add_api_route(prefix, model_metadata, methods=["GET"])
    router.add_api_route(f"{prefix}/ready", model_ready, methods=["GET"])
    router.add_api_route(f"{prefix}/infer", infer, methods=["POST"])


def _run(tower: Tower, inputs: list[InferInput]) -> dict[str, np.ndarray]:
    return tower.run({given.name: tensor(given.name, given.datatype, given.shape, given.data) for given in inputs})


async def _tower(request: Request, name: str) -> Tower:
    """The tower of the bundle in force.

    Raises:
        RefusedError: there is no such model.
    """
    if name not in TOWERS:
        raise RefusedError(404, f"there is no such model; there are {list(TOWERS)}.")
    return await asyncio.to_thread(Desk.at(request).served.tower, name)


def _metadata(specs: dict[str, TensorSpec]) -> list[TensorMetadata]:
    return [
        TensorMetadata(
            name=spec.name, datatype=spec.datatype, shape=[axis if isinstance(axis, int) else -1 for axis in spec.shape]
        )
        for spec in specs.values()
    ]
