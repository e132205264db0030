"""`config.pbtxt` is read with protobuf's own parser of text, over the fields of Triton's `model_config.proto` that it uses."""

from typing import Any

import onnx
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from tests.export.media_world import MediaWorld

# Names, numbers and types of model_config.proto in the repository triton-inference-server/common.
TYPES = {"TYPE_BOOL": 1, "TYPE_UINT8": 2, "TYPE_INT64": 9, "TYPE_FP16": 10, "TYPE_FP32": 11}
ONNX_TYPES = {onnx.TensorProto.FLOAT: 11, onnx.TensorProto.BOOL: 1, onnx.TensorProto.UINT8: 2}


def model_config() -> Any:
    """The message class `ModelConfig`."""
    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", package="inference", syntax="proto3")
    kinds = file.enum_type.add(name="DataType")
    kinds.value.add(name="TYPE_INVALID", number=0)
    for name, number in TYPES.items():
        kinds.value.add(name=name, number=number)
    field = descriptor_pb2.FieldDescriptorProto
    file.message_type.add(name="ModelTensorReshape").field.add(name="shape", number=1, type=field.TYPE_INT64, label=3)
    file.message_type.add(name="ModelDynamicBatching")
    for name, reshape in (("ModelInput", 5), ("ModelOutput", 5)):
        fields = file.message_type.add(name=name).field
        fields.add(name="name", number=1, type=field.TYPE_STRING, label=1)
        fields.add(name="data_type", number=2, type=field.TYPE_ENUM, type_name=".inference.DataType", label=1)
        fields.add(name="dims", number=4 if name == "ModelInput" else 3, type=field.TYPE_INT64, label=3)
        kind = ".inference.ModelTensorReshape"
        fields.add(name="reshape", number=reshape, type=field.TYPE_MESSAGE, type_name=kind, label=1)
    fields = file.message_type.add(name="ModelConfig").field
    fields.add(name="name", number=1, type=field.TYPE_STRING, label=1)
    fields.add(name="max_batch_size", number=4, type=field.TYPE_INT32, label=1)
    fields.add(name="input", number=5, type=field.TYPE_MESSAGE, type_name=".inference.ModelInput", label=3)
    fields.add(name="output", number=6, type=field.TYPE_MESSAGE, type_name=".inference.ModelOutput", label=3)
    kind = ".inference.ModelDynamicBatching"
    fields.add(name="dynamic_batching", number=11, type=field.TYPE_MESSAGE, type_name=kind, label=1)
    fields.add(name="backend", number=17, type=field.TYPE_STRING, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))


@pytest.mark.parametrize(("tower", "batch"), [("user_tower", 256), ("item_tower", 16)])
def test_the_config_is_the_graph_s_signature(media_world: MediaWorld, tower: str, batch: int) -> None:
    folder = media_world.folder / "triton" / tower
    config = text_format.Parse((folder / "config.pbtxt").read_text(), model_config()())
    assert (config.name, config.backend, config.max_batch_size) == (tower, "onnxruntime", batch)
    assert config.HasField("dynamic_batching")
    graph = onnx.load(folder / "1" / "model.onnx").graph
    for told, values in ((config.input, graph.input), (config.output, graph.output)):
        assert [one.name for one in told] == [value.name for value in values]
        for one, value in zip(told, values, strict=True):
            kind = value.type.tensor_type
            batch_axis, *axes = [axis.dim_param or axis.dim_value for axis in kind.shape.dim]
            assert batch_axis == "batch"  # Triton joins requests along the first axis
            assert one.data_type == ONNX_TYPES[kind.elem_type]
            shape = one.reshape.shape if one.HasField("reshape") else one.dims
            assert list(shape) == [-1 if isinstance(axis, str) else axis for axis in axes]
            assert one.HasField("reshape") == (not axes) and len(one.dims) > 0


def test_the_model_is_the_graph(media_world: MediaWorld) -> None:
    for tower in ("user_tower", "item_tower"):
        model = media_world.folder / "triton" / tower / "1" / "model.onnx"
        assert not model.is_symlink()  # a link would lead out of the folder that Triton is given
        assert model.read_bytes() == (media_world.folder / f"{tower}.onnx").read_bytes()
