"""`avrec export`: from a model file to a bundle that serving loads without PyTorch."""

from pathlib import Path

import torch
from omegaconf import DictConfig

from avrec.build.model import load
from avrec.core.files import read_json
from avrec.export.writer import BundleInfo, write_bundle
from avrec.pipelines.media import media_store
from avrec.pipelines.prepare import dataset_of_checkpoint
from avrec.training.media_store import media_encoders, with_steps
from avrec.training.scorer import catalogue_features


def run(config: DictConfig) -> Path:
    """Export `config.ckpt` at the operating point `config.calibration` into `config.bundle_dir`.

    Returns:
        The bundle's folder.
    """
    torch.set_num_threads(int(config.num_threads))
    found = load(config.ckpt, config.calibration)
    dataset = dataset_of_checkpoint(config, found.data_hash)
    store = media_store(config, dataset, found.model)
    dataset = with_steps(dataset, found.model, store)
    clips = {name: store.clips(encoder) for name, encoder in media_encoders(found.model).items()} if store else {}
    metrics_file = Path(config.ckpt).parent / "metrics.json"
    metrics = read_json(metrics_file) if metrics_file.is_file() else {}
    numbers = {name: value for name, value in metrics.items() if "/" in name and isinstance(value, float)}
    info = BundleInfo(found.seed, found.config, str(config.calibration), numbers)
    catalogue = catalogue_features(dataset, found.model.item_tower.modalities)
    folder = write_bundle(found.model, catalogue, dataset, config.bundle_dir, info=info, clips=clips)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"bundle: {folder} ({size / 2**20:.1f} MiB)\nnext: avrec recommend bundle_dir={folder} user=USER_ID")
    return folder
