"""`verify`: everything about a bundle that can be checked again without what it was made from."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avrec.bundle.embedder import ItemEmbedder
from avrec.bundle.part_checks import Check, part_checks
from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender
from avrec.bundle.schema import ITEM_TOWER, MANIFEST, MODALITY_VECTORS, PARITY, SHARES, USER_TOWER
from avrec.bundle.zeros import item_of_zeros
from avrec.core.errors import ArtefactError, AvrecError, DataError
from avrec.core.files import read_json
from avrec.core.query import UserQuery

NUM_USERS = 256
ROWS_PER_BLOCK = 65_536


@dataclass(frozen=True)
class VerifyReport:
    """What was found.

    Attributes:
        folder: the bundle.
        num_files: files whose sha256 was compared.
        num_bytes: their length together.
        problems: what is wrong; empty for a sound bundle.
        unlisted: names in the folder that the manifest does not list; they are never opened.
    """

    folder: Path
    num_files: int
    num_bytes: int
    problems: tuple[str, ...]
    unlisted: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True without problems."""
        return not self.problems


def verify(folder: str | Path) -> VerifyReport:
    """Check files, tables, both graphs, the parts and the recorded parity; problems are reported, not raised.

    Args:
        folder: of the bundle.
    """
    folder = Path(folder)
    try:
        bundle = Bundle.open(folder, verify=True)
    except AvrecError as error:
        return VerifyReport(folder, 0, 0, (str(error),), ())
    records = bundle.manifest.files
    problems = _table_problems(bundle)
    if not problems:  # the towers run on the tables, and the parts on the towers
        problems = _failed(bundle, [_check_user_tower, _check_item_tower])
    if not problems:
        problems = _failed(bundle, part_checks(bundle))
    problems += _failed(bundle, [_check_parity])
    unlisted = sorted(_names(folder) - records.keys() - {MANIFEST})
    num_bytes = sum(record.bytes for record in records.values())
    return VerifyReport(folder, len(records), num_bytes, tuple(problems), tuple(unlisted))


def _failed(bundle: Bundle, checks: Sequence[Check]) -> list[str]:
    """What each of the checks that fail says."""
    problems = []
    for check in checks:
        try:
            check(bundle)
        except AvrecError as error:
            problems.append(str(error))
        except Exception as error:  # a file that no check foresaw is a problem of the bundle, not of the reader
            problems.append(f"{bundle.folder}: {type(error).__name__}: {error}. Export the bundle again.")
    return problems


def _names(folder: Path) -> set[str]:
    """Everything below the folder but folders, without following a link."""
    return {
        (Path(parent) / name).relative_to(folder).as_posix() for parent, _, names in os.walk(folder) for name in names
    }


def _table_problems(bundle: Bundle) -> list[str]:
    tables = {
        "item_vectors.npy": bundle.item_vectors,
        "history_vectors.npy": bundle.history_vectors,
        "user_vectors.npy": bundle.user_vectors,
        "id_vectors.npy": bundle.id_vectors,
        "content_vectors.npy": bundle.content_vectors,
        "evidence.npy": bundle.evidence,
        "history_weight.npy": bundle.history.weight,
    }
    if bundle.shares is not None:
        tables[SHARES] = bundle.shares
    for place, name in enumerate(bundle.manifest.modalities):
        if name in bundle.modality_vectors:
            tables[MODALITY_VECTORS.format(place)] = bundle.modality_vectors[name]
    tables |= bundle.newcomers.vectors
    problems = []
    for name, table in tables.items():
        blocks = range(0, len(table), ROWS_PER_BLOCK)
        if not all(np.isfinite(table[start : start + ROWS_PER_BLOCK]).all() for start in blocks):
            problems.append(f"{bundle.folder / name}: holds a value that is not finite. Train and export again.")
    return problems


def _check_user_tower(bundle: Bundle) -> None:
    users = np.unique(np.linspace(0, len(bundle.users) - 1, min(NUM_USERS, len(bundle.users))).astype(np.int64))
    vectors = Recommender(bundle).user_vectors(UserQuery.of_users(users, bundle.history))
    if not np.isfinite(vectors).all():
        path = bundle.folder / f"{USER_TOWER}.onnx"
        raise ArtefactError(f"{path}: gives vectors that are not finite. Train and export again.")


def _check_item_tower(bundle: Bundle) -> None:
    embedder = ItemEmbedder.of(bundle)
    if bundle.manifest.modalities:
        try:
            embedder.embed(item_of_zeros(bundle.manifest))
        except DataError as error:
            path = bundle.folder / f"{ITEM_TOWER}.onnx"
            raise ArtefactError(f"{path}: cannot embed an item of zeros ({error})") from error


def _check_parity(bundle: Bundle) -> None:
    path = bundle.folder / PARITY
    parity = read_json(path)
    if not isinstance(parity, dict) or parity.get("passed") is not True:
        raise ArtefactError(f"{path}: does not say that the graphs equal PyTorch. Export the bundle again.")
