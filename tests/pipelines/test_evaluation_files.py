"""What an evaluation leaves beside metrics.json, and the protocol by which it was made."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf

from avrec.evaluation.compare import compare_series, read_series
from avrec.pipelines.evaluate import tuned_baselines
from tests.baselines.world import block_world
from tests.pipelines.conftest import read
from tests.pipelines.test_mistakes import CONFIG
from tests.pipelines.world import NUM_ITEMS, NUM_USERS

CONF = Path(__file__).resolve().parents[2] / "conf"


def test_every_number_by_user_stands_in_a_file(run):
    file, metrics = run.folder / "per_user.parquet", run.metrics
    views = {"overall": metrics, **metrics["views"], **metrics["baselines"]}
    table = pq.read_table(file)
    assert set(table["view"].to_pylist()) == set(views)
    assert len(table) == len(views) * NUM_USERS
    for metric in (
        "recall@20",
        "cold/ndcg@10",
        "map@20",
        "hit_rate@10",
        "novelty@50",
        "diversity@20",
        "popularity_kl@20",
    ):
        for view, numbers in views.items():
            assert read_series([file], metric, view).mean == pytest.approx(numbers[f"test/{metric}"], abs=1e-12)
    found = compare_series(*(read_series([file], "recall@20", view) for view in ("overall", "popularity")))
    assert found.mean_difference == pytest.approx(metrics["comparisons"]["popularity"]["mean_difference"])
    assert found.interval == pytest.approx(metrics["comparisons"]["popularity"]["interval"])


def test_what_each_user_is_shown_stands_in_a_file(run):
    table = pq.read_table(run.folder / "top_items.parquet")
    assert len(table) == 20 * NUM_USERS
    hits = np.array(table["hit"].to_pylist()).reshape(NUM_USERS, 20).sum(axis=1)
    assert np.mean(hits / 2) == pytest.approx(run.metrics["test/recall@20"])  # two targets a user


def test_shares_stand_in_a_file_and_in_the_metrics(run):
    table = pq.read_table(run.folder / "shares.parquet")
    assert table.column_names == ["item_id", "share_audio", "share_visual"]
    assert len(table) == NUM_ITEMS
    audio = table["share_audio"].to_numpy()
    for key in ("catalogue/share/audio", "catalogue/complete/share/audio"):  # here every item has both
        assert run.metrics[key] == pytest.approx(audio.mean(), abs=1e-6)
        for percent in (10, 50, 90):
            assert run.metrics[f"{key}/p{percent}"] == pytest.approx(np.percentile(audio, percent), abs=1e-6)
    assert run.metrics["catalogue/share/items"] == NUM_ITEMS


def test_the_other_sides_are_printed_with_the_interval(run):
    text = run.answer.out
    assert "tables, test part, seed 42, protocol honest" in text
    assert "seen from other sides" in text
    assert "shares of the modalities" in text
    low, high = run.metrics["intervals"]["test/recall@20"]
    assert f"{low:.4f} to {high:.4f}".replace("0.", ".") in text
    assert 0 < run.metrics["test/gini@20"] < run.metrics["baselines"]["popularity"]["test/gini@20"]
    assert run.metrics["diversity_by"] == "content (audio, visual)"


def test_a_published_protocol_is_named_in_every_result(console, tables):
    split = ["+split=random", "+data.split.validation_share=0.1", "+data.split.test_share=0.1"]
    model = ["stages=ids", "stages.ids.max_epochs=1", "id_dim=4", "modalities=[]", "baseline=[popularity]"]
    run = console.train("tenths", *tables, *split, *model)
    words = ["baseline=[popularity]", "run_dir=mmrec"]
    answer = console("evaluate", f"ckpt={run.model}", "protocol=mmrec", *words)
    assert "protocol mmrec" in answer.out
    found = read(console.folder / "mmrec" / "metrics.json")
    assert (run.metrics["protocol_name"], found["protocol_name"]) == ("honest", "mmrec")
    assert "validation items unknown to the recommender and not masked" in found["protocol"]["test"]
    assert found["counts"]["test"]["masked_events"] < run.metrics["counts"]["test"]["masked_events"]
    metadata = pq.read_schema(console.folder / "mmrec" / "per_user.parquet").metadata
    assert json.loads(metadata[b"avrec"])["protocol_name"] == "mmrec"
    popularity = [one["baselines"]["popularity"] for one in (found, run.metrics)]
    assert popularity[0]["validation/recall@20"] == popularity[1]["validation/recall@20"]  # selection is ours
    assert not (console.folder / "mmrec" / "shares.parquet").exists()  # a model of ids alone has none


def test_a_protocol_that_does_not_fit_is_refused_with_the_fix(console, run):
    for words, message in {
        "protocol=loo_unsampled": "it holds out each user's last event. Prepare it with +split=leave_last_out",
        "protocol=diffm": "'diffm' is not one of honest, microlens, mmrec, diffmm, lightgcn, loo_unsampled",
    }.items():
        answer = console("evaluate", f"ckpt={run.model}", words, "run_dir=refused", code=CONFIG)
        assert message in answer.err
        assert not (console.folder / "refused" / "metrics.json").exists()


def test_a_wrong_protocol_stops_before_training(console, data):
    answer = console("train", *data, "protocol=lightgcn", "run_dir=never", code=CONFIG)
    assert "protocol=lightgcn does not fit" in answer.err
    assert not (console.folder / "never" / "model.pt").exists()


def test_a_baseline_that_does_not_suit_the_data_is_left_out_and_costs_no_run(tmp_path, capsys):
    world = block_world()
    dataset = replace(world, train=replace(world.train, timestamp=None))
    nodes = {name: OmegaConf.load(CONF / "baseline" / f"{name}.yaml") for name in ("recent_popularity", "popularity")}
    found = tuned_baselines(OmegaConf.create({"baseline": nodes, "data_dir": str(tmp_path)}), dataset)
    assert list(found) == ["popularity"]
    told = capsys.readouterr().out
    assert "baseline recent_popularity: left out. recent_popularity: the data set 'blocks' has no timestamps" in told
    assert "Leave this baseline out, or use popularity." in told
