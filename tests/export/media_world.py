"""A tiny model of finished features, raw sound and raw pictures with its bundle; its last six items have real files."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import transformers

from avrec.core.clips import AudioSpec, VideoSpec
from avrec.core.dataset import Feature
from avrec.export.options import ExportOptions
from avrec.export.writer import write_bundle
from avrec.media.decode import decode
from avrec.media.sample.catalogue import Catalogue
from avrec.media.sample.encode import encoded
from avrec.models.encoders.base import RAW, MediaEncoder
from avrec.models.encoders.checkpoint import Checkpoint
from avrec.models.encoders.feature import FeatureEncoder
from avrec.models.encoders.frames import EfficientNetEncoder
from avrec.models.encoders.whisper import WhisperEncoder
from avrec.models.fusion.concatenation import ConcatenationFusion
from avrec.models.id_table import ItemTable, UserTable
from avrec.models.item_tower import ItemTower, OperatingPoint
from avrec.models.pooling import NormalizedSum
from avrec.models.two_tower import TwoTower
from avrec.models.user_tower import UserTower
from avrec.training.media_store import encode, media_encoders
from avrec.training.scorer import catalogue_features
from tests.export.world import ID_DIM, INFO, NUM_ITEMS, NUM_USERS, World, borrow_from_neighbours, make_dataset
from tests.models.tiny_encoders import EFFICIENTNET, WHISPER, enliven, media, pixels

NUM_FILES = 6
EVERYTHING = ExportOptions("ivf", programs=True, triton=True, smaller=("int8", "fp16"), smaller_max_loss=0.5)
DIM = 8
NUM_STEPS = 4
TEXT_DIM = 5


@dataclass
class Clips:
    """The clips of a catalogue, as a cache gives them."""

    present: np.ndarray
    values: np.ndarray
    valid: np.ndarray

    def read(self, idx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert self.present[idx].all(), "only what is present may be read"
        return self.values[idx], self.valid[idx]


@dataclass(frozen=True)
class MediaWorld(World):
    """A world whose content is raw media beside the finished features of a third modality."""

    clips: dict[str, Clips]
    media_root: Path

    def paths(self, name: str, items: list[int]) -> list[str | None]:
        """The files of items that have any."""
        return [path(item) if self.clips[name].present[item] else None for item in items]


def path(item: int) -> str:
    return f"{item - NUM_ITEMS + NUM_FILES}.mp4"


def write_files(folder: Path) -> None:
    folder.mkdir(parents=True)
    catalogue = Catalogue(seed=1, num_items=NUM_FILES)
    for index in range(NUM_FILES):
        (folder / f"{index}.mp4").write_bytes(encoded(catalogue.sound(index), catalogue.film(index)))


def clips_of(encoder: MediaEncoder, present: np.ndarray, folder: Path) -> Clips:
    """Made-up clips, the last ones from files, in the precision of the cache."""
    values = media(encoder, NUM_ITEMS, seed=encoder.spec.num_clips).numpy().copy()
    valid = np.random.default_rng(2).uniform(0.3, 1, (NUM_ITEMS, encoder.spec.num_clips)).astype(np.float32)
    for item in range(NUM_ITEMS - NUM_FILES, NUM_ITEMS):
        if present[item]:
            found = decode(folder / path(item), encoder.spec)
            values[item], valid[item] = found.values, found.valid
    return Clips(present, values if encoder.kind == "video" else values.astype(np.float16), valid)


def tiny_encoders() -> dict[str, torch.nn.Module]:
    """As small as they go: the cost of an export is the number of operations."""
    whisper_config = transformers.WhisperConfig(**{**WHISPER, "encoder_layers": 1}).to_dict()
    extractor = transformers.WhisperFeatureExtractor(feature_size=12, chunk_length=3).to_dict()
    extractor.pop("mel_filters", None)
    audio, video = specs()
    sound = WhisperEncoder(Checkpoint(whisper_config, extractor, "r"), "nowhere", audio, DIM, NUM_STEPS)
    stages = {"in_channels": [32, 8], "out_channels": [8, 12], "kernel_sizes": [3, 5], "strides": [1, 2]}
    stages |= {"num_block_repeats": [1, 1], "expand_ratios": [1, 2]}
    pictures_config = transformers.EfficientNetConfig(**{**EFFICIENTNET, **stages}).to_dict()
    pictures = EfficientNetEncoder(Checkpoint(pictures_config, pixels(32), "r"), "nowhere", video, DIM, NUM_STEPS)
    return {"text": FeatureEncoder(TEXT_DIM, DIM), "audio": enliven(sound), "video": enliven(pictures)}


def build_model(encoders: dict[str, torch.nn.Module], fusion: torch.nn.Module) -> TwoTower:
    """A model whose every number is random, at an operating point where every term counts."""
    torch.manual_seed(3)
    item_tower = ItemTower(encoders, fusion, ID_DIM)
    user_tower = UserTower(ID_DIM, item_tower.content_dim, NormalizedSum(0.5), NormalizedSum(0.5))
    model = TwoTower(item_tower, user_tower, ItemTable(NUM_ITEMS, ID_DIM), UserTable(NUM_USERS, ID_DIM, enabled=True))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".trunk." not in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    model.set_operating_point(OperatingPoint(2.0, 0.7, 0.4, neighbour_weight=0.3, history_smoothing=0.25))
    return model.eval()


def make_media_world(folder: Path) -> MediaWorld:
    """Features of text, sound of two clips a file, and pictures."""
    write_files(folder / "media")
    dataset = make_dataset()
    encoders = tiny_encoders()
    model = build_model(encoders, ConcatenationFusion(dict.fromkeys(encoders, DIM)))
    clips, features = {}, {"text": dataset.features["audio"]}
    for name, encoder in media_encoders(model).items():
        present = dataset.features[name].present
        clips[name] = clips_of(encoder, present, folder / "media")
        rows = np.flatnonzero(present)
        steps = np.zeros((NUM_ITEMS, *encoder.feature_shape), np.float32)
        steps[rows] = encode(encoder, *clips[name].read(rows), RAW, encoder.pooled_level)
        features[name] = Feature(steps, present)
    dataset = replace(dataset, features=features)
    with torch.no_grad():
        model.item_evidence_N.copy_(torch.from_numpy(dataset.train.item_counts))
        model.user_evidence_U.copy_(torch.from_numpy(dataset.train.user_counts))
    catalogue = catalogue_features(dataset, model.item_tower.modalities)
    borrow_from_neighbours(model, catalogue, dataset)
    bundle = write_bundle(model, catalogue, dataset, folder / "bundle", info=INFO, clips=clips, options=EVERYTHING)
    return MediaWorld(model, catalogue, dataset, bundle, clips, folder / "media")


def specs() -> tuple[AudioSpec, VideoSpec]:
    """What the world's encoders take."""
    return AudioSpec(16_000, 0.48, 2), VideoSpec(5, 24, 32)


_WORLD: list[MediaWorld] = []


def media_world_of(folder: Path) -> MediaWorld:
    """One world in a test session, wherever it is asked for first."""
    if not _WORLD:
        _WORLD.append(make_media_world(folder / "media world"))
    return _WORLD[0]
