import io

import numpy as np
import pytest
from rich.console import Console

from avrec.evaluation.evaluate import evaluate
from avrec.report.tables import best_baseline, comparison_table
from tests.evaluation.world import Matrix, random_dataset


@pytest.fixture(scope="module")
def evaluations():
    data = random_dataset(0)
    rng = np.random.default_rng(0)
    noise = rng.random((data.num_users, data.num_items))
    known = np.zeros_like(noise)
    known[data.test.user_idx, data.test.item_idx] = 1
    return {
        name: evaluate(Matrix(weight * known + noise), data, "test")
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
