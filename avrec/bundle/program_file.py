"""A look into a `.pt2` file without PyTorch: does it hold a pickle?

`torch.export.load` unpickles whatever a program declares as pickled, without `weights_only` (torch/export/pt2_archive), and
parses shape expressions with sympy, which evaluates text. The programs of a bundle are written with raw weights, without
example inputs and custom objects, so there is nothing to unpickle; a file that holds some was made by somebody else.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

from avrec.core.errors import ArtefactError

MAX_CONFIG_BYTES = 64 * 2**20
_CONFIGS = ("_weights_config.json", "_constants_config.json")
_PLAIN = ("archive_format", "archive_version", "byteorder", ".data/version", ".data/serialization_id")


def check_no_pickle(path: Path) -> None:
    """Refuse a program that makes PyTorch unpickle anything.

    Raises:
        ArtefactError: it does, or it is no program.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            foreign = _foreign(archive)
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtefactError(f"{path}: not a readable .pt2 program ({error}). Export the bundle again.") from error
    if foreign:
        raise ArtefactError(
            f"{path}: holds {foreign}, which PyTorch would unpickle or run. Do not load it; export the bundle again."
        )


def _foreign(archive: zipfile.ZipFile) -> str | None:
    """The first entry that is neither a graph, nor raw weights, nor their description.

    Raises:
        ValueError: there is no graph.
    """
    if not any(name.partition("/")[2] == "models/model.json" for name in archive.namelist()):
        raise ValueError("no graph")
    for info in archive.infolist():
        name = info.filename.partition("/")[2]  # below the archive's own folder
        folder, _, last = name.rpartition("/")
        if name in _PLAIN or (folder == "models" and last == "model.json"):
            continue
        if folder == "data/sample_inputs" and info.file_size == 0:
            continue
        if folder in ("data/weights", "data/constants"):
            if last.endswith(_CONFIGS):
                if pickled := _pickled(archive, info):
                    return pickled
                continue
            if last.startswith(("weight_", "tensor_")):
                continue
        return name or info.filename
    return None


def _pickled(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str | None:
    if info.file_size > MAX_CONFIG_BYTES:
        raise ValueError(f"{info.filename} of {info.file_size} bytes")
    entries: dict[str, Any] = json.loads(archive.read(info))["config"]
    return next((name for name, entry in entries.items() if entry["use_pickle"] is not False), None)
