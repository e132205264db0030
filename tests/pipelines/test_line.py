"""From somebody's own tables to served recommendations: prepare, train, evaluate, export, verify, recommend."""

import json
import shutil

import numpy as np
import pytest
import torch

import avrec
from avrec.build.model import load
from avrec.core.dataset import tie_order
from avrec.core.query import UserQuery
from avrec.data.prepared import load_dataset
from avrec.retrieval.exact import top_of_scores
from avrec.training.scorer import TwoTowerScorer, catalogue_features
from tests.pipelines.conftest import Run, only_test, python, read
from tests.pipelines.world import NUM_ITEMS, NUM_USERS, item_id, user_id

SLICES = ("", "cold/", "warm/", "cold_only/")


def test_prepare_tells_what_became_of_the_log(console, tables, prepared):
    lines = console("prepare", *tables).out.splitlines()
    assert lines[0] == f"prepared data set: {prepared.relative_to(console.folder)}"
    assert [line.split() for line in lines[1:6]] == [
        ["read", "600", "events"],
        ["after", "duplicates", "600", "events"],
        ["train", "420", "events"],
        ["validation", "60", "events"],
        ["test", "120", "events"],
    ]
    assert lines[6] == "  60 users, 80 items (24 without a training event)"


def test_training_on_tables_finds_what_prepare_made(console, tables, prepared):
    again = console.train("from_tables", *tables, "stages=ids", "stages.ids.max_epochs=1", "baseline=[]", "id_dim=4")
    assert "preparing" not in again.answer.out
    assert again.record["prepared"] == str(prepared)


def test_a_run_is_one_folder(run):
    assert {path.name for path in run.folder.iterdir()} >= {
        ".hydra",
        "checkpoints",
        "logs",
        "metrics.json",
        "model.pt",
        "run.json",
    }
    assert {path.name for path in (run.folder / "checkpoints" / "0_joint").iterdir()} == {
        "best.ckpt",
        "done.json",
        "last.ckpt",
    }
    assert not list(run.folder.rglob("*.tmp"))


def test_metrics_hold_every_number_and_where_it_came_from(run, prepared):
    metrics = run.metrics
    for part in SLICES:
        for name in ("recall", "ndcg", "mrr"):
            for cutoff in (10, 20, 50):
                assert 0 <= metrics[f"test/{part}{name}@{cutoff}"] <= 1
    assert 0 < metrics["test/coverage@20"] <= 1
    assert metrics["test/recall@20"] > metrics["baselines"]["popularity"]["test/recall@20"] + 0.05
    assert (
        metrics["views"]["balanced"]["test/cold/recall@20"] > 0.3
    )  # `overall` may put cold items last: validation decides
    assert metrics["data_hash"] == read(prepared / "manifest.json")["content_hash"]
    assert metrics["code_version"] == avrec.__version__
    assert metrics["seeds"] == [42]
    assert metrics["settings"]["calibration"] == "overall"
    assert metrics["settings"]["config"]["id_dim"] == 16
    assert metrics["settings"]["config"]["seed"] == 42
    assert metrics["settings"]["operating_point"] == run.record["operating_points"]["overall"]
    assert metrics["protocol"]["test"].startswith(
        "test: mean over 60 users with 120 targets; all 80 items ranked, 24 of them never trained; "
        "each user's train and validation items masked; a tie counts half in a rank"
    )
    assert metrics["counts"]["test"]["cold/targets"] == 60
    for told in ("0", "1", "2", "3", "0-3"):
        assert 0 <= metrics[f"test/new_users/{told}/recall@20"] <= 1
        assert (
            metrics[f"test/new_users/{told}/popularity/recall@20"] == metrics["test/new_users/0/popularity/recall@20"]
        )
    best = max(point["recall@20"] + point["ndcg@20"] for point in metrics["frontier"])
    assert best == pytest.approx(run.record["validation_objective"], abs=1e-6)


