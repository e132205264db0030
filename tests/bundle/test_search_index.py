import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from avrec.bundle.queries import query_users
from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender
from avrec.bundle.search_index import check_recall, measured_recall
from avrec.bundle.verify import verify
from avrec.core.dataset import tie_order
from avrec.core.errors import ArtefactError, MissingExtraError
from avrec.retrieval.index import ExactIndex
from avrec.retrieval.ivf import IVFIndex
from tests.bundle.test_reader import forge
from tests.export.media_world import MediaWorld
from tests.export.world import World
from tests.retrieval.world import catalogue, naive_search, share_found


@pytest.fixture
def folder(media_world: MediaWorld, tmp_path: Path) -> Path:
    """A bundle with an approximate index."""
    return Path(shutil.copytree(media_world.folder, tmp_path / "bundle"))


class Nothing(ExactIndex):
    """Finds nothing."""

    def search(self, queries, k, seen=None, allowed_N=None):
        return np.full((len(queries), k), -1), np.full((len(queries), k), -np.inf, np.float32)


def test_lists_come_from_the_index_with_both_filters(folder: Path) -> None:
    bundle = Bundle.open(folder)
    approximate, exact, blind = (Recommender(bundle) for _ in range(3))
    exact.__dict__["index"] = ExactIndex(bundle.item_vectors, tie_order(bundle.items))
    blind.__dict__["index"] = Nothing(bundle.item_vectors)
    assert isinstance(approximate.index, IVFIndex)
    query = query_users(bundle, [f"user {row}" for row in range(20)])
    allowed = np.arange(30) % 3 > 0
    for may in (None, allowed):  # so few items are all scanned, so both find the same
        lists = approximate.recommend(query, 8, allowed=may)
        assert [one.item_ids for one in lists] == [one.item_ids for one in exact.recommend(query, 8, allowed=may)]
        assert all(len(one.item_ids) == 8 for one in lists)
    assert not {int(item.split()[1]) % 3 for one in lists for item in one.item_ids} & {0}
    assert blind.for_users(["user 1"], 5)[0].item_ids == ()


def test_an_exact_index_is_read_as_one(attention_world: World) -> None:
    recommender = Recommender(Bundle.open(attention_world.folder))
    assert isinstance(recommender.index, ExactIndex)
    report = json.loads((attention_world.folder / "recall_report.json").read_text())
    assert report["recall"] == {"recall@10": 1.0, "recall@20": 1.0, "recall@100": 1.0}
    assert (report["kind"], report["reason"], report["num_users"]) == ("exact", "fewer than 2000 items", 20)
    assert report["choice"]["exact"]["cpu_ms_alone@10"] > 0


def test_without_an_index_search_is_exact(attention_world: World) -> None:
    bundle = Bundle.open(attention_world.folder)
    files = {name: record for name, record in bundle.manifest.files.items() if not name.startswith("index/")}
    bare = replace(bundle, manifest=replace(bundle.manifest, files=files))
    assert isinstance(Recommender(bare).index, ExactIndex)


def test_without_faiss_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'avrec\[index\]'"):
        Recommender(Bundle.open(folder)).for_users(["user 1"], 5)
    assert any("avrec[index]" in problem for problem in verify(folder).problems)


def test_cells_that_the_manifest_does_not_list_are_not_opened(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = {
        name: value for name, value in manifest["files"].items() if not name.endswith(".npy") or "/" not in name
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(
        ArtefactError, match=r"index/index\.json: kind 'ivf' needs files that the manifest does not list"
    ):
        _ = Recommender(Bundle.open(folder)).index


def test_recall_below_what_is_stated_is_refused(tmp_path: Path) -> None:
    items, queries = catalogue(3000, 60)
    index = IVFIndex.build(items, queries).probing(20)
    bundle = SimpleNamespace(folder=tmp_path, item_vectors=items)
    stated = measured_recall(index, items, queries)
    true = naive_search(queries, items, 20)
    assert stated["recall@20"] == pytest.approx(share_found(index.search(queries, 20)[0], true), abs=1e-4)
    assert 0.5 < stated["recall@100"] <= stated["recall@10"] < 1
    (tmp_path / "recall_report.json").write_text(json.dumps({"recall": stated}))
    check_recall(bundle, index, queries)
    with pytest.raises(
        ArtefactError, match=r"index/index\.json: recall@10 is 0\.\d+ on the users of the report; recall_rep"
    ):
        check_recall(bundle, index.probing(2), queries)
    (tmp_path / "recall_report.json").write_text(json.dumps({"recall": stated | {"recall@100": 1.0}}))
    with pytest.raises(ArtefactError, match=r"recall@100 is .* states 1\.0\. Export the bundle again"):
        check_recall(bundle, index, queries)


@pytest.mark.parametrize("stated", [{}, {"recall@10": 2.0}, {"recall@10": "1"}, None])
def test_a_report_that_states_nothing_is_refused(folder: Path, stated: object) -> None:
    (folder / "recall_report.json").write_text(json.dumps({"recall": stated}))
    forge(folder, "recall_report.json")
    assert "recall_report.json: 'recall@10' is" in verify(folder).problems[0]
