"""The mean over windows, and a test in which a user counts once, against loops."""

import numpy as np
import pytest
from scipy import stats

from avrec.evaluation.significance import holm
from avrec.report.windows import MODEL, Window, measured
from tests.report.ablation_world import write_file


def windows_of(folder, values):
    """values: one mapping of view -> (40,) for each window."""
    found = []
    for back, views in enumerate(values):
        file = write_file(folder / str(back) / "per_user.parquet", 1, views)
        baselines = {name: {"test/recall@20": view.mean()} for name, view in views.items() if name != "overall"}
        metrics = {
            "baselines": baselines,
            "counts": {"test": {"users": 40, "targets": 40, "items": 9}},
            "protocol_name": "alive",
        }
        found.append(Window(back, (0, 3600), file, metrics))
    return found


@pytest.mark.parametrize("metric", ["recall@20", "cold/recall@20"])
def test_a_user_counts_once_however_many_windows_he_is_in(tmp_path, metric):
    draw = np.random.default_rng(0)
    values = [
        {name: draw.random(40) * 0.4 + gain for name, gain in (("overall", 0.05), ("a", 0), ("b", 0.04))}
        for _ in range(3)
    ]
    result = measured(windows_of(tmp_path, values), metric, {}, "line")
    factor, users = (1, range(40)) if metric == "recall@20" else (2, range(0, 40, 2))
    p_values = []
    for name in ("a", "b"):
        of_user = [factor * np.mean([views["overall"][user] - views[name][user] for views in values]) for user in users]
        found = result.comparisons[name]
        assert found.mean_difference == pytest.approx(np.mean(of_user))
        assert (found.users, found.wins) == (len(of_user), sum(one > 0 for one in of_user))
        p_values.append(stats.ttest_1samp(of_user, 0).pvalue)
    assert [one.p_value for one in result.comparisons.values()] == pytest.approx(holm(p_values))
    assert result.values["a"] == pytest.approx([factor * np.mean(views["a"][list(users)]) for views in values])
    assert "each averaged over his windows, Holm over 2" in result.comparisons["a"].test


def test_a_baseline_that_a_window_lacks_is_left_out(tmp_path):
    values = [
        {"overall": np.ones(40), "a": np.zeros(40), "b": np.zeros(40)},
        {"overall": np.ones(40), "b": np.zeros(40)},
    ]
    result = measured(windows_of(tmp_path, values), "recall@20", {}, "line")
    assert list(result.values) == [MODEL, "b"]
    assert result.comparisons["b"].mean_difference == 1.0
