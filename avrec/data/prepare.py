"""`prepare`: source, checks, filters, split and finisher, from any log to a prepared data set."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from avrec.core.errors import ArtefactError
from avrec.core.files import read_json
from avrec.data.engine import SplitLog, split_log
from avrec.data.finisher import finish, write
from avrec.data.layout import KIND, MANIFEST
from avrec.data.numbering import Numbered, number
from avrec.data.options import PrepareOptions
from avrec.data.sources.base import RawData, Source
from avrec.data.splits import Split
from avrec.data.validation import check

__all__ = ["PrepareOptions", "prepare"]


def prepare(source: Source, split: Split, options: PrepareOptions, folder: str | Path) -> Path:
    """Turn a source into a prepared data set.

    Every user and item of the source's tables stays in the catalogue, those without any event too, unless a named filter
    removed them; each filter's count stands in `manifest.json`. So do the media files that were not there, which stop
    nothing: each costs its item one modality.

    Args:
        source: reads the log.
        split: assigns train, validation and test.
        options: filters and weights.
        folder: where the data set is written; an older prepared data set there is replaced once the new one is complete.

    Returns:
        The folder.

    Raises:
        DataError: something is wrong with the data; every problem of every table is listed.
        ArtefactError: `folder` holds something that is not a prepared data set.
    """
    folder = Path(folder)
    _check_target(folder)
    raw = source.read()
    missing_media = check(raw, options, split)
    rows_read = len(raw.interactions)
    raw, numbered, split = split.placed(raw, number(raw, options))
    ignored_split = not split.needs_given and raw.interactions["split"].null_count < rows_read
    raw = replace(raw, interactions=raw.interactions.slice(0, 0))  # the text columns are the largest thing in memory
    log = split_log(numbered, split, options)
    manifest = _manifest(raw, numbered, log, rows_read) | {"split": split.describe(), "options": options.describe()}
    manifest["split"]["given_split_ignored"] = ignored_split
    if raw.media_root is not None:
        manifest |= {"media_root": str(raw.media_root.absolute()), "missing_media": missing_media}
    write(finish(raw, numbered, log), manifest, folder)
    return folder


def _check_target(folder: Path) -> None:
    """Never replace a folder that somebody else filled."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        manifest = read_json(folder / MANIFEST)
    except ArtefactError:
        manifest = None
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
        raise ArtefactError(
            f"{folder}: exists and is no prepared data set, so it is not replaced. Choose another folder."
        )


def _manifest(raw: RawData, numbered: Numbered, log: SplitLog, rows_read: int) -> dict[str, Any]:
    """What was read and what became of it, step by step."""
    rows = rows_read
    steps: list[dict[str, Any]] = [{"step": "read", "rows": rows}]
    for removed in log.filters:
        rows -= removed.rows
        steps.append({"step": removed.name, "setting": removed.setting, "rows": rows})
    assert rows == len(log.events), "a filter has miscounted"
    return {
        "name": raw.name,
        "source": dict(raw.origin),
        "filters": [asdict(removed) for removed in log.filters],
        "behaviours": {name: dict(about) for name, about in numbered.behaviours.items()},
        "added": {"users": numbered.added_users, "items": numbered.added_items},
        "lineage": steps,
    }
