import json
from pathlib import Path

import pytest

from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender
from avrec.core.errors import AvrecError
from avrec.export import search_index
from avrec.export.search_index import write_index
from avrec.retrieval.storage import CELLS, INDEX
from tests.export.world import World


@pytest.mark.parametrize(("kind", "found"), [("auto", "exact"), ("exact", "exact"), ("ivf", "ivf")])
def test_what_is_asked_for_is_written(attention_world: World, tmp_path: Path, kind: str, found: str) -> None:
    report = write_index(Recommender(Bundle.open(attention_world.folder)), tmp_path, kind)
    assert report["kind"] == found
    assert json.loads((tmp_path / "recall_report.json").read_text()) == report
    assert json.loads((tmp_path / "index" / INDEX).read_text())["kind"] == found
    assert (tmp_path / "index" / CELLS).exists() == (found == "ivf")
    assert ("approximate" in report["choice"]) == (kind == "ivf")
    assert set(report["recall"]) == {"recall@10", "recall@20", "recall@100"}


def test_too_few_users_to_measure_with_give_an_exact_index(
    attention_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommender = Recommender(Bundle.open(attention_world.folder))
    monkeypatch.setattr(search_index, "MAX_QUERIES", 2)
    (tmp_path / "a").mkdir()
    report = write_index(recommender, tmp_path / "a", "auto")
    assert (report["kind"], report["reason"]) == ("exact", "fewer than 3 users to measure with")
    (tmp_path / "b").mkdir()
    with pytest.raises(AvrecError, match="at least 3 users to measure"):
        write_index(recommender, tmp_path / "b", "ivf")


def test_the_choice_is_made_on_a_bounded_sample(
    attention_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    recommender = Recommender(Bundle.open(attention_world.folder))
    monkeypatch.setattr(search_index, "MAX_QUERIES", 7)
    choose = search_index.choose_index
    monkeypatch.setattr(
        search_index,
        "choose_index",
        lambda items, queries, *rest: asked.append(len(queries)) or choose(items, queries, *rest),
    )
    write_index(recommender, tmp_path, "auto")
    assert asked == [7]
