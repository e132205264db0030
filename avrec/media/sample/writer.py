"""Writes a sample catalogue into a folder, in parallel, and takes up again what was interrupted."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

from avrec.core.errors import ArtefactError
from avrec.core.files import atomic_write, read_json, write_json
from avrec.media.sample.catalogue import Catalogue
from avrec.media.sample.truth import FOLDER, TABLE, write_truth
from avrec.media.sample.users import Audience

FORMAT_VERSION = 1
KIND = "avrec sample catalogue"
MANIFEST = "sample.json"

Progress = Callable[[int, int], None]
"""Told how many files stand of how many that were missing."""


def write_sample(audience: Audience, folder: str | Path, num_workers: int = 2, progress: Progress | None = None) -> int:
    """Bring a folder to the state of a whole sample catalogue: one MP4 an item, and the truth.

    Every file appears whole or not at all, so what stands is kept and only what is missing is written.

    Args:
        audience: the items and their users.
        folder: new, empty, or holding the same sample, whole or half-written.
        num_workers: processes that write; 1 writes in this process.
        progress: told after each file.

    Returns:
        The number of files that were written.

    Raises:
        ArtefactError: the folder holds something else.
        MissingExtraError: PyAV is not installed.
    """
    folder = Path(folder)
    _claim(audience, folder)
    catalogue = audience.catalogue
    missing = [index for index, path in enumerate(catalogue.paths) if not (folder / path).is_file()]
    for count, _ in enumerate(_written(catalogue, folder, missing, num_workers), start=1):
        if progress is not None:
            progress(count, len(missing))
    if not (folder / FOLDER / TABLE).is_file():
        write_truth(audience, folder)
    return len(missing)


def write_item(catalogue: Catalogue, folder: Path, index: int) -> None:
    """Write the file of one item, atomically."""
    content = catalogue.file_bytes(index)
    with atomic_write(folder / catalogue.paths[index]) as file:
        file.write(content)


def _written(catalogue: Catalogue, folder: Path, indices: list[int], num_workers: int) -> Iterator[None]:
    """Write the files of some items; yields after each."""
    write = partial(write_item, catalogue, folder)
    if num_workers <= 1 or len(indices) <= 1:
        yield from map(write, indices)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the locks of whatever threads run here
    with ProcessPoolExecutor(min(num_workers, len(indices)), context, _leave_with_parent) as pool:
        tasks = [pool.submit(write, index) for index in indices]
        try:
            for task in as_completed(tasks):
                yield task.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _leave_with_parent() -> None:
    """End this process when its parent is gone, killed perhaps: a pool's workers would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _claim(audience: Audience, folder: Path) -> None:
    """Say in the folder's manifest what it is going to hold, or check that it already says so."""
    manifest = {
        "kind": KIND,
        "format_version": FORMAT_VERSION,
        "seed": audience.catalogue.seed,
        "num_items": audience.catalogue.num_items,
        "num_users": audience.num_users,
    }
    if not folder.exists() or not any(folder.iterdir()):
        write_json(folder / MANIFEST, manifest)
        return
    found: Any = read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else None
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise ArtefactError(
            f"{folder}: exists and is no sample catalogue, so nothing is written there. Choose another folder."
        )
    differing = [
        f"{key} {found.get(key)!r} instead of {value!r}" for key, value in manifest.items() if found.get(key) != value
    ]
    if differing:
        raise ArtefactError(
            f"{folder}: holds another sample catalogue: {', '.join(differing)}. Choose another folder, or delete it."
        )
