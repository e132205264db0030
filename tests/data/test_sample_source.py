"""`SampleSource` over files that stand already (empty ones: a source never opens them) and, once, over real ones."""

import numpy as np
import pytest

from avrec.core.errors import ArtefactError
from avrec.core.files import write_json
from avrec.data.prepare import PrepareOptions, prepare
from avrec.data.prepared import load_dataset
from avrec.data.sources.sample import SampleSource
from avrec.data.splits import GlobalTimeSplit
from avrec.media.sample.catalogue import Catalogue
from avrec.media.sample.truth import read_truth
from avrec.media.sample.writer import FORMAT_VERSION, KIND


def stand_in(folder, seed, num_items, num_users):
    """A whole sample catalogue, its files without content."""
    counts = {"seed": seed, "num_items": num_items, "num_users": num_users}
    write_json(folder / "sample.json", {"kind": KIND, "format_version": FORMAT_VERSION, **counts})
    (folder / "files").mkdir()
    for path in Catalogue(seed, num_items).paths:
        (folder / path).touch()
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return stand_in(tmp_path_factory.mktemp("sample"), 7, 320, 600)


@pytest.fixture(scope="module")
def dataset(folder, tmp_path_factory):
    target = tmp_path_factory.mktemp("prepared") / "sample"
    return load_dataset(prepare(SampleSource(folder), GlobalTimeSplit(), PrepareOptions(), target))


def test_the_end_of_the_log_meets_items_that_were_never_trained(dataset):
    cold = dataset.cold_items
    assert 0.15 <= cold.mean() <= 0.2
    assert 0.3 < cold[dataset.test.item_idx].mean() < 0.5
    assert cold[dataset.validation.item_idx].sum() >= 50
    assert len(dataset.train) + len(dataset.validation) + len(dataset.test) > 22_000


def test_popularity_is_only_mildly_skewed(dataset):
    counts = np.sort(dataset.train.item_counts)[::-1]
    assert 0.15 < counts[:32].sum() / counts.sum() < 0.3


def test_items_name_their_files_and_lack_some(dataset, folder):
    catalogue = Catalogue(7, 320)
    row = dataset.items.index(catalogue.item_ids)
    for kind, present in (("audio", catalogue.has_sound), ("video", catalogue.has_picture)):
        paths = [dataset.media[kind].paths[index] for index in row]
        expected = [path if there else None for path, there in zip(catalogue.paths, present, strict=True)]
        assert paths == expected
        assert np.array_equal(dataset.media[kind].present[row], present)
    assert dataset.media_root == str(folder)


def test_the_tables_hold_no_truth(dataset):
    assert set(dataset.item_table.column_names) >= {"released", "tags"}
    names = [*dataset.item_table.column_names, *dataset.user_table.column_names]
    assert not [name for name in names if "true" in name or "class" in name]
    assert len(dataset.social) > 600 * 4


def test_the_truth_stands_beside_the_files(dataset, folder):
    truth = read_truth(folder)
    assert set(truth.item_ids) == set(dataset.items.array.to_pylist())
    assert set(truth.user_ids) == set(dataset.users.array.to_pylist())


def test_another_seed_in_the_same_folder_is_refused(folder):
    with pytest.raises(ArtefactError, match="holds another sample catalogue: seed 7 instead of 8"):
        SampleSource(folder, seed=8).read()


def test_files_are_made_on_the_first_use_and_the_rate_is_told(tmp_path, capsys):
    pytest.importorskip("av")
    source = SampleSource(tmp_path / "new", seed=1, num_items=3, num_users=4, num_workers=1)
    raw = source.read()
    assert "sample catalogue: 3 of 3 files written, " in capsys.readouterr().out
    ids, paths = raw.media["audio"]
    assert len(ids) == len(paths) > 0
    assert all((tmp_path / "new" / path).stat().st_size > 1_000 for path in paths.to_pylist())
    again = source.read()
    assert capsys.readouterr().out == ""
    assert again.interactions.equals(raw.interactions) and again.social.equals(raw.social)
