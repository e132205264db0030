"""New uploads: media files to item vectors, decoded in child processes exactly as the catalogue's files were.

Axes: N items, M modalities, D embedding of the ids, C content width.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avrec.bundle.content import NewItems, RawClips
from avrec.bundle.embedder import ItemEmbedder
from avrec.bundle.towers import MAX_MEDIA_ITEMS
from avrec.core.arrays import Bool, Float32
from avrec.core.errors import AvrecError, DataError
from avrec.media.isolation import DecodePool, Job
from avrec.media.limits import Limits
from avrec.media.wire import dtype_of

Paths = Mapping[str, Sequence[str | None]]


@dataclass(frozen=True)
class FileNote:
    """What is to be said of one file.

    Attributes:
        row: of the item.
        modality: what was read from the file.
        path: as it was given.
        kind: the class of the problem (`avrec.media.problems.ProblemKind`), or `note` where the file is usable all the same.
        text: the reason.
    """

    row: int
    modality: str
    path: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"row {self.row}, {self.modality}: {self.kind}: {self.text}"


@dataclass(frozen=True)
class EmbeddedFiles:
    """The vectors of new items.

    Attributes:
        item_vectors: (N, D + 1 + C).
        history_vectors: (N, D + C).
        shares: (N, M) in the manifest's order of modalities; all zero for an item of which nothing could be read.
        problems: files that could not be used; their items are embedded without that modality.
        notes: what a person should know of files that were used, such as `short: 0.9 s of 261.7 s could be read`.
    """

    item_vectors: Float32
    history_vectors: Float32
    shares: Float32
    problems: tuple[FileNote, ...]
    notes: tuple[FileNote, ...]


def embed_files(
    embedder: ItemEmbedder,
    paths: Paths,
    media_root: str | Path,
    features: Mapping[str, Float32],
    num_workers: int,
    limits: Limits,
) -> EmbeddedFiles:
    """Decode what the manifest's specs ask for, and embed it, a block of items at a time.

    Args:
        embedder: of the bundle.
        paths: {modality: [path below `media_root`, None where the item has no such file]}; a video file may serve both.
        media_root: the folder that the paths start from.
        features: {modality: (N, F)} of the modalities that are finished features.
        num_workers: processes that decode; they start with the call, so give many files at once.
        limits: of each file.

    Raises:
        AvrecError: the bundle takes no media, or a package of the extra `decode` is not installed.
        DataError: an unknown modality, not one number of items, or features that do not fit.
    """
    num_items = _check(embedder, paths, features)
    found, problems, notes = [], list[FileNote](), list[FileNote]()
    with DecodePool(media_root, num_workers, limits, specs=embedder.manifest.media.values()) as pool:
        for start in range(0, max(num_items, 1), MAX_MEDIA_ITEMS):
            rows = range(start, min(start + MAX_MEDIA_ITEMS, num_items))
            content: dict[str, Float32 | RawClips] = {
                name: values[rows.start : rows.stop] for name, values in features.items()
            }
            masks: dict[str, Bool] = {}
            for name, clips, mask in _decoded(pool, embedder, paths, rows, problems, notes):
                content[name], masks[name] = clips, mask
            found.append(embedder.embed(content, masks))
    item, history, share = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return EmbeddedFiles(item, history, share, tuple(problems), tuple(notes))


def _check(embedder: ItemEmbedder, paths: Paths, features: Mapping[str, Float32]) -> int:
    media = embedder.manifest.media
    if not media:
        raise AvrecError("this bundle takes no media files. Give features to embed_items, or train on media.")
    lines = [
        f"modality {name!r} takes no files; those of this bundle that do are {list(media)}."
        for name in sorted(paths.keys() - media.keys())
    ]
    lines += [f"modality {name!r} takes files; give its paths." for name in sorted(features.keys() & media.keys())]
    lengths = {*map(len, paths.values()), *map(len, features.values())}
    if len(lengths) != 1:
        lines.append(f"paths and features: {sorted(lengths)} rows; expected one number of items.")
    if lines:
        raise DataError(lines)
    if features:  # as a whole, before anything is decoded
        NewItems(embedder.manifest, features, {})
    return lengths.pop()


def _decoded(
    pool: DecodePool,
    embedder: ItemEmbedder,
    paths: Paths,
    rows: range,
    problems: list[FileNote],
    notes: list[FileNote],
) -> Iterator[tuple[str, RawClips, Bool]]:
    """Each modality's clips of these items, with a mask of those that could be read; what is wrong is added to the lists."""
    for name, given in paths.items():
        spec = embedder.manifest.media[name]
        values = np.zeros((len(rows), *spec.shape), dtype_of(spec))
        valid = np.zeros((len(rows), spec.num_clips), np.float32)
        mask = np.zeros(len(rows), np.bool_)
        jobs = [Job(row, path, spec) for row in rows if (path := given[row]) is not None]
        for outcome in sorted(pool.decode(jobs), key=lambda outcome: outcome.index):
            row, path, place = outcome.index, str(given[outcome.index]), outcome.index - rows.start
            if outcome.problem is not None:
                problems.append(FileNote(row, name, path, outcome.problem.kind, str(outcome.problem)))
            if outcome.clips is not None:
                values[place], valid[place], mask[place] = outcome.clips.values, outcome.clips.valid, True
                notes += [FileNote(row, name, path, "note", text) for text in outcome.clips.notes]
        yield name, RawClips(values, valid), mask
