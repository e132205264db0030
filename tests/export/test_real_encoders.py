"""From media files through real pretrained encoders to a bundle that embeds an upload; prints what it cost."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender
from avrec.bundle.verify import verify
from avrec.core.clips import AudioSpec, VideoSpec
from avrec.core.dataset import MediaColumn
from avrec.export.writer import write_bundle
from avrec.media.sample.catalogue import Catalogue
from avrec.media.sample.encode import encoded
from avrec.models.encoders.base import MediaEncoder
from avrec.models.encoders.checkpoint import read_checkpoint
from avrec.models.encoders.frames import EfficientNetEncoder
from avrec.models.encoders.whisper import WhisperEncoder
from avrec.models.fusion.attention import AttentionFusion
from avrec.training.media_store import MediaStore, with_steps
from avrec.training.scorer import catalogue_features
from tests.export.media_world import build_model
from tests.export.world import INFO, NUM_ITEMS, borrow_from_neighbours, make_dataset
from tests.models.wheel_weights import converted

pytestmark = pytest.mark.slow

DIM = 64
COLD = [26, 27, 28]


def real_encoders() -> dict[str, MediaEncoder]:
    """Whisper tiny.en and EfficientNet-Lite0 as `conf/encoder` has them."""
    made = {}
    for name, kind, weights, clip in (
        ("audio", WhisperEncoder, "whisper-tiny.en", AudioSpec()),
        ("video", EfficientNetEncoder, "efficientnet-lite0", VideoSpec()),
    ):
        pretrained = converted(weights)
        made[name] = kind(read_checkpoint(pretrained), pretrained, clip, DIM)
        made[name].load_pretrained()
    return made


@pytest.mark.timeout(900)
def test_real_encoders_serve_uploads_without_torch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoders = real_encoders()
    sample = Catalogue(seed=1, num_items=NUM_ITEMS)
    (tmp_path / "media").mkdir()
    for item in range(NUM_ITEMS):
        (tmp_path / "media" / f"{item}.mp4").write_bytes(encoded(sample.sound(item), sample.film(item)))
    dataset = make_dataset()
    media = {
        name: MediaColumn(tuple(f"{row}.mp4" if there else None for row, there in enumerate(feature.present)))
        for name, feature in dataset.features.items()
    }
    dataset = replace(dataset, features={}, media=media, media_root=str(tmp_path / "media"))
    model = build_model(encoders, AttentionFusion(dict.fromkeys(encoders, DIM)))
    with torch.no_grad():
        model.item_evidence_N.copy_(torch.from_numpy(dataset.train.item_counts))
        model.user_evidence_U.copy_(torch.from_numpy(dataset.train.user_counts))
    store = MediaStore(dataset, folder=tmp_path / "caches")
    dataset = with_steps(dataset, model, store)
    for name, encoder in encoders.items():
        feature = dataset.features[name]
        encoder.preprocess.learn(torch.from_numpy(feature.values[feature.present]).flatten(0, 1))
    catalogue = catalogue_features(dataset, model.item_tower.modalities)
    borrow_from_neighbours(model, catalogue, dataset)
    clips = {name: store.clips(encoder) for name, encoder in encoders.items()}
    began, cpu = time.monotonic(), time.process_time()
    folder = write_bundle(model, catalogue, dataset, tmp_path / "bundle", info=INFO, clips=clips)
    seconds, cpu_seconds = time.monotonic() - began, time.process_time() - cpu
    shutil.rmtree(tmp_path / "caches")

    parity = json.loads((folder / "parity.json").read_text())
    assert parity["passed"] is True and parity["equal_new_items"] == parity["num_new_items"] == 3
    assert verify(folder).ok
    served = Recommender(Bundle.open(folder))
    paths = {name: [media[name].paths[item] for item in COLD] for name in media}
    began = time.monotonic()
    found = served.embed_files(paths, tmp_path / "media")
    embedding = time.monotonic() - began
    assert found.problems == ()
    largest = np.abs(served.bundle.item_vectors[COLD]).max()
    error = float(np.abs(found.item_vectors - served.bundle.item_vectors[COLD]).max() / largest)
    assert error < 1e-4
    sizes = {file.name: file.stat().st_size / 2**20 for file in folder.iterdir()}
    with capsys.disabled():
        print(
            f"\nreal encoders: exported in {seconds:.0f} s ({cpu_seconds:.0f} s of CPU), bundle {sum(sizes.values()):.1f} MiB "
            f"(item_tower.onnx {sizes['item_tower.onnx']:.1f}, item_tower.pt {sizes['item_tower.pt']:.1f}); relative errors "
            f"{parity['relative_error']}; {len(COLD)} files decoded and embedded in {embedding:.1f} s, off by {error:.1e}"
        )
