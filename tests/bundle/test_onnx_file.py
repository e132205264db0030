from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from avrec.bundle.onnx_file import check_self_contained
from avrec.core.errors import ArtefactError


def external_tensor(name: str) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="secret.bin")
    return tensor


def inner_tensor(name: str) -> TensorProto:
    return numpy_helper.from_array(np.arange(3, dtype=np.float32), name)


def graph(tensor: TensorProto, nodes: list[onnx.NodeProto] | None = None) -> onnx.GraphProto:
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])
    return helper.make_graph(nodes or [helper.make_node("Identity", ["w"], ["y"])], "g", [], [output], [tensor])


def initializer(tensor: TensorProto) -> onnx.ModelProto:
    return helper.make_model(graph(tensor))


def attribute(tensor: TensorProto) -> onnx.ModelProto:
    return helper.make_model(graph(inner_tensor("w"), [helper.make_node("Constant", [], ["y"], value=tensor)]))


def subgraph(tensor: TensorProto) -> onnx.ModelProto:
    node = helper.make_node("If", ["c"], ["y"], then_branch=graph(inner_tensor("w")), else_branch=graph(tensor))
    return helper.make_model(graph(inner_tensor("w"), [node]))


def function(tensor: TensorProto) -> onnx.ModelProto:
    body = [helper.make_node("Constant", [], ["y"], value=tensor)]
    imports = [helper.make_opsetid("", 20)]
    made = helper.make_function("local", "F", [], ["y"], body, imports)
    return helper.make_model(graph(inner_tensor("w")), functions=[made])


def sparse(tensor: TensorProto) -> onnx.ModelProto:
    model = helper.make_model(graph(inner_tensor("w")))
    model.graph.sparse_initializer.add(values=tensor, indices=inner_tensor("i"), dims=[3])
    return model


@pytest.mark.parametrize("place", [initializer, attribute, subgraph, function, sparse])
def test_external_data_is_found_wherever_a_tensor_may_stand(place) -> None:
    check_self_contained(place(inner_tensor("w")).SerializeToString(), "a.onnx")
    with pytest.raises(ArtefactError, match=r"^a\.onnx: keeps tensors in another file \(ONNX external data\)"):
        check_self_contained(place(external_tensor("w")).SerializeToString(), "a.onnx")


def test_the_location_alone_or_the_flag_alone_is_enough() -> None:
    flag, location = external_tensor("w"), external_tensor("w")
    del flag.external_data[:]
    location.ClearField("data_location")
    for tensor in (flag, location):
        with pytest.raises(ArtefactError, match="external data"):
            check_self_contained(initializer(tensor).SerializeToString(), "a.onnx")


def test_what_the_onnx_package_writes_outside_is_refused(tmp_path: Path) -> None:
    big = numpy_helper.from_array(np.ones(4096, np.float32), "w")
    path = tmp_path / "a.onnx"
    onnx.save(helper.make_model(graph(big)), path, save_as_external_data=True)
    with pytest.raises(ArtefactError, match="external data"):
        check_self_contained(path.read_bytes(), path)


@pytest.mark.parametrize("data", [b"\x3a", b"\x3a\xff\xff\xff\xff\x7f", b"\x3b", b"\xff" * 12, b"\x3a\x02\x2a\x7f"])
def test_damaged_bytes_are_an_error_that_names_the_file(data: bytes) -> None:
    with pytest.raises(ArtefactError, match=r"^a\.onnx: not a readable ONNX file"):
        check_self_contained(data, "a.onnx")


def test_nesting_without_end_is_refused() -> None:
    data = b""
    for _ in range(40):  # an attribute with a graph with a node with an attribute ...
        for key in (b"\x32", b"\x2a", b"\x0a"):
            length, encoded = len(data), b""
            while True:
                encoded += bytes([length & 0x7F | (0x80 if length > 0x7F else 0)])
                length >>= 7
                if not length:
                    break
            data = key + encoded + data
    with pytest.raises(ArtefactError, match="nested deeper than 64"):
        check_self_contained(b"\x3a" + bytes([len(data) & 0x7F | 0x80, len(data) >> 7]) + data, "a.onnx")


def test_every_mutation_is_answered(ids_world) -> None:
    data = (ids_world.folder / "user_tower.onnx").read_bytes()
    draw = np.random.default_rng(0)
    for _ in range(300):
        mutated = bytearray(data[: draw.integers(1, len(data) + 1)])
        mutated[draw.integers(len(mutated))] ^= 1 << draw.integers(8)
        try:
            check_self_contained(bytes(mutated), "a.onnx")
        except ArtefactError:
            pass
