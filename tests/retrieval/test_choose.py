import json

import numpy as np
import pytest

from avrec.core.errors import AvrecError, MissingExtraError
from avrec.retrieval import choose
from avrec.retrieval.choose import Goals, choose_index, recall
from avrec.retrieval.index import ExactIndex
from avrec.retrieval.ivf import IVFIndex
from tests.retrieval.world import catalogue, naive_search, share_found


@pytest.fixture(scope="module")
def world():
    return catalogue(4000, 330)


@pytest.fixture
def clock(monkeypatch):
    """CPU time by what is measured: seconds of an exact and of an approximate search."""
    costs = {ExactIndex: 1.0, IVFIndex: 0.1}

    def cpu_sec(call, runs=3):
        while not hasattr(call, "__self__"):
            call = call.func
        return costs[type(call.__self__)]

    monkeypatch.setattr(choose, "_cpu_sec", cpu_sec)
    return costs


def test_takes_the_approximate_index_where_it_pays_and_reports_what_others_can_check(world, clock):
    items, queries = world
    ties = np.random.default_rng(0).permutation(4000)
    index, report = choose_index(items, queries, ties)
    assert report["kind"] == "ivf"
    assert report["reason"] == "10.0 times the throughput of exact search, 10.0 times its speed for a single query"
    assert isinstance(index, IVFIndex)
    assert index.tie_order is ties
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    mine = report["approximate"]
    assert mine["recall@10"] >= 0.99 and mine["recall@100"] >= 0.95
    assert mine["nprobe"] == index.nprobe < index.num_cells == mine["num_cells"]
    assert (report["num_items"], report["dim"], report["num_queries"]) == (4000, 20, 110)
    assert report["exact"]["recall@100"] == 1.0
    assert report["exact"]["cpu_ms_in_batch@10"] == round(1e3 / 110, 5)
    found, _ = index.search(queries, 10)
    assert share_found(found, naive_search(queries, items, 10, tie_order=ties)) > 0.985


def test_fewer_cells_would_not_have_reached_the_goals(world):
    items, queries = world
    index, how = choose._tuned(items, queries, None, Goals(), 0)
    before = index.nprobe - max(1, (index.nprobe - 1) // 5)
    true = naive_search(queries, items, 100)
    recalls = [recall(index.probing(before - 1).search(queries, k)[0], true[:, :k]) for k in (10, 100)]
    assert any(share < goal for share, goal in zip(recalls, Goals().tuned(), strict=True))
    assert how["nprobe"] == index.nprobe


def test_recall_is_reported_on_queries_that_taught_nothing(world, clock, monkeypatch):
    taught = []
    original = choose._tuned

    def tuned(item_vectors, queries, *rest):
        taught.append(queries)
        return original(item_vectors, queries, *rest)

    measured = []
    monkeypatch.setattr(choose, "_tuned", tuned)
    monkeypatch.setattr(
        choose,
        "_measured",
        lambda index, queries, truth: (
            measured.append(queries)
            or {"recall@10": 1.0, "recall@100": 1.0, "cpu_ms_in_batch@10": 1.0, "cpu_ms_alone@10": 1.0}
        ),
    )
    choose_index(*world)
    rows = {row.tobytes() for row in taught[0]}
    assert len(taught[0]) == 220
    assert not any(row.tobytes() in rows for queries in measured for row in queries)


def test_stays_exact_where_it_does_not_pay(world, clock):
    clock[IVFIndex] = 0.51
    index, report = choose_index(*world)
    assert isinstance(index, ExactIndex)
    assert report["kind"] == "exact"
    assert report["reason"].startswith("the approximate index is not 2.0 times faster: 2.0 times the throughput")
    assert "nprobe" in report["approximate"]


def test_a_low_recall_is_refused_by_name():
    numbers = {"cpu_ms_in_batch@10": 1.0, "cpu_ms_alone@10": 1.0, "recall@10": 0.98, "recall@100": 0.97}
    report = {"exact": numbers | {"cpu_ms_in_batch@10": 9.0}, "approximate": numbers}
    assert choose._refusal(report, Goals()) == "recall@10 of the approximate index is 0.98, below 0.99"
    assert choose._refusal(report, Goals(0.9, 0.98)) == "recall@100 of the approximate index is 0.97, below 0.98"
    assert choose._refusal(report, Goals(0.9, 0.9)) == ""
    slow = report | {"exact": report["exact"] | {"cpu_ms_alone@10": 0.5}}
    assert choose._refusal(slow, Goals(0.9, 0.9)).startswith("a single query is slower with the approximate index")


def test_a_small_catalogue_is_not_tried():
    index, report = choose_index(*catalogue(500, 30))
    assert isinstance(index, ExactIndex)
    assert report["reason"] == "fewer than 2000 items"
    assert "approximate" not in report


def test_what_is_asked_for_is_taken_and_measured_all_the_same(clock):
    items, queries = catalogue(500, 30)
    index, report = choose_index(items, queries, kind="approximate")
    assert isinstance(index, IVFIndex)
    assert (report["kind"], report["reason"]) == ("ivf", "asked for")
    assert set(report["approximate"]) > {"recall@10", "recall@100", "cpu_ms_in_batch@100", "cpu_ms_alone@10"}
    index, report = choose_index(items, queries, kind="exact")
    assert isinstance(index, ExactIndex)
    assert (report["kind"], report["reason"]) == ("exact", "asked for")


def test_without_faiss_auto_is_exact_and_says_why(world, monkeypatch):
    def absent(*args, **kwargs):
        raise MissingExtraError("pip install 'avrec[index]'")

    monkeypatch.setattr(choose.IVFIndex, "build", absent)
    index, report = choose_index(*world)
    assert isinstance(index, ExactIndex)
    assert "FAISS is not installed" in report["reason"]
    with pytest.raises(MissingExtraError):
        choose_index(*world, kind="approximate")


def test_real_time_is_measured(world):
    _, report = choose_index(*world)
    assert all(report["exact"][name] > 0 for name in ("cpu_ms_in_batch@10", "cpu_ms_in_batch@100", "cpu_ms_alone@10"))


def test_too_little_to_measure_with_is_refused(world):
    with pytest.raises(
        AvrecError, match="4000 items and 2 queries; expected items, and the vectors of at least 3 users"
    ):
        choose_index(world[0], world[1][:2])


def test_recall_by_hand():
    true = np.array([[1, 2], [3, -1], [-1, -1]])
    assert recall(np.array([[2, 9], [3, 4], [5, 6]]), true) == 0.75  # a half, all of one, nothing to find
