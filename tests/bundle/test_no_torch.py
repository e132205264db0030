import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from avrec.core.dataset import tie_order
from avrec.core.query import UserQuery
from tests.export.world import NUM_USERS, World

ROOT = Path(__file__).resolve().parents[2]

SERVE = """
import json, sys
import numpy as np
from avrec.bundle.queries import query_histories, query_users
from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender
from avrec.bundle.verify import verify

folder, out = sys.argv[1:]
served = Recommender(Bundle.open(folder))
histories = json.load(sys.stdin)
np.save(out + "/users.npy", served.score(query_users(served.bundle, [f"user {row}" for row in range(20)])))
np.save(out + "/histories.npy", served.score(query_histories(served.bundle, histories)))
if served.bundle.manifest.modalities:
    served.embed_items({"audio": np.zeros((1, 5), np.float32)})
report = verify(folder)
answers = served.for_users(["user 1"], 5) + served.for_histories(histories[:1], 5)
heavy = sorted(set(sys.modules) & {"torch", "onnx", "onnxscript", "pytorch_lightning", "scipy", "hydra"})
print(json.dumps({"heavy": heavy, "lists": [answer.item_ids for answer in answers], "ok": report.ok}))
"""


@pytest.fixture(scope="module")
def histories(world: World) -> list[list[str]]:
    known, ids = world.history, world.dataset.items
    return [ids.ids(known.item_idx[known.indptr[user] : known.indptr[user + 1]]) for user in range(NUM_USERS)]


def test_a_process_without_torch_answers_as_pytorch(world: World, histories: list[list[str]], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SERVE, str(world.folder), str(tmp_path)],
        input=json.dumps(histories),
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["heavy"] == [] and answer["ok"] is True
    query = UserQuery.of_users(np.arange(NUM_USERS), world.history)
    ones, strangers = np.ones(len(query.item_idx), np.float32), np.full(NUM_USERS, -1)
    expected = {
        "users": world.scorer.score(query),
        "histories": world.scorer.score(UserQuery(strangers, query.indptr, query.item_idx, ones, ones * 0)),
    }
    for name, scores in expected.items():
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), scores, rtol=1e-5, atol=1e-5)
    for listed, scores, row in zip(answer["lists"], expected.values(), (1, 0), strict=True):
        order = np.lexsort((tie_order(world.dataset.items), -scores[row]))
        assert listed == [item for item in world.dataset.items.ids(order) if item not in histories[row]][:5]


def test_without_onnxruntime_the_message_names_the_extra(ids_world: World, tmp_path: Path) -> None:
    program = """
import sys
sys.modules["onnxruntime"] = None
from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender
from avrec.core.errors import MissingExtraError
try:
    Recommender(Bundle.open(sys.argv[1]))
except MissingExtraError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(ids_world.folder)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "pip install 'avrec[serve]'" in done.stdout, done.stderr
