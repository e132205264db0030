"""`verify`: everything about a bundle that can be checked again without what it was made from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avrec.bundle.embedder import ItemEmbedder
from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender
from avrec.bundle.schema import MANIFEST, PARITY
from avrec.core.errors import ArtefactError, AvrecError
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
    """Check files, tables, both graphs and the recorded parity; problems are reported, not raised.

    Args:
        folder: of the bundle.
    """
    folder = Path(folder)
    try:
        bundle = Bundle.open(folder, verify=True)
    except AvrecError as error:
        return VerifyReport(folder, 0, 0, (str(error),), ())
    records = bundle.manifest.files
    problems = [*_table_problems(bundle), *_graph_problems(bundle), *_parity_problems(folder)]
    unlisted = sorted({path.name for path in folder.iterdir()} - records.keys() - {MANIFEST})
    num_bytes = sum(record.bytes for record in records.values())
    return VerifyReport(folder, len(records), num_bytes, tuple(problems), tuple(unlisted))


def _table_problems(bundle: Bundle) -> list[str]:
    tables = {
        "item_vectors.npy": bundle.item_vectors,
        "history_vectors.npy": bundle.history_vectors,
        "user_vectors.npy": bundle.user_vectors,
    }
    problems = []
    for name, table in tables.items():
        blocks = range(0, len(table), ROWS_PER_BLOCK)
        if not all(np.isfinite(table[start : start + ROWS_PER_BLOCK]).all() for start in blocks):
            problems.append(f"{bundle.folder / name}: holds a value that is not finite. Train and export again.")
    return problems


def _graph_problems(bundle: Bundle) -> list[str]:
    users = np.unique(np.linspace(0, len(bundle.users) - 1, min(NUM_USERS, len(bundle.users))).astype(np.int64))
    try:
        vectors = Recommender(bundle).user_vectors(UserQuery.of_users(users, bundle.history))
        ItemEmbedder(bundle)
    except ArtefactError as error:
        return [str(error)]
    if not np.isfinite(vectors).all():
        return [f"{bundle.folder / 'user_tower.onnx'}: gives vectors that are not finite. Train and export again."]
    return []


def _parity_problems(folder: Path) -> list[str]:
    parity = read_json(folder / PARITY)
    if not isinstance(parity, dict) or parity.get("passed") is not True:
        return [f"{folder / PARITY}: does not say that the graphs equal PyTorch. Export the bundle again."]
    return []
