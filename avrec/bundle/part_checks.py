"""What `verify` checks of the parts that a bundle has beside tables and graphs; each check raises what it finds.

Axes: N items.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from avrec.bundle.embedder import ItemEmbedder
from avrec.bundle.examples import replay
from avrec.bundle.history_spec import history_spec
from avrec.bundle.licences import check_licences
from avrec.bundle.parts import (
    HISTORY,
    LICENCES,
    PREPROCESSING,
    PROGRAMS,
    REQUESTS,
    SEARCH_INDEX,
    SMALLER,
    TRITON_CONFIGS,
    VECTORS,
)
from avrec.bundle.preprocessing import check_preprocessing
from avrec.bundle.program_file import check_no_pickle
from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender
from avrec.bundle.schema import ITEM_TOWER, USER_TOWER
from avrec.bundle.search_index import check_recall, recall_sample
from avrec.bundle.smaller import check_report
from avrec.bundle.towers import max_rows, open_item_tower, open_user_tower
from avrec.bundle.triton import check_triton
from avrec.bundle.zeros import item_of_zeros
from avrec.core.errors import ArtefactError, DataError
from avrec.core.files import read_json, read_table

Check = Callable[[Bundle], None]


def part_checks(bundle: Bundle) -> list[Check]:
    """The checks of the parts that this bundle has."""
    files = bundle.manifest.files
    checks: list[tuple[str, Check]] = [
        (SEARCH_INDEX, _index),
        (REQUESTS, _examples),
        (VECTORS, _vectors),
        (HISTORY, _history),
        (LICENCES, check_licences),
        (PROGRAMS[ITEM_TOWER], _programs),
        (TRITON_CONFIGS[USER_TOWER], _triton),
    ]
    found = [check for key, check in checks if key in files]
    if any(f"{name}.onnx" in files for name in SMALLER.values()):
        found.append(_smaller)
    return [*found, _preprocessing]


def _index(bundle: Bundle) -> None:
    recommender = Recommender(bundle)
    check_recall(bundle, recommender.index, recommender.user_vectors(recall_sample(bundle)))


def _examples(bundle: Bundle) -> None:
    try:
        replay(bundle, Recommender(bundle))
    except DataError as error:  # an id that the bundle does not know
        raise ArtefactError(f"{bundle.folder / REQUESTS}: {error}") from error


def _vectors(bundle: Bundle) -> None:
    path = bundle.folder / VECTORS
    table = read_table(path, ["item_id", "vector"])
    ids, vectors = table["item_id"], table["vector"].combine_chunks()
    if ids.cast(pa.large_string()) != pa.chunked_array([bundle.items.array.cast(pa.large_string())]):
        raise ArtefactError(f"{path}: other item ids than the bundle's, or in another order. Export the bundle again.")
    expected = pa.list_(pa.float32(), bundle.item_vectors.shape[1])
    if vectors.type != expected or vectors.null_count:
        raise ArtefactError(f"{path}: column 'vector' is {vectors.type}; expected {expected}. Export the bundle again.")
    values_ND = vectors.flatten().to_numpy(zero_copy_only=False).reshape(bundle.item_vectors.shape)
    if not np.array_equal(values_ND, bundle.item_vectors):
        raise ArtefactError(f"{path}: other vectors than item_vectors.npy holds. Export the bundle again.")


def _history(bundle: Bundle) -> None:
    path, expected = bundle.folder / HISTORY, history_spec(bundle.manifest)
    found = read_json(path)
    if found != expected:
        wrong = _first_difference(found, expected)
        raise ArtefactError(f"{path}: '{wrong}' does not fit the manifest. Export the bundle again.")


def _first_difference(found: Any, expected: dict[str, Any]) -> str:
    if not isinstance(found, dict):
        return "format_version"
    return min(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))


def _preprocessing(bundle: Bundle) -> None:
    for name, spec in bundle.manifest.media.items():
        file = PREPROCESSING.format(name)
        if file in bundle.manifest.files:
            check_preprocessing(bundle.folder / file, spec)


def _programs(bundle: Bundle) -> None:
    for file in PROGRAMS.values():
        check_no_pickle(bundle.folder / file)


def _triton(bundle: Bundle) -> None:
    graphs = {USER_TOWER: open_user_tower(bundle), ITEM_TOWER: open_item_tower(bundle)}
    check_triton(bundle, graphs, max_rows(bundle))


def _smaller(bundle: Bundle) -> None:
    listed = [kind for kind, name in SMALLER.items() if f"{name}.onnx" in bundle.manifest.files]
    check_report(bundle, listed)
    for kind in listed:
        embedder = ItemEmbedder.of(bundle, name=SMALLER[kind])
        try:
            embedder.embed(item_of_zeros(bundle.manifest))
        except DataError as error:
            path = bundle.folder / f"{SMALLER[kind]}.onnx"
            raise ArtefactError(f"{path}: cannot embed an item of zeros ({error})") from error
