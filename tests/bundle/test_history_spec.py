import json

import numpy as np
import onnxruntime

from avrec.bundle.queries import query_users
from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender
from tests.export.world import World


def test_inputs_made_by_the_specification_alone_give_the_bundle_s_vectors(world: World) -> None:
    """A client in a loop, with nothing of avrec but the file, the tables and the graph."""
    spec = json.loads((world.folder / "history.json").read_text())
    tables = {name: np.load(world.folder / f"{name}.npy") for name in ("user_vectors", "history_vectors")}
    bundle = Bundle.open(world.folder)
    query = query_users(bundle, [f"user {row}" for row in range(19)])
    graph = onnxruntime.InferenceSession((world.folder / "user_tower.onnx").read_bytes())
    assert {argument.name for argument in graph.get_inputs()} == spec["inputs"].keys()
    for argument in graph.get_inputs():
        told = spec["inputs"][argument.name]
        assert argument.shape == told["shape"] and {"float32": "float", "bool": "bool"}[told["dtype"]] in argument.type
    expected = Recommender(bundle).user_vectors(query)
    lengths = np.diff(query.indptr)
    assert lengths.max() > spec["max_items"] > lengths.min()
    for row in range(19):
        events = list(range(query.indptr[row], query.indptr[row + 1]))[-spec["max_items"] :]
        padding = 2
        inputs = {
            "user_vector": tables["user_vectors"][[row]],
            "history_vectors": np.stack(
                [tables["history_vectors"][query.item_idx[event]] for event in events]
                + [tables["history_vectors"][7]] * padding
            )[None],
            "weights": np.array([[query.weight[event] for event in events] + [spec["padding"]["weights"]] * padding]),
            "ages": np.array([[query.age_days[event] for event in events] + [spec["padding"]["ages"]] * padding]),
            "mask": np.array([[True] * len(events) + [spec["padding"]["mask"]] * padding]),
        }
        inputs = {name: value.astype(spec["inputs"][name]["dtype"]) for name, value in inputs.items()}
        np.testing.assert_allclose(graph.run(None, inputs)[0][0], expected[row], rtol=1e-4, atol=1e-5)
