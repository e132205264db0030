"""The Open Inference Protocol: tensors in, the towers' vectors out."""

from typing import Any

import numpy as np
import pytest

from avrec.core.query import UserQuery, padded
from avrec.serving.served import Served
from tests.export.world import FEATURE_DIMS, ID_DIM
from tests.serving.asking import Asker

USER = "/v2/models/user_tower"
ITEM = "/v2/models/item_tower"


def named(name: str, values: np.ndarray, flat: bool = True) -> dict[str, Any]:
    datatype = {"f": "FP32", "b": "BOOL", "u": "UINT8"}[values.dtype.kind]
    data = values.ravel().tolist() if flat else values.tolist()
    return {"name": name, "datatype": datatype, "shape": list(values.shape), "data": data}


def tensors(served: Served, users: list[int]) -> dict[str, np.ndarray]:
    query = UserQuery.of_users(np.array(users), served.bundle.history)
    history = padded(query, served.bundle.manifest.max_history_items)
    return {
        "user_vector": np.asarray(served.bundle.user_vectors[users]),
        "history_vectors": served.bundle.history_vectors[history.item_idx],
        "weights": history.weight,
        "ages": history.age_days,
        "mask": history.mask,
    }


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("path", [USER, f"{USER}/versions/1"])
def test_the_user_tower_as_the_recommender_runs_it(asker: Asker, served: Served, path: str, flat: bool) -> None:
    users = [1, 5, 19]
    given = [named(name, values, flat) for name, values in tensors(served, users).items()]
    reply = asker.post(f"{path}/infer", {"id": "seven", "inputs": given[::-1]})
    assert reply.status == 200, reply.body
    expected = served.recommender.user_vectors(UserQuery.of_users(np.array(users), served.bundle.history))
    assert (reply.json["model_name"], reply.json["model_version"], reply.json["id"]) == ("user_tower", "1", "seven")
    [vector] = reply.json["outputs"]
    assert (vector["name"], vector["datatype"], vector["shape"]) == ("vector", "FP32", list(expected.shape))
    np.testing.assert_allclose(np.reshape(vector["data"], vector["shape"]), expected, rtol=1e-6)


