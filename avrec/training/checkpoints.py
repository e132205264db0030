"""Lightning checkpoints through our own door: written atomically, read without pickle."""

import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import CheckpointIO

from avrec.core.errors import ArtefactError
from avrec.core.files import atomic_write


class AtomicCheckpointIO(CheckpointIO):
    """Writes next to the target, flushes and renames; Lightning's own writes to the system's temporary folder."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write `checkpoint`."""
        with atomic_write(Path(path)) as file:
            torch.save(checkpoint, file)

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read tensors and plain values only.

        Raises:
            ArtefactError: the file is missing, damaged or holds other objects.
        """
        return load_tensors(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a checkpoint that a better one replaces."""
        Path(path).unlink(missing_ok=True)


def load_tensors(path: Path) -> dict[str, Any]:
    """Read a dictionary of tensors and plain values from `path`, onto the CPU, never unpickling anything else.

    Raises:
        ArtefactError: the file is missing, damaged or holds other objects.
    """
    _refuse_compressed(path)
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: no such file. Give the path of a model.pt that `train.py` wrote.") from error
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if type(error).__name__ == "UnpicklingError":  # torch goes on to say how to load it all the same
            reason = "it is none, or it holds Python objects, which are never loaded"
        raise ArtefactError(
            f"{path}: not readable as a checkpoint of tensors ({reason}). Train again or use another file."
        ) from error
    if not isinstance(value, dict):
        raise ArtefactError(f"{path}: holds a {type(value).__name__}, not a checkpoint. Use another file.")
    return value


def _refuse_compressed(path: Path) -> None:
    """PyTorch stores tensors uncompressed; a compressed entry can only be there to expand in memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            packed = [entry.filename for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED]
    except (OSError, zipfile.BadZipFile):
        return  # `torch.load` says what is wrong
    if packed:
        raise ArtefactError(
            f"{path}: the entry {packed[0]} is compressed, which no checkpoint of PyTorch is. Use another file."
        )
