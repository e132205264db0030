"""Checks of plain values that came with a manifest; each error names the manifest and the key."""

import re
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avrec.core.errors import ArtefactError


@dataclass(frozen=True)
class FileRecord:
    """What the manifest promises of one file."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class PlainReader:
    """The checks, for one manifest.

    Attributes:
        path: of the manifest, for messages.
    """

    path: str | Path

    def error(self, key: str, found: object, expected: str) -> ArtefactError:
        """What is wrong with a key, what would be right, and what to do."""
        return ArtefactError(f"{self.path}: '{key}' is {found!r}; expected {expected}. Export the bundle again.")

    def typed(self, key: str, value: Any, kind: type) -> Any:
        """`value`, which must be of exactly this type; a whole number will do for a float."""
        number = kind is float and type(value) is int
        if type(value) is not kind and not number:
            raise self.error(key, value, f"a value of type {kind.__name__}")
        return value

    def mapping(self, key: str, value: Any, kind: type, optional: bool = False) -> dict[str, Any]:
        """A mapping whose values are of one type, or with `optional` null."""
        found: dict[str, Any] = self.typed(key, value, dict)
        for name, item in found.items():
            if not (optional and item is None):
                self.typed(f"{key}.{name}", item, kind)
        return found

    def listed(self, key: str, value: Any) -> list[str]:
        """A list of distinct texts."""
        names: list[str] = self.typed(key, value, list)
        for name in names:
            self.typed(key, name, str)
        if len(set(names)) != len(names):
            raise self.error(key, names, "distinct names")
        return names

    def positive(self, key: str, counts: Mapping[str, int], or_zero: Collection[str] = ()) -> None:
        """Refuse counts below 1, or below 0 for the names in `or_zero`."""
        for name, count in counts.items():
            if count < 0 or (count == 0 and name not in or_zero):
                raise self.error(f"{key}.{name}", count, "a positive number")

    def keys(self, key: str, value: Mapping[str, Any], expected: Set[str]) -> None:
        """Refuse a mapping whose keys are not exactly the expected ones."""
        if set(value) != expected:
            missing, unknown = sorted(expected - set(value)), sorted(set(value) - expected)
            raise ArtefactError(
                f"{self.path}: '{key}' lacks {missing} and has unknown {unknown}. Export the bundle again."
            )

    def files(self, value: Any) -> dict[str, FileRecord]:
        """The records of the bundle's files; a name that could lead out of the folder is refused."""
        records = {}
        for name, record in self.typed("files", value, dict).items():
            if not re.fullmatch(r"([A-Za-z0-9_-]+/){0,3}[A-Za-z0-9_]+\.[a-z0-9]+", name):
                raise self.error("files", name, "a file below the bundle's folder")
            self.keys(f"files.{name}", self.typed(f"files.{name}", record, dict), {"sha256", "bytes"})
            sha256 = self.typed(f"files.{name}.sha256", record["sha256"], str)
            size = self.typed(f"files.{name}.bytes", record["bytes"], int)
            if not re.fullmatch(r"[0-9a-f]{64}", sha256):
                raise self.error(f"files.{name}.sha256", sha256, "64 hexadecimal digits")
            records[name] = FileRecord(sha256, size)
        return records
