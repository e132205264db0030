"""`Display`: what a page shows of the items beside their ids: titles, tags, and where their media files stand."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from avrec.bundle.schema import ITEM_IDS
from avrec.core.clips import MediaKind
from avrec.core.errors import ArtefactError
from avrec.core.files import read_table

TITLE = "title"
TAGS = "tags"
PATHS: Mapping[MediaKind, str] = {"video": "video_path", "audio": "audio_path"}


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


@dataclass(frozen=True)
class Display:
    """Columns of a bundle's `items.parquet`, each absent where the data set had nothing of the kind.

    Attributes:
        columns: `title` and the paths as texts, `tags` as lists of texts; row = item_idx.
    """

    columns: Mapping[str, pa.ChunkedArray]

    @classmethod
    def read(cls, folder: Path) -> "Display":
        """The columns of an opened bundle.

        Raises:
            ArtefactError: a column holds something else than texts.
        """
        path = folder / ITEM_IDS
        table = read_table(path)
        found = {name: table[name] for name in (TITLE, TAGS, *PATHS.values()) if name in table.column_names}
        for name, column in found.items():
            kind, is_list = column.type, pa.types.is_list(column.type)
            if is_list != (name == TAGS) or not is_text(kind.value_type if is_list else kind):
                expected = "lists of texts" if name == TAGS else "texts"
                raise ArtefactError(f"{path}: column '{name}' is {kind}; expected {expected}. Export the bundle again.")
        return cls(found)

    @property
    def kinds(self) -> tuple[MediaKind, ...]:
        """The kinds of media that items name files of."""
        return tuple(kind for kind, name in PATHS.items() if name in self.columns)

    def title(self, item_idx: int) -> str | None:
        """What people call the item."""
        return self._text(TITLE, item_idx)

    def tags(self, item_idx: int) -> list[str]:
        """Its tags, those that most people gave first."""
        found = self.columns[TAGS][item_idx].as_py() if TAGS in self.columns else None
        return [tag for tag in found or () if tag]

    def path(self, kind: MediaKind, item_idx: int) -> str | None:
        """Its file, relative to the media root."""
        return self._text(PATHS[kind], item_idx)

    def _text(self, name: str, item_idx: int) -> str | None:
        if name not in self.columns:
            return None
        text: str | None = self.columns[name][item_idx].as_py()
        return text or None
