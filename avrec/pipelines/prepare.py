"""`avrec prepare`: from any log to a prepared data set, made once and found again by what went into it."""

import hashlib
import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from avrec.build.instantiate import instantiate
from avrec.core.dataset import Dataset
from avrec.core.errors import ArtefactError, ConfigError
from avrec.core.files import read_json
from avrec.data.layout import FORMAT_VERSION, MANIFEST, PARTS
from avrec.data.prepare import prepare
from avrec.data.prepared import load_dataset

RUN_FILE = "run.json"


def run(config: DictConfig) -> Path:
    """Prepare the data set of `config.data` and print what became of the log.

    Returns:
        The folder of the prepared data set.
    """
    folder = prepared_folder(config)
    manifest = read_json(folder / MANIFEST)
    print(f"prepared data set: {folder}")
    rows = [
        (f"after {step['step']}" if index else step["step"], step["rows"])
        for index, step in enumerate(manifest["lineage"])
    ]
    counts = manifest["counts"]
    for name, number in [*rows, *((part, counts[part]["rows"]) for part in PARTS)]:
        print(f"  {name:24} {number:>12,} events")
    print(
        f"  {counts['users']:,} users, {counts['items']:,} items ({counts['items_without_train']:,} without a training event)"
    )
    for kind, about in manifest.get("media", {}).items():
        print(f"  {about['items']:,} items with {kind}")
    for lines in manifest.get("missing_media", {}).values():
        print("\n".join(f"  {line}" for line in lines))
    print("".join(f"  {line}\n" for line in manifest["warnings"]), end="")
    print("next: avrec train data=prepared data.path=" + str(folder))
    return folder


def prepared_folder(config: DictConfig) -> Path:
    """The prepared data set of a configuration, made now unless it stands already.

    It stands below `data_dir` under a name that depends on source, split, options, and the sizes and times of the source's
    files. A configuration without a source names a prepared folder itself, by `data.path`.
    """
    node = config.data
    if node.get("source") is None:
        if node.get("path") is None:
            raise ConfigError("data.path: give the folder of a prepared data set (avrec prepare prints it).")
        return Path(node.path)
    plain = OmegaConf.to_container(node, resolve=True)
    assert isinstance(plain, dict)
    text = json.dumps([FORMAT_VERSION, plain, _stamps(plain)], sort_keys=True, default=str)
    folder = Path(config.data_dir) / f"{node.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    if not (folder / MANIFEST).is_file():
        print(f"preparing {node.name} into {folder}", flush=True)
        prepare(instantiate(node.source), instantiate(node.split), instantiate(node.options), folder)
    return folder


def load(folder: Path, expected_hash: str | None = None, media_root: str | None = None) -> Dataset:
    """Read a prepared data set.

    Args:
        folder: that `prepare` wrote.
        expected_hash: the content that it must have.
        media_root: where its media files stand now; where they stood at preparation when None.

    Raises:
        ArtefactError: it is not the one that `expected_hash` names.
    """
    dataset = load_dataset(folder, media_root=media_root)
    if expected_hash is not None and dataset.content_hash != expected_hash:
        raise ArtefactError(
            f"{folder}: content hash {dataset.content_hash[:12]}, but the model was trained on {expected_hash[:12]}. "
            "Give the data set of the training run: data=prepared data.path=FOLDER."
        )
    return dataset


def dataset_of_checkpoint(config: DictConfig, data_hash: str) -> Dataset:
    """The data set a checkpoint was trained on: `data.path` where given, else the one that its run recorded."""
    if config.data.get("path") is not None:
        return load(Path(config.data.path), data_hash, config.data.get("media_root"))
    record = Path(config.ckpt).parent / RUN_FILE
    if not record.is_file():
        raise ArtefactError(
            f"{record}: no such file, so the data set is not known. Give data.path=FOLDER of the prepared data set."
        )
    return load(Path(read_json(record)["prepared"]), data_hash, config.data.get("media_root"))


def _stamps(value: Any) -> list[tuple[str, int, int]]:
    """Name, size and time of every file that a configuration names, or that stands in a folder it names."""
    if isinstance(value, dict):
        return [stamp for child in value.values() for stamp in _stamps(child)]
    if isinstance(value, list):
        return [stamp for child in value for stamp in _stamps(child)]
    if not isinstance(value, str) or not value or len(value) > 4096 or "\0" in value:
        return []
    path = Path(value)
    if not path.exists():
        return []
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
