import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from avrec.bundle.reader import Bundle
from avrec.bundle.stand_in import StandIns
from avrec.core.dataset import tie_order
from avrec.core.query import UserQuery
from avrec.media.decode import decode
from avrec.models.encoders.base import RAW
from avrec.training.media_store import encode, media_encoders
from tests.export.media_world import MediaWorld, path
from tests.export.world import ID_DIM, NUM_USERS, World

PARTS = ("id_vectors", "content_vectors", "evidence")
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


UPLOAD = """
import json, sys
from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender

folder, media_root = sys.argv[1:]
found = Recommender(Bundle.open(folder)).embed_files({"audio": ["2.mp4"], "video": ["2.mp4"]}, media_root)
heavy = sorted(set(sys.modules) & {"torch", "torchvision", "torchaudio", "transformers", "onnx", "scipy", "hydra", "av"})
print(json.dumps({"heavy": heavy, "item": found.item_vectors.tolist(), "problems": [str(note) for note in found.problems]}))
"""


def test_a_process_without_torch_decodes_an_upload_and_embeds_it_as_pytorch(
    media_world: MediaWorld, tmp_path: Path
) -> None:
    world = media_world
    (tmp_path / "torch.py").write_text("raise ImportError('there is no torch here')")
    done = subprocess.run(
        [sys.executable, "-c", UPLOAD, str(world.folder), str(world.media_root)],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["heavy"] == [] and answer["problems"] == []
    tower, item = world.model.item_tower, 26
    steps, masks = {"text": torch.zeros(1, 5)}, {"text": torch.tensor([False])}
    for name, encoder in media_encoders(world.model).items():
        clips = decode(world.media_root / path(item), encoder.spec)
        values = clips.values.astype(np.float16) if name == "audio" else clips.values
        steps[name] = encode(encoder, values[None], clips.valid[None], RAW, encoder.pooled_level)
        masks[name] = torch.tensor([True])
    content = tower.content(steps, masks)[0].detach().numpy()
    stand_in = np.zeros((1, ID_DIM), np.float32)
    stand_in[0] = StandIns(*(getattr(Bundle.open(world.folder), part) for part in PARTS)).of(content)[0]
    nothing = torch.zeros(1)
    expected = tower(steps, masks, torch.zeros(1, ID_DIM), torch.from_numpy(stand_in), nothing, nothing)[0]
    np.testing.assert_allclose(answer["item"], expected.detach().numpy(), atol=1e-5)
