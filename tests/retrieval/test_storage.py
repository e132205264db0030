import json

import numpy as np
import pytest

from avrec.core.errors import ArtefactError
from avrec.retrieval.index import ExactIndex
from avrec.retrieval.ivf import IVFIndex
from avrec.retrieval.storage import CELLS, CENTRES, INDEX, ITEM_MAP, ITEM_MEAN, QUERY_MAP, load_index, save_index
from tests.retrieval.world import catalogue

REPORT = {"kind": "ivf", "approximate": {"recall@10": 0.99}}


@pytest.fixture(scope="module")
def world():
    items, queries = catalogue(800, 60)
    ties = np.random.default_rng(0).permutation(800)
    return items, queries, ties, IVFIndex.build(items, queries, ties).probing(5)


@pytest.fixture
def folder(world, tmp_path):
    save_index(tmp_path, world[3], REPORT)
    return tmp_path


def test_an_index_that_was_read_back_answers_the_same(world, folder):
    items, queries, ties, index = world
    found, report = load_index(folder, items, ties)
    assert report == REPORT
    assert found.nprobe == 5
    for mine, theirs in zip(found.search(queries, 20), index.search(queries, 20), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted([INDEX, CELLS, CENTRES, ITEM_MEAN, ITEM_MAP, QUERY_MAP])  # no file of FAISS


def test_an_exact_index_is_a_line_of_json(world, tmp_path):
    items, queries, ties, _ = world
    assert save_index(tmp_path, ExactIndex(items, ties), {"kind": "exact"}) == (INDEX,)
    found, report = load_index(tmp_path, items, ties)
    assert isinstance(found, ExactIndex)
    assert report == {"kind": "exact"}
    np.testing.assert_array_equal(found.search(queries, 9)[0], ExactIndex(items, ties).search(queries, 9)[0])


def test_other_vectors_are_refused(world, folder):
    with pytest.raises(ArtefactError, match=r"made for item vectors of shape \(800, 20\); these have \(799, 20\)"):
        load_index(folder, world[0][1:])


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("format_version", 2, "format version 2; this avrec reads version 1"),
        ("kind", "faiss", "kind 'faiss'"),
        ("report", [], "a mapping"),
        ("nprobe", 0, "nprobe is 0; expected 1 to 113"),
        ("nprobe", True, "nprobe is True"),
        ("nprobe", 114, "nprobe is 114"),
        ("num_items", "800", "shape"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(world, folder, key, value, text):
    plain = json.loads((folder / INDEX).read_text())
    (folder / INDEX).write_text(json.dumps(plain | {key: value}))
    with pytest.raises(ArtefactError, match=text):
        load_index(folder, world[0])


def spoilt(array, how):
    array = array.copy()
    if how == "type":
        return array.astype(np.float64 if array.dtype == np.float32 else np.int64)
    if how == "shape":
        return array[:-1]
    if how == "flat":
        return array.reshape(-1) if array.ndim > 1 else array[None]
    array.flat[3] = {"high": 113, "low": -1, "nan": np.nan, "inf": np.inf}[how]
    return array


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *((CELLS, how) for how in ("type", "shape", "flat", "high", "low")),
        *(
            (name, how)
            for name in (CENTRES, ITEM_MEAN, ITEM_MAP, QUERY_MAP)
            for how in ("type", "shape", "flat", "nan", "inf")
        ),
    ],
)
def test_arrays_that_do_not_fit_never_reach_native_code(world, folder, name, how):
    np.save(folder / name, spoilt(np.load(folder / name), how))
    with pytest.raises(ArtefactError, match=r"index_\w+\.npy: "):
        load_index(folder, world[0])


@pytest.mark.parametrize("name", [INDEX, CELLS, CENTRES, ITEM_MEAN, ITEM_MAP, QUERY_MAP])
@pytest.mark.parametrize("how", ["missing", "truncated", "empty"])
def test_damaged_files_are_named(world, folder, name, how):
    data = (folder / name).read_bytes()
    (folder / name).unlink()
    if how != "missing":
        (folder / name).write_bytes(data[: len(data) // 2] if how == "truncated" else b"")
    with pytest.raises(ArtefactError, match=name):
        load_index(folder, world[0])
