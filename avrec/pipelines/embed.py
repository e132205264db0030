"""`avrec embed`: every media file of a catalogue through its encoder, into the caches that training reads."""

from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from avrec.build.instantiate import instantiate
from avrec.build.model import Sizes, build_encoder, load
from avrec.core.dataset import Dataset
from avrec.core.errors import ConfigError
from avrec.models.encoders.base import RAW, MediaEncoder
from avrec.pipelines.media import print_rates
from avrec.pipelines.prepare import dataset_of_checkpoint, prepared_folder
from avrec.pipelines.prepare import load as load_prepared
from avrec.training.media_store import MediaStore, media_encoders
from avrec.training.stages import boundaries


def run(config: DictConfig) -> Path:
    """Fill the caches and print what became of the files.

    Returns:
        The folder of the caches.
    """
    torch.set_num_threads(int(config.num_threads))
    dataset, encoders = _from_checkpoint(config) if config.ckpt else _pretrained(config)
    if not encoders:
        raise ConfigError(
            f"data: '{dataset.name}' names no media files, so there is nothing to embed. Give data.media_root."
        )
    store: MediaStore = instantiate(config.media)(dataset=dataset)
    levels = boundaries(encoders, list(instantiate(config.stages).values()))
    for name, encoder in encoders.items():
        store.fill(encoder, [*(level for level in levels[name] if level != RAW), encoder.pooled_level])
        present = store.steps(encoder).present
        print(f"{name}: {int(present.sum()):,} of {dataset.num_items:,} items embedded as {encoder.feature_shape}")
    print_rates(store.rates)
    print(f"caches: {store.folder}")
    return store.folder


def _from_checkpoint(config: DictConfig) -> tuple[Dataset, dict[str, MediaEncoder]]:
    found = load(config.ckpt)
    return dataset_of_checkpoint(config, found.data_hash), media_encoders(found.model)


def _pretrained(config: DictConfig) -> tuple[Dataset, dict[str, MediaEncoder]]:
    dataset = load_prepared(prepared_folder(config), media_root=config.data.get("media_root"))
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    wanted = sorted(dataset.media) if plain["modalities"] is None else plain["modalities"]
    sizes = Sizes.of(dataset, wanted, plain["encoder"])
    encoders = {}
    for name in sizes.checkpoints:
        encoder = build_encoder(name, plain["encoder"], sizes)
        assert isinstance(encoder, MediaEncoder)
        encoder.load_pretrained()
        encoders[name] = encoder
    return dataset, encoders
