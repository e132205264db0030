import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from avrec.core.errors import AvrecError
from avrec.evaluation.compare import read_series
from avrec.evaluation.evaluate import evaluate
from avrec.evaluation.lists import ListMeasures
from avrec.evaluation.protocols import protocol_named
from avrec.report import user_files
from avrec.report.user_files import Reported, write_per_user, write_shares, write_top_items
from tests.evaluation.world import Matrix, events, random_dataset

DATA = random_dataset(0)


def evaluation(seed, keep=0, protocol="honest"):
    scores = np.random.default_rng(seed).random((DATA.num_users, DATA.num_items))
    return evaluate(
        Matrix(scores), DATA, "test", (10, 20), protocol_named(protocol), measures=ListMeasures.of(DATA), keep=keep
    )


@pytest.fixture(scope="module")
def reported():
    models = {"overall": evaluation(0, keep=20), "ids only": evaluation(1)}
    return Reported("overall", models, {"ease": evaluation(2)}, seed=5)


@pytest.fixture(params=[65_536, 7])
def block_rows(request, monkeypatch):
    monkeypatch.setattr(user_files, "BLOCK_ROWS", request.param)
    return request.param


def test_one_row_a_user_and_recommender(tmp_path, reported, block_rows):
    write_per_user(tmp_path / "per_user.parquet", reported, DATA)
    table = pq.read_table(tmp_path / "per_user.parquet")
    num_users = len(reported.main.user_idx)
    groups = pq.ParquetFile(tmp_path / "per_user.parquet").num_row_groups
    assert groups == 3 * -(-num_users // block_rows)
    assert len(table) == 3 * num_users
    assert table["view"].to_pylist() == ["overall"] * num_users + ["ids only"] * num_users + ["ease"] * num_users
    assert table["kind"].to_pylist() == ["model"] * 2 * num_users + ["baseline"] * num_users
    assert table["user_id"].to_pylist() == [f"u{user}" for user in reported.main.user_idx] * 3
    target, history = events(DATA.test), events(DATA.history("test"))
    assert table["num_targets"].to_pylist() == [len(target[user]) for user in reported.main.user_idx] * 3
    assert table["num_history"].to_pylist() == [len(history[user]) for user in reported.main.user_idx] * 3
    assert table["new_user"].to_pylist() == DATA.new_users[reported.main.user_idx].tolist() * 3
    cold = [bool(DATA.cold_items[list(target[user])].any()) for user in reported.main.user_idx]
    assert table["has_cold_target"].to_pylist() == cold * 3
    for place, one in enumerate((*reported.models.values(), *reported.baselines.values())):
        part = table.slice(place * num_users, num_users)
        for name, values in one.per_user.items():
            np.testing.assert_array_equal(part[name].to_numpy(), values)
            assert part[name].null_count == np.isnan(values).sum()
    assert {"map@20", "novelty@20", "cold_only/recall@10", "missing_audio/ndcg@20"} <= set(table.column_names)
    about = json.loads(table.schema.metadata[b"avrec"])
    assert (about["seed"], about["marked"], about["part"]) == (5, "overall", "test")
    assert about["data_hash"] == DATA.content_hash
    assert about["protocol"] == reported.main.protocol
    assert (about["protocol_name"], about["diversity_by"]) == ("honest", "content (audio)")


def test_what_is_written_is_what_compare_reads(tmp_path, reported, block_rows):
    write_per_user(tmp_path / "per_user.parquet", reported, DATA)
    for view, one in {None: reported.main, "ease": reported.baselines["ease"]}.items():
        series = read_series([tmp_path / "per_user.parquet"], "cold/recall@20", view)
        np.testing.assert_array_equal(series.values_SU[0], one.per_user["cold/recall@20"])
        assert series.mean == pytest.approx(one.metrics["cold/recall@20"])
        assert (series.name, series.seeds) == (view or "overall", (5,))


def test_a_metric_that_only_some_have_is_null_for_the_others(tmp_path, reported):
    bare = replace(reported.baselines["ease"], per_user={"recall@20": reported.baselines["ease"].per_user["recall@20"]})
    write_per_user(tmp_path / "some.parquet", replace(reported, baselines={"ease": bare}), DATA)
    table = pq.read_table(tmp_path / "some.parquet")
    num_users = len(reported.main.user_idx)
    assert table["map@20"].slice(2 * num_users).null_count == num_users
    assert table["map@20"].slice(0, 2 * num_users).null_count == 0


def test_the_history_is_the_protocol_s(tmp_path):
    other = evaluation(0, protocol="diffmm")
    write_per_user(tmp_path / "per_user.parquet", Reported("overall", {"overall": other}, {}, 1), DATA)
    table = pq.read_table(tmp_path / "per_user.parquet")
    assert table["num_history"].to_pylist() == DATA.train.user_counts[other.user_idx].tolist()
    assert json.loads(table.schema.metadata[b"avrec"])["protocol_name"] == "diffmm"


def test_what_each_user_is_shown(tmp_path, reported, block_rows):
    write_top_items(tmp_path / "top_items.parquet", reported, DATA)
    table = pq.read_table(tmp_path / "top_items.parquet")
    top, users = reported.main.top, reported.main.user_idx
    assert len(table) == 20 * len(users)
    assert table["user_id"].to_pylist() == [f"u{user}" for user in users for _ in range(20)]
    assert table["rank"].to_pylist() == list(range(1, 21)) * len(users)
    assert table["item_id"].to_pylist() == [f"i{item}" for item in top.item_idx.ravel()]
    assert table["score"].to_pylist() == top.score.ravel().tolist()
    assert table["hit"].to_pylist() == top.hit.ravel().tolist()
    recall = np.array(table["hit"].to_pylist()).reshape(-1, 20).sum(axis=1) / DATA.test.user_counts[users]
    np.testing.assert_allclose(recall, reported.main.per_user["recall@20"])


def test_a_short_list_has_fewer_rows(tmp_path):
    everything = evaluation(3, keep=DATA.num_items)
    write_top_items(tmp_path / "top.parquet", Reported("all", {"all": everything}, {}, 1), DATA)
    table = pq.read_table(tmp_path / "top.parquet")
    assert len(table) == (everything.top.item_idx >= 0).sum() < everything.top.item_idx.size
    assert np.isfinite(table["score"].to_numpy()).all()


def test_shares_of_every_item(tmp_path, reported, block_rows):
    share = np.random.default_rng(0).random((DATA.num_items, 2), np.float32)
    write_shares(tmp_path / "shares.parquet", share, ("audio", "visual"), reported, DATA)
    table = pq.read_table(tmp_path / "shares.parquet")
    assert table.column_names == ["item_id", "share_audio", "share_visual"]
    assert table["item_id"].to_pylist() == [f"i{item}" for item in range(DATA.num_items)]
    np.testing.assert_array_equal(np.stack([table["share_audio"], table["share_visual"]], axis=1), share)


def test_what_cannot_stand_in_one_file_is_refused(tmp_path, reported):
    with pytest.raises(AvrecError, match=r"a view and a baseline are both called \['ids only'\]"):
        write_per_user(tmp_path / "a", replace(reported, baselines={"ids only": reported.baselines["ease"]}), DATA)
    fewer = replace(reported.baselines["ease"], user_idx=reported.main.user_idx[:3])
    with pytest.raises(AvrecError, match="they were asked of other users"):
        write_per_user(tmp_path / "a", replace(reported, baselines={"ease": fewer}), DATA)
    with pytest.raises(AvrecError, match=r"lists of view 'ids only' were not kept. Evaluate it with keep=20"):
        write_top_items(tmp_path / "a", replace(reported, marked="ids only"), DATA)
    assert not list(tmp_path.iterdir())


def test_a_broken_write_leaves_the_old_file(tmp_path, reported):
    path = tmp_path / "per_user.parquet"
    write_per_user(path, reported, DATA)
    before = path.read_bytes()
    longer = {**reported.baselines["ease"].per_user, "recall@20": np.zeros((1, 2))}  # the last block cannot be made
    with pytest.raises(Exception, match=r"1-dimensional|dimension"):
        write_per_user(path, replace(reported, baselines={"ease": replace(reported.main, per_user=longer)}), DATA)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
