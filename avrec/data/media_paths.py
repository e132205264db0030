"""Looks at the media paths of a source: one that leads out of the media root is an error, a missing file is counted."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.core.clips import MEDIA_KINDS, MediaKind
from avrec.data.problems import Place, Problems, shown
from avrec.data.sources.base import RawData
from avrec.media.paths import resolve
from avrec.media.problems import MediaError

FORBIDDEN = (
    "expected the path of a local file below media_root: not absolute, no '..', no link that leads out, no URL, no "
    "playlist. Write such a path, or leave the cell empty."
)
MISSING = "not there below media_root, or not readable. Until it is, the item goes without it."
Outcome = str | None  # what `resolve` found wrong: a class of problem


def check_media(raw: RawData, problems: Problems) -> dict[MediaKind, list[str]]:
    """Add what is wrong with the media columns as a whole or with a path; whether a file can be decoded is not looked at.

    Returns:
        For each kind the lines that tell of missing files: the first five and how many more; none when all are there.
    """
    if not _check_columns(raw, problems):
        return {}
    assert raw.media_root is not None
    known: dict[str, Outcome] = {}
    return {
        kind: _check_paths(kind, paths, raw.media_root, raw.place(kind), known, problems)
        for kind, (_, paths) in raw.media.items()
    }


def _check_columns(raw: RawData, problems: Problems) -> bool:
    """Whether paths can be looked at: kinds, root and shapes are as the contract says."""
    before = len(problems.lines)
    for kind, (ids, paths) in raw.media.items():
        place = raw.place(kind)
        if kind not in MEDIA_KINDS:
            problems.add(place, f"media of the kind {kind!r}; expected {' or '.join(MEDIA_KINDS)}.")
        if kind in raw.features:
            problems.add(place, f"{kind!r} is a modality of features and of media. Give the features another name.")
        if len(ids) != len(paths):
            problems.add(place, f"{len(paths)} {kind} paths for {len(ids)} items. Give one for each item.")
        elif len(paths) == paths.null_count:
            problems.add(place, f"no item has a path in {kind!r}. Fill the column or drop it.")
        if len(pc.unique(ids)) < len(ids) or ids.null_count:
            problems.add(place, f"an item_id of {kind!r} is empty or occurs twice. Keep one path for each item.")
    if raw.media and (raw.media_root is None or not raw.media_root.is_dir()):
        problems.add("media_root", f"{raw.media_root} is no folder. Give the folder that the media paths start from.")
    return bool(raw.media) and len(problems.lines) == before


def _check_paths(
    kind: MediaKind, paths: pa.Array, root: Path, place: Place, known: dict[str, Outcome], problems: Problems
) -> list[str]:
    """Each distinct path is looked up once, for both kinds."""
    outcomes = [None if path is None else _outcome(root, path, known) for path in paths.to_pylist()]
    outside = np.array([outcome == "forbidden" for outcome in outcomes], np.bool_)
    missing = np.array([outcome is not None for outcome in outcomes], np.bool_) & ~outside
    problems.rows(place, kind, outside, paths, FORBIDDEN)
    if missing.sum() == len(paths) - paths.null_count:
        example = shown(paths[int(np.argmax(missing))])
        problems.add(
            place,
            f"none of the {missing.sum()} {kind} files is below {root}; the first is {example}. Check media_root.",
        )
    told = Problems()
    told.rows(place, kind, missing, paths, MISSING)
    return told.lines


def _outcome(root: Path, path: str, known: dict[str, Outcome]) -> Outcome:
    if path not in known:
        try:
            resolve(root, path)
            known[path] = None
        except MediaError as error:
            known[path] = error.kind
    return known[path]
