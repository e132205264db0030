"""`Factors`: the result of a factorisation, kept with what it was made from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from avrec.core.arrays import Float32
from avrec.core.errors import ArtefactError
from avrec.core.files import atomic_folder, check_format_version, read_json, read_npy, write_json, write_npy

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Factors:
    """User and item factors whose inner product is the score.

    Attributes:
        user: (U, D) float32; zeros for users without an event (BPR: only its constant last column is 1).
        item: (N, D) float32; zeros for items without an event.
        method: 'als', 'bpr' or 'svd'.
        alpha: confidence of an event is `alpha * weight` (ALS; 1 for the others).
        regularisation: lambda of the objective (0 for SVD).
        data_hash: `content_hash` of the data set whose train part was factorised.
        seed: seed of the random start.
    """

    user: Float32
    item: Float32
    method: str
    alpha: float
    regularisation: float
    data_hash: str
    seed: int

    def save(self, folder: str | Path) -> None:
        """Write `manifest.json`, `user.npy` and `item.npy`; an older folder is replaced whole."""
        with atomic_folder(folder) as draft:
            write_npy(draft / "user.npy", self.user)
            write_npy(draft / "item.npy", self.item)
            fields = ("method", "alpha", "regularisation", "data_hash", "seed")
            manifest = {"format_version": FORMAT_VERSION, "shapes": {"user": self.user.shape, "item": self.item.shape}}
            write_json(draft / "manifest.json", manifest | {name: getattr(self, name) for name in fields})

    @classmethod
    def load(cls, folder: str | Path, data_hash: str | None = None) -> Self:
        """Read a saved folder.

        Args:
            folder: what `save` wrote.
            data_hash: the data set that the factors are to be used with; not compared when None.

        Raises:
            ArtefactError: missing, damaged, of another format version, or made from other data.
        """
        folder = Path(folder)
        path = folder / "manifest.json"
        manifest = read_json(path)
        check_format_version(manifest, path, FORMAT_VERSION)
        try:
            method, found = str(manifest["method"]), str(manifest["data_hash"])
            alpha, regularisation = float(manifest["alpha"]), float(manifest["regularisation"])
            seed = int(manifest["seed"])
            shapes = {name: tuple(manifest["shapes"][name]) for name in ("user", "item")}
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"{path}: damaged ({error!r}). Factorise again.") from error
        if data_hash is not None and found != data_hash:
            raise ArtefactError(
                f"{path}: made from the data {found!r}, but used with {data_hash!r}. Factorise the data set in use."
            )
        arrays = {name: _read(folder / f"{name}.npy", shapes[name]) for name in shapes}
        return cls(arrays["user"], arrays["item"], method, alpha, regularisation, found, seed)


def _read(path: Path, shape: tuple[int, ...]) -> Float32:
    array = read_npy(path, ndim=2, mmap=False)
    if array.dtype != np.float32 or array.shape != shape:
        raise ArtefactError(
            f"{path}: {array.dtype} {array.shape}; the manifest promises float32 {shape}. Factorise again."
        )
    return array
