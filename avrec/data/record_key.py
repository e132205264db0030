"""What a record cache holds is told by its key; a cache of another key is refused, naming the entries that differ."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avrec.core.errors import ArtefactError
from avrec.core.files import check_format_version, file_lock, read_json, write_json

KIND = "avrec record cache"
FORMAT_VERSION = 1
MAX_SHOWN = 8
NOTHING = "nothing"


def claim(path: Path, lock: Path, key: Mapping[str, Any]) -> None:
    """Write the key of a new cache, or compare it with the one that stands.

    Args:
        path: the key's file.
        lock: held while a key is written, so that two first comers agree.
        key: plain values; order does not matter, tuples equal lists.

    Raises:
        ArtefactError: the cache was made for another key, or is no cache of this version.
    """
    asked = json.loads(json.dumps(key, allow_nan=False))
    if not path.exists():
        with file_lock(lock):
            if not path.exists():
                write_json(path, {"kind": KIND, "format_version": FORMAT_VERSION, "key": asked})
                return
    found = read_json(path)
    if not isinstance(found, dict) or found.get("kind") != KIND or not isinstance(found.get("key"), dict):
        raise ArtefactError(f"{path}: not the key of an {KIND}. Give another folder.")
    check_format_version(found, path, FORMAT_VERSION)
    lines = differences(found["key"], asked)
    if lines:
        more = f"; {len(lines) - MAX_SHOWN} more" if len(lines) > MAX_SHOWN else ""
        raise ArtefactError(
            f"{path}: this cache is stale, made for another key: {'; '.join(lines[:MAX_SHOWN])}{more}. Give another folder, or "
            "delete this one."
        )


def differences(found: object, asked: object) -> list[str]:
    """One line for each entry that differs, by its dotted path."""
    there, here = _flat(found, ""), _flat(asked, "")
    return [
        f"{name} is {there.get(name, NOTHING)} there, {here.get(name, NOTHING)} is asked"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name)
    ]


def _flat(value: object, path: str) -> dict[str, str]:
    """Leaves as JSON text by dotted path."""
    if isinstance(value, dict) and value:
        leaves: dict[str, str] = {}
        for name, child in value.items():
            leaves |= _flat(child, f"{path}.{name}" if path else str(name))
        return leaves
    return {path: json.dumps(value, ensure_ascii=False)}