def item_tensors(num_items: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(1)
    given: dict[str, np.ndarray] = {}
    for name, width in FEATURE_DIMS.items():
        given[f"feature_{name}"] = draw.standard_normal((num_items, width)).astype(np.float32)
        given[f"mask_{name}"] = np.ones(num_items, np.bool_)
    nothing = np.zeros((num_items, ID_DIM), np.float32)
    return given | {"id_vector": nothing, "neighbour_vector": nothing, "bias": nothing[:, 0], "evidence": nothing[:, 0]}


def test_the_item_tower_with_chosen_outputs(asker: Asker, served: Served) -> None:
    given = item_tensors(3)
    message = {
        "inputs": [named(*each) for each in given.items()],
        "outputs": [{"name": "share"}, {"name": "history_vector"}],
    }
    outputs = asker.post(f"{ITEM}/infer", message).json["outputs"]
    _, history, share = served.recommender.embed_items({name: given[f"feature_{name}"] for name in FEATURE_DIMS})
    assert [output["name"] for output in outputs] == ["share", "history_vector"]
    np.testing.assert_allclose(np.reshape(outputs[0]["data"], outputs[0]["shape"]), share, rtol=1e-5)
    vectors = np.reshape(outputs[1]["data"], outputs[1]["shape"])
    np.testing.assert_allclose(vectors[:, ID_DIM:], history[:, ID_DIM:], rtol=1e-5)


def test_metadata_says_what_infer_takes(asker: Asker, served: Served) -> None:
    for path, given in ((USER, tensors(served, [1])), (ITEM, item_tensors(1))):
        for found in (asker.get(path).json, asker.get(f"{path}/versions/1").json):
            assert found["versions"] == ["1"] and found["platform"] == "onnx_onnxruntime"
            listed = {each["name"]: (each["datatype"], len(each["shape"])) for each in found["inputs"]}
            assert listed == {name: (named(name, values)["datatype"], values.ndim) for name, values in given.items()}
            assert all(each["shape"][0] == -1 for each in found["inputs"])
        outputs = asker.post(f"{path}/infer", {"inputs": [named(*each) for each in given.items()]}).json["outputs"]
        assert [(each["name"], [-1, *each["shape"][1:]]) for each in outputs] == [
            (each["name"], each["shape"]) for each in found["outputs"]
        ]
        assert asker.get(f"{path}/ready").json == {"name": path[11:], "ready": True}
    assert asker.get("/v2").json["name"] == "avrec" and asker.get("/v2/health/ready").json == {"ready": True}


def changed(**change: Any) -> Any:
    """A change of the first input, `weights`."""
    return lambda inputs: [inputs[0] | change, *inputs[1:]]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda inputs: inputs[1:], "input 'weights' is missing"),
        (lambda inputs: [*inputs, inputs[0]], "a name occurs twice"),
        (changed(name="other"), "input 'other' is unknown; there are ['user_vector'"),
        (changed(shape=[5, 2]), "6 numbers; shape [5, 2] asks for 10."),
        (changed(shape=[3, 2]), "input 'weights' has shape [3, 2]; expected ['batch', 'length']"),
        (changed(datatype="UINT8", data=[1] * 6), "input 'weights' is not of datatype FP32"),
        (changed(shape=[2**31, 2**31]), "numbers; shape [2147483648, 2147483648]"),
        (changed(shape=[-1, 2]), "inputs.0.shape.0: Input should be greater than or equal to 0"),
        (changed(shape=[1] * 9), "inputs.0.shape: List should have at most 8 items"),
        (changed(shape=[0], data=[]), "input 'weights' has shape [0]; expected ['batch'"),
        (changed(shape=[1], data=[1.0]), "input 'weights' has shape [1]"),
        (changed(shape=[2, 1], data=[1.0, 2.0]), "input 'weights' has shape [2, 1]"),
        (changed(data=[[1.0], [2.0, 3.0]]), "data cannot be read as one array"),
        (changed(shape=[1], data=["1.0"]), "data is not all of datatype FP32"),
        (changed(shape=[1], data=[None]), "data is not all of datatype FP32"),
        (changed(shape=[1], data=[{}]), "data is not all of datatype FP32"),
        (changed(shape=[1], data=[True]), "data is not all of datatype FP32"),
        (changed(shape=[1], data=[10**40]), "data is not all of datatype FP32"),
        (changed(shape=[1], data=[1e39]), "a number is not finite in float32"),
        (changed(shape=[1], data=[float("nan")]), "a number is not finite in float32"),
        (changed(datatype="FP64"), "inputs.0.datatype: Input should be 'FP32', 'BOOL' or 'UINT8'"),
        (changed(datatype="UINT8", shape=[1], data=[256]), "a number is outside 0 ... 255"),
        (changed(datatype="UINT8", shape=[1], data=[-1]), "a number is outside 0 ... 255"),
        (changed(datatype="BOOL", shape=[1], data=[1]), "data is not all of datatype BOOL"),
        (changed(parameters={"a": 1}), "inputs.0.parameters: Extra inputs are not permitted"),
    ],
)
def test_tensors_that_do_not_fit(asker: Asker, served: Served, change: Any, text: str) -> None:
    given = tensors(served, [1])
    inputs = [named(name, given[name]) for name in ("weights", *sorted(given.keys() - {"weights"}))]
    reply = asker.post(f"{USER}/infer", {"inputs": change(inputs)})
    assert reply.status == 422 and text in reply.json["error"], reply.body


def test_a_batch_has_a_limit_and_an_output_a_name(asker: Asker, served: Served) -> None:
    given = {name: np.repeat(values, 257, axis=0) for name, values in item_tensors(1).items()}
    reply = asker.post(f"{ITEM}/infer", {"inputs": [named(*each) for each in given.items()]})
    assert reply.status == 422 and "is 257 long; expected 1 to 256" in reply.json["error"]
    message = {"inputs": [named(*each) for each in item_tensors(1).items()], "outputs": [{"name": "vector"}]}
    assert (
        "outputs: 'vector' is unknown; there are ['item_vector'" in asker.post(f"{ITEM}/infer", message).json["error"]
    )
    assert (
        "there is no such model; there are ['user_tower', 'item_tower']" in asker.get("/v2/models/other").json["error"]
    )


def test_what_comes_out_must_be_finite(asker: Asker, served: Served) -> None:
    given = tensors(served, [1])
    given["weights"] = np.full_like(given["weights"], 3e38)
    given["history_vectors"] = given["history_vectors"] * np.float32(1e30)
    reply = asker.post(f"{USER}/infer", {"inputs": [named(*each) for each in given.items()]})
    assert reply.status == 422 and "gives a vector that is not finite" in reply.json["error"]
