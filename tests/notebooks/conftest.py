"""The quickstart in small: real media files and their bundle, made by the commands that the README prints."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import pytest

NUM_ITEMS, NUM_USERS = 24, 40


@dataclass(frozen=True)
class Quickstart:
    """What the commands left."""

    bundle: Path
    media: Path


def save_encoders(folder: Path) -> list[str]:
    """Two encoders with tiny random weights as folders of transformers; returns the overrides that name them."""
    transformers = pytest.importorskip("transformers")
    from tests.models.tiny_encoders import EFFICIENTNET, WHISPER, pixels

    sound = transformers.WhisperModel(transformers.WhisperConfig(**{**WHISPER, "encoder_layers": 1}))
    hearing = transformers.WhisperFeatureExtractor(feature_size=WHISPER["num_mel_bins"], chunk_length=3)
    pictures = transformers.EfficientNetModel(transformers.EfficientNetConfig(**EFFICIENTNET))
    seeing = transformers.EfficientNetImageProcessor(**pixels(32))
    for part, name in ((sound, "sound"), (hearing, "sound"), (pictures, "pictures"), (seeing, "pictures")):
        part.save_pretrained(folder / name)
    return [
        f"encoder.audio.pretrained={folder / 'sound'}",
        "encoder.audio.clip.clip_sec=1.0",
        "encoder.audio.dim=16",
        f"encoder.video.pretrained={folder / 'pictures'}",
        "encoder.video.clip={_target_: avrec.core.clips.VideoSpec, num_frames: 4, height_px: 32, width_px: 32}",
        "encoder.video.dim=16",
    ]


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Quickstart:
    """A bundle of 24 films and 40 users."""
    import torch

    from avrec.cli import main

    folder = tmp_path_factory.mktemp("quickstart")
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    words = [
        "train",
        "+experiment=quickstart",
        "run_dir=run",
        f"++data.source.num_items={NUM_ITEMS}",
        f"++data.source.num_users={NUM_USERS}",
        *save_encoders(folder / "encoders"),
        "id_dim=16",
        "fusion.num_heads=2",
        "~stages.top",
        "stages.joint.max_epochs=2",
        "baseline=[popularity]",
        "logger=none",
    ]
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        for command in (words, ["export", "ckpt=run/model.pt", "bundle_dir=run/bundle"]):
            patch.setattr("sys.argv", ["avrec", *command])
            assert main() == 0
    torch.set_num_threads(threads)
    return Quickstart(folder / "run" / "bundle", folder / "data" / "sample")
