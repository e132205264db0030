import io

import numpy as np
import pytest
from rich.console import Console

from avrec.evaluation.evaluate import evaluate
from avrec.evaluation.intervals import mean_interval
from avrec.evaluation.lists import ListMeasures
from avrec.evaluation.shares import catalogue_shares
from avrec.report.shares import shares_table
from avrec.report.tables import best_baseline, beyond_table, comparison_table
from tests.evaluation.world import Matrix, random_dataset


@pytest.fixture(scope="module")
def evaluations():
    data = random_dataset(0)
    rng = np.random.default_rng(0)
    noise = rng.random((data.num_users, data.num_items))
    known = np.zeros_like(noise)
    known[data.test.user_idx, data.test.item_idx] = 1
    return {
        name: evaluate(Matrix(weight * known + noise), data, "test", measures=ListMeasures.of(data))
        for name, weight in {"none": 0, "some": 0.3, "much": 0.9}.items()
    }


def text_of(table, width=80):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table)
    return console.file.getvalue()


def test_the_model_stands_beside_the_baselines(evaluations):
    table = comparison_table(
        "hand-made data",
        {"two towers": evaluations["much"]},
        {"noise": evaluations["none"], "weak": evaluations["some"]},
    )
    text = text_of(table)
    lines = {line.split()[0]: line for line in text.splitlines() if line.split()}
    for name, evaluation in {
        "two": evaluations["much"],
        "noise": evaluations["none"],
        "weak": evaluations["some"],
    }.items():
        for key in ("recall@20", "ndcg@20", "cold/recall@20", "warm/recall@20", "cold_only/recall@20", "coverage@20"):
            assert f" {evaluation.metrics[key]:.4f}".replace(" 0.", " .") in lines[name]
    difference = evaluations["much"].metrics["recall@20"] - evaluations["some"].metrics["recall@20"]
    assert f"{difference:+.4f}".replace("0.", ".") in lines["two"]
    assert "<.0001" in lines["two"]
    assert "…" not in text  # nothing is cut off in a terminal of 80 columns
    caption = " ".join(text.split())
    assert "against weak, the best baseline on this part (paired t, Holm over 2; paired over users)" in caption
    assert "each user's train and validation items masked" in caption


def test_without_baselines_there_is_nothing_to_compare(evaluations):
    text = text_of(comparison_table("alone", {"model": evaluations["some"]}, {}))
    assert "best baseline" not in text
    assert f"{evaluations['some'].metrics['recall@20']:.4f}".lstrip("0") in text
    assert best_baseline({}, "recall@20") is None


def test_a_slice_without_targets_is_a_dash(evaluations):
    text = text_of(comparison_table("no such cutoff", {"model": evaluations["some"]}, {}, cutoff=7))
    assert "-" in next(line for line in text.splitlines() if line.strip().startswith("model"))


def test_the_same_lists_from_other_sides(evaluations):
    table = beyond_table({"overall *": evaluations["much"]}, {"noise": evaluations["none"]})
    text = text_of(table)
    lines = {line.split()[0]: line for line in text.splitlines() if line.split()}
    for name, evaluation in {"overall": evaluations["much"], "noise": evaluations["none"]}.items():
        low, high = mean_interval(evaluation.per_user["recall@20"])
        assert f" {low:.4f} to {high:.4f} ".replace(" 0.", " .") in lines[name]
        for key in ("hit_rate@20", "map@20", "gini@20", "novelty@20", "diversity@20", "popularity_kl@20"):
            assert f" {evaluation.metrics[key]:.4f}".replace(" 0.", " .") in lines[name]
    assert "…" not in text
    assert "95 % interval of the mean over users by Student's t" in " ".join(text.split())
    assert "by content (audio)" in " ".join(text.split())


def test_shares_of_complete_and_of_all_items():
    share = np.array([[0.75, 0.25], [0.25, 0.75], [1.0, 0.0]], np.float32)
    present = np.array([[True, True], [True, True], [True, False]])
    text = text_of(shares_table(catalogue_shares(share, present, ("audio", "visual")), ("audio", "visual")))
    rows = [line.split() for line in text.splitlines() if "audio" in line or "visual" in line]
    assert rows[0] == ["items", "with", "all", "of", "them", "audio", "2", "0.500", "0.300", "0.500", "0.700"]
    assert rows[3] == ["items", "with", "any", "visual", "3", "0.333", "0.050", "0.250", "0.650"]
    none = text_of(shares_table(catalogue_shares(share[2:], present[2:], ("audio", "visual")), ("audio", "visual")))
    assert "all of them" not in none
