"""An index on disk: plain `.npy` arrays and JSON beside the item vectors, never a file of FAISS.

Reading FAISS's own format means trusting a C++ parser with strangers' bytes. What was learned is small (two maps, the centres
and the cell of each item), and filling the lists anew takes less than a second for 100,000 items.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from avrec.core.arrays import Float32, Int64
from avrec.core.errors import ArtefactError
from avrec.core.files import check_format_version, read_json, read_npy, write_json, write_npy
from avrec.retrieval.index import ExactIndex, Index
from avrec.retrieval.ivf import IVFIndex
from avrec.retrieval.projection import WIDTH_STEP, Projection

FORMAT_VERSION = 1
INDEX = "index.json"
CELLS, CENTRES = "index_cells.npy", "index_centres.npy"
ITEM_MEAN, ITEM_MAP, QUERY_MAP = "index_item_mean.npy", "index_item_map.npy", "index_query_map.npy"
AGAIN = "Choose the index again."


def save_index(folder: str | Path, index: ExactIndex | IVFIndex, report: Mapping[str, Any]) -> tuple[str, ...]:
    """Write an index into a folder that may hold other things; the item vectors are not written.

    Args:
        folder: for example the draft of a bundle.
        index: what to write.
        report: of `choose_index`, kept beside it.

    Returns:
        The names of the files.
    """
    folder = Path(folder)
    plain: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "num_items": index.num_items,
        "dim": int(index.item_vectors.shape[1]),
        "report": dict(report),
    }
    if isinstance(index, ExactIndex):
        write_json(folder / INDEX, plain | {"kind": "exact"})
        return (INDEX,)
    arrays: dict[str, np.ndarray] = {
        CELLS: index.cell_N.astype(np.int32),
        CENTRES: index.centres_LR,
        ITEM_MEAN: index.projection.item_mean,
        ITEM_MAP: index.projection.item_map,
        QUERY_MAP: index.projection.query_map,
    }
    for name, array in arrays.items():
        write_npy(folder / name, array)
    write_json(folder / INDEX, plain | {"kind": "ivf", "nprobe": index.nprobe})
    return (INDEX, *arrays)


def load_index(
    folder: str | Path, item_vectors: Float32, tie_order: Int64 | None = None
) -> tuple[Index, dict[str, Any]]:
    """Read what `save_index` wrote and check it against the vectors.

    Args:
        folder: that holds the files.
        item_vectors: (N, D), possibly memory-mapped; they stay where they are.
        tie_order: see `Index`.

    Returns:
        The index and the report.

    Raises:
        ArtefactError: a file is missing, damaged, of another version, or does not fit the vectors or the other files.
        MissingExtraError: the index is approximate and the extra `index` is not installed.
    """
    path = Path(folder) / INDEX
    plain = read_json(path)
    check_format_version(plain, path, FORMAT_VERSION)
    kind, report = plain.get("kind"), plain.get("report")
    if kind not in ("exact", "ivf") or not isinstance(report, dict):
        raise ArtefactError(f"{path}: kind {kind!r} and a report; expected 'exact' or 'ivf' and a mapping. {AGAIN}")
    found, expected = (plain.get("num_items"), plain.get("dim")), item_vectors.shape
    if found != expected:
        raise ArtefactError(f"{path}: made for item vectors of shape {found}; these have {expected}. {AGAIN}")
    if kind == "exact":
        return ExactIndex(item_vectors, tie_order), report
    return _read_ivf(Path(folder), plain.get("nprobe"), item_vectors, tie_order), report


def _read_ivf(folder: Path, nprobe: object, item_vectors: Float32, tie_order: Int64 | None) -> IVFIndex:
    num_items, dim = item_vectors.shape
    centres = read_npy(folder / CENTRES, ndim=2, mmap=False)
    num_cells, width = centres.shape
    if not 1 <= width <= dim + WIDTH_STEP or not 1 <= num_cells <= num_items:
        raise ArtefactError(
            f"{folder / CENTRES}: {num_cells} cells of width {width} for {num_items} items of width {dim}. {AGAIN}"
        )
    mean = _floats(folder / ITEM_MEAN, (dim,))
    maps = [_floats(folder / name, (dim, width)) for name in (ITEM_MAP, QUERY_MAP)]
    centres = _floats(folder / CENTRES, (num_cells, width))
    cells = read_npy(folder / CELLS, ndim=1, mmap=False)
    if cells.dtype != np.int32 or len(cells) != num_items or not 0 <= cells.min() <= cells.max() < num_cells:
        raise ArtefactError(
            f"{folder / CELLS}: {cells.dtype} ({len(cells)},) from {cells.min(initial=0)} to {cells.max(initial=0)}; "
            f"expected int32 ({num_items},) from 0 to {num_cells - 1}. {AGAIN}"
        )
    if type(nprobe) is not int or not 1 <= nprobe <= num_cells:
        raise ArtefactError(f"{folder / INDEX}: nprobe is {nprobe!r}; expected 1 to {num_cells}. {AGAIN}")
    return IVFIndex(item_vectors, tie_order, Projection(mean, *maps), centres, cells, nprobe)


def _floats(path: Path, shape: tuple[int, ...]) -> Float32:
    array = read_npy(path, ndim=len(shape), mmap=False)
    if array.dtype != np.float32 or array.shape != shape:
        raise ArtefactError(f"{path}: {array.dtype} {array.shape}; expected float32 {shape}. {AGAIN}")
    if not np.isfinite(array).all():
        raise ArtefactError(f"{path}: holds a value that is not finite. {AGAIN}")
    return array
