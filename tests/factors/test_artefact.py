import json

import numpy as np
import pytest

from avrec.core.errors import ArtefactError
from avrec.core.files import write_npy
from avrec.factors.artefact import Factors


@pytest.fixture
def factors() -> Factors:
    rng = np.random.default_rng(0)
    user, item = (rng.standard_normal((rows, 3)).astype(np.float32) for rows in (4, 5))
    return Factors(user, item, "als", 5.0, 10.0, "hash-of-train", 7)


def test_what_was_saved_is_loaded(tmp_path, factors):
    factors.save(tmp_path / "factors")
    loaded = Factors.load(tmp_path / "factors", data_hash="hash-of-train")
    assert np.array_equal(loaded.user, factors.user) and np.array_equal(loaded.item, factors.item)
    assert (loaded.method, loaded.alpha, loaded.regularisation, loaded.data_hash, loaded.seed) == (
        "als", 5.0, 10.0, "hash-of-train", 7,
    )  # fmt: skip


def test_saving_twice_replaces_and_leaves_nothing_else(tmp_path, factors):
    factors.save(tmp_path / "factors")
    factors.save(tmp_path / "factors")
    assert [path.name for path in tmp_path.iterdir()] == ["factors"]
    assert sorted(path.name for path in (tmp_path / "factors").iterdir()) == ["item.npy", "manifest.json", "user.npy"]


def test_factors_of_other_data_are_refused(tmp_path, factors):
    factors.save(tmp_path)
    with pytest.raises(ArtefactError, match="made from the data 'hash-of-train', but used with 'another'"):
        Factors.load(tmp_path, data_hash="another")


def test_another_format_version_is_refused(tmp_path, factors):
    factors.save(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"format_version": 99}))
    with pytest.raises(ArtefactError, match="format version 99"):
        Factors.load(tmp_path)


@pytest.mark.parametrize("key", ["alpha", "seed", "shapes", "method"])
def test_a_manifest_without_a_key_is_damaged(tmp_path, factors, key):
    factors.save(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    del manifest[key]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtefactError, match=f"damaged.*{key}"):
        Factors.load(tmp_path)


@pytest.mark.parametrize("array", [np.zeros((4, 2), np.float32), np.zeros((4, 3)), np.zeros(12, np.float32)])
def test_an_exchanged_array_is_refused(tmp_path, factors, array):
    factors.save(tmp_path)
    write_npy(tmp_path / "user.npy", array)
    with pytest.raises(ArtefactError, match=r"user\.npy"):
        Factors.load(tmp_path)


def test_a_missing_folder_says_so(tmp_path):
    with pytest.raises(ArtefactError, match="cannot be read"):
        Factors.load(tmp_path / "nowhere")