def test_baselines_and_controls_stand_beside_the_model(run):
    baselines, views = run.metrics["baselines"], run.metrics["views"]
    assert set(baselines) >= {"popularity", "ease", "content_knn"}
    assert set(views) >= {"ids only", "content only", "overall, content permuted"}
    assert baselines["ease"]["settings"]["regularisation"] in (20.0, 35.0, 50.0, 100.0, 200.0, 500.0)
    assert {"validation/recall@20", "test/recall@20", "test/cold/recall@20"} <= set(baselines["ease"])
    assert views["ids only"]["test/cold/recall@20"] == 0
    permuted = views["overall, content permuted"]
    assert permuted["test/cold_only/recall@10"] < run.metrics["test/cold_only/recall@10"] - 0.2
    difference = run.metrics["test/recall@20"] - baselines["popularity"]["test/recall@20"]
    assert run.metrics["comparisons"]["popularity"]["mean_difference"] == pytest.approx(difference, abs=1e-9)


def test_the_terminal_shows_the_table_and_the_next_command(run):
    text = run.answer.out
    assert f"avrec {avrec.__version__}: tables (" in text
    assert "60 users, 80 items (24 cold), 420 / 60 / 120 events, modalities ['audio', 'visual']" in text
    assert "tables, test part, seed 42" in text
    assert "frontier on validation" in text and "new users: what 60 users of the test part get" in text
    number = f"{run.metrics['test/recall@20']:.4f}".removeprefix("0")
    row = next(line for line in text.splitlines() if line.lstrip().startswith("overall *"))
    assert number in row
    assert text.splitlines()[-1] == f"next: avrec export ckpt={run.model} bundle_dir={run.folder / 'bundle'}"


def test_evaluate_repeats_the_numbers_of_training_exactly(console, run):
    console("evaluate", f"ckpt={run.model}", "baseline=[popularity,ease,content_knn]", "run_dir=again")
    again = read(console.folder / "again" / "metrics.json")
    assert again == run.metrics


@pytest.fixture(scope="session")
def two_points(console, run) -> Run:
    """The run's model with another point for `cold98`, since in a small world both rules may choose the same."""
    folder = console.folder / "two points"
    folder.mkdir()
    value = torch.load(run.model, weights_only=True)
    value["operating_points"]["cold98"]["cold_offset"] += 3.0
    torch.save(value, folder / "model.pt")
    shutil.copy(run.folder / "run.json", folder)
    return Run(folder, None)


def test_another_calibration_reports_the_other_point(console, run, two_points):
    both = {}
    for rule in ("overall", "cold98"):
        console("evaluate", f"ckpt='{two_points.model}'", f"calibration={rule}", "baseline=[]", f"run_dir=point_{rule}")
        both[rule] = read(console.folder / f"point_{rule}" / "metrics.json")
    assert only_test(both["overall"]) == only_test(run.metrics)
    for rule, other in (
        ("cold98", "overall"),
        ("overall", "cold98"),
    ):  # new users are measured at the reported point alone
        reported = {name: value for name, value in only_test(both[rule]).items() if name.count("/") < 3}
        assert reported == only_test(both[other]["views"][rule])
    assert both["cold98"]["test/cold/recall@20"] > both["overall"]["test/cold/recall@20"] + 0.1
    assert both["cold98"]["settings"]["calibration"] == "cold98"
    offsets = {rule: found["settings"]["operating_point"]["cold_offset"] for rule, found in both.items()}
    assert offsets["overall"] == run.record["operating_points"]["overall"]["cold_offset"]
    assert offsets["cold98"] == run.record["operating_points"]["cold98"]["cold_offset"] + 3.0


@pytest.mark.parametrize("rule", ["overall", "cold98"])
def test_a_point_is_what_its_rule_says_of_the_frontier(run, rule):
    frontier = run.metrics["frontier"]
    scores = [point["recall@20"] + point["ndcg@20"] for point in frontier]
    kept = [point for point, score in zip(frontier, scores, strict=True) if score >= 0.98 * max(scores)]
    best = (
        frontier[scores.index(max(scores))]
        if rule == "overall"
        else max(kept, key=lambda point: point["cold/recall@20"])
    )
    assert {key: best[key] for key in run.record["operating_points"][rule]} == run.record["operating_points"][rule]
    assert len(frontier) > 2


def test_the_bundle_is_whole_and_says_so(console, run, bundle):
    manifest = read(bundle / "manifest.json")
    assert manifest["data_hash"] == run.metrics["data_hash"]
    assert manifest["seed"] == 42
    answer = console("verify", f"bundle_dir={bundle}")
    assert answer.out.startswith(f"bundle {bundle}: ")
    assert answer.out.rstrip().endswith("verified")


@pytest.mark.slow
def test_a_bundle_at_the_other_point(console, two_points, tmp_path):
    place = tmp_path / "other"
    answer = console("export", f"ckpt='{two_points.model}'", f"bundle_dir={place}", "calibration=cold98")
    assert answer.out.splitlines()[-1] == f"next: avrec recommend bundle_dir={place} user=USER_ID"
    points = {
        rule: value for rule, value in torch.load(two_points.model, weights_only=True)["operating_points"].items()
    }
    assert read(place / "manifest.json")["operating_point"] == pytest.approx(points["cold98"], rel=1e-6)


WITHOUT_TORCH = """
import json, sys
from pathlib import Path
from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender

bundle, users, history, k, out = sys.argv[1], *map(json.loads, sys.argv[2:5]), sys.argv[5]
recommender = Recommender(Bundle.open(Path(bundle)))
lists = recommender.for_users(users, k) + recommender.for_histories([history], k)
heavy = [name for name in ("torch", "pytorch_lightning") if name in sys.modules]
answers = [{"items": one.item_ids, "scores": one.scores, "how": one.how} for one in lists]
Path(out).write_text(json.dumps({"heavy": heavy, "answers": answers}))
"""


def test_the_bundle_recommends_what_the_model_would_and_needs_no_torch(run, bundle, prepared, tmp_path):
    """Every user, and a stranger with the same history, whose list is the user's: there is no user table here."""
    dataset = load_dataset(prepared)
    model = load(run.model, "overall").model
    scorer = TwoTowerScorer(model, catalogue_features(dataset, model.item_tower.modalities))
    everything = dataset.history("test").merged(dataset.test)
    users = np.arange(NUM_USERS)
    query = UserQuery.of_users(users, everything)
    scores = scorer.score(query)
    scores[query.row, query.item_idx] = -np.inf
    k = 15
    expected, _ = top_of_scores(scores, k, tie_order(dataset.items))

    words = [
        json.dumps([user_id(user) for user in users]),
        json.dumps([item_id(3), item_id(5)]),
        k,
        tmp_path / "out.json",
    ]
    python("-c", WITHOUT_TORCH, bundle, *words, cwd=tmp_path)
    found = read(tmp_path / "out.json")
    assert found["heavy"] == []
    lists = found["answers"]
    assert [one["how"] for one in lists] == ["known user"] * NUM_USERS + ["history"]
    for user in users:
        close = scores[user, dataset.items.index(lists[user]["items"])]
        assert np.allclose(lists[user]["scores"], close, rtol=1e-4, atol=1e-5)
        assert np.allclose(scores[user, expected[user]], close, rtol=0, atol=1e-5 * np.abs(close).max())
    seen = {(row, item) for row, item in zip(query.row.tolist(), query.item_idx.tolist(), strict=True)}
    assert not any((user, dataset.items.index([item])[0]) in seen for user in users for item in lists[user]["items"])
    assert len(lists[-1]["items"]) == k
    assert not {item_id(3), item_id(5)} & set(lists[-1]["items"])


def test_recommend_on_the_console(console, bundle):
    one = console("recommend", f"bundle_dir={bundle}", "user=user 07", "k=3").out
    assert one.startswith("user 07: answered from known user\n")
    assert one.count("clip-") == 3
    two = console("recommend", f"bundle_dir={bundle}", "user=[user 07,user 11]", "k=2").out
    assert two.count("clip-") == 4
    stranger = console("recommend", f"bundle_dir={bundle}", "history=[clip-01,clip-02]", "k=78").out
    assert stranger.startswith("history: answered from history\n")
    assert stranger.count("clip-") == 78
    assert stranger.count(" [/live]") == 8, "an id is shown as it is, whatever brackets it holds"


def test_recommend_serves_whom_it_does_not_know_when_asked_to(console, bundle):
    nobody = console("recommend", f"bundle_dir={bundle}", "user=nobody", "k=3", "unknown=serve").out
    assert nobody.startswith("nobody: answered from popularity")
    known, mixed = (
        console("recommend", f"bundle_dir={bundle}", f"history=[{items}]", "k=3", "unknown=serve").out
        for items in ("clip-01", "clip-01,clip-99")
    )
    assert known == mixed


REALLY = """
import sys
from avrec.cli import main
code = main()
heavy = [name for name in ("torch", "pytorch_lightning", "transformers") if name in sys.modules]
sys.exit(code or len(heavy))
"""


def test_the_command_itself_does_without_torch(bundle, tmp_path):
    for words in (["recommend", f"bundle_dir={bundle}", "user=user 07"], ["verify", f"bundle_dir={bundle}"]):
        python("-c", REALLY, *words, cwd=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= {"runs"}


def test_the_same_seed_is_the_same_run_and_another_is_not(console, data, run):
    same = console.train("same", *data)
    assert same.metrics == run.metrics
    before, after = run.tensors, same.tensors
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    other = console.train("other", *data, "seed=43", "baseline=[]")
    assert other.metrics["seeds"] == [43]
    assert not np.array_equal(other.tensors["item_table.output_ND"], before["item_table.output_ND"])
    assert only_test(other.metrics) != only_test(run.metrics)


def test_a_sweep_leaves_the_test_part_alone(console, data):
    console("train", "-m", *data, "seed=1,2", "task_name=swept")
    (sweep,) = (console.folder / "sweeps" / "swept").iterdir()
    assert sorted(path.name for path in sweep.iterdir()) == ["0", "1", "multirun.yaml"]
    assert not list(sweep.rglob("metrics.json"))
    trials = [Run(sweep / name, None) for name in "01"]
    assert [trial.record["seed"] for trial in trials] == [1, 2]
    assert all("test/" not in json.dumps(trial.record) for trial in trials)
    assert not np.array_equal(trials[0].tensors["item_table.output_ND"], trials[1].tensors["item_table.output_ND"])


def test_a_trial_returns_its_validation_objective(console, data, run):
    from avrec.build.compose import compose
    from avrec.pipelines.train import run as train

    config = compose("train", [*data, f"run_dir={console.folder / 'trial'}", "multirun=true"])
    result = train(config)
    assert result.metrics == {}
    assert result.objective == run.record["validation_objective"]
    assert not (console.folder / "trial" / "metrics.json").exists()


def test_other_test_labels_change_no_choice(console, run, tmp_path_factory):
    """The last two events of every user are another's: the checkpoints, the point and the objective stay."""
    from tests.pipelines.conftest import SMALL
    from tests.pipelines.world import write_tables

    words = write_tables(console.folder / "permuted", permute_test=True)
    permuted = console.train("permuted_run", *words, *SMALL)
    assert permuted.metrics["data_hash"] != run.metrics["data_hash"]
    assert only_test(permuted.metrics) != only_test(run.metrics)
    for key in ("operating_points", "propagation", "stages", "validation_objective"):
        assert permuted.record[key] == run.record[key]
    before, after = run.tensors, permuted.tensors
    assert all(np.array_equal(before[name], after[name]) for name in before)
    chosen = [one.metrics["baselines"]["ease"]["settings"] for one in (run, permuted)]
    assert chosen[0] == chosen[1]


def test_curves_for_csv_and_tensorboard(run):
    logs = run.folder / "logs" / "joint"
    header = (logs / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"epoch", "step", "train/loss", "val/objective", "val/recall@20", "val/content/recall@20"} <= set(header)
    assert len(list(logs.glob("events.out.tfevents.*"))) == 1


def test_a_model_file_holds_plain_values_only(run):
    value = torch.load(run.model, weights_only=True)
    assert value["config"]["seed"] == 42
    assert str(run.folder) not in json.dumps({key: value[key] for key in value if key != "state_dict"}, default=str)
    assert NUM_ITEMS == len(value["state_dict"]["item_table.output_ND"])
