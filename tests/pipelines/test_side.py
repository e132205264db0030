"""Tags, fields and titles of somebody's own tables, from training to a bundle: taste shows in nothing else."""

import shutil

import numpy as np
import onnxruntime
import pytest
import torch

from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender
from avrec.data.prepared import load_dataset
from tests.pipelines.conftest import SMALL_MODEL, read
from tests.pipelines.test_mistakes import ARTEFACT, CONFIG
from tests.pipelines.world import DAY_SEC, ITEMS_EACH, NUM_ITEMS, START_SEC, chosen_items, item_id, user_id
from tests.training.test_text_vectors import save_bert

pytestmark = pytest.mark.slow
COLD = np.arange(NUM_ITEMS) % ITEMS_EACH >= 14
SMALL = ["sampler.batch_size=64", "baseline=[popularity,content_knn]", "logger=none", "stages.joint.max_epochs=12"]
UNTAGGED = int(((np.arange(NUM_ITEMS) % 7 == 3) & ~COLD).sum())


def write_side_tables(folder):
    """The world of `write_tables` without features: an item's tags name its taste, the rest of a row is noise.

    Some of the trained items have no tags; a language and a length are drawn by lot.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(5)
    items = chosen_items(rng)
    stamps = START_SEC + np.arange(items.shape[1]) * 3 * DAY_SEC + np.arange(len(items))[:, None]
    lines = ["user_id,item_id,timestamp"]
    lines += [
        f"{user_id(user)},{item_id(item)},{stamp}"
        for user in range(len(items))
        for item, stamp in zip(items[user], stamps[user], strict=True)
    ]
    (folder / "interactions.csv").write_text("\n".join(lines) + "\n")
    rows = ["item_id,title,tags,duration_sec,language"]
    for item in range(NUM_ITEMS):
        taste = item // ITEMS_EACH
        words = [f"taste{taste}", f"word{taste}-{rng.integers(3)}", "video", f"noise{rng.integers(9)}"]
        tags = "" if item % 7 == 3 and not COLD[item] else "|".join(words)
        rows.append(
            f"{item_id(item)},the {['fox', 'dog'][item % 2]},{tags},{rng.integers(5, 90)},{'de' if item % 3 else 'en'}"
        )
    (folder / "items.csv").write_text("\n".join(rows) + "\n")
    return ["data=tables", f"data.interactions={folder / 'interactions.csv'}", f"data.items={folder / 'items.csv'}"]


@pytest.fixture(scope="session")
def side_run(console):
    words = write_side_tables(console.folder / "side_tables")
    bert = save_bert(console.folder / "bert")
    words += ["side=all", f"side.texts.pretrained={bert}", "side.texts.max_tokens=20", *SMALL_MODEL, *SMALL]
    return console.train("side_run", *words)


def test_what_is_made_of_the_side_information_is_said(side_run):
    lines = side_run.answer.out.splitlines()
    assert f"side tags: {NUM_ITEMS - UNTAGGED} of {NUM_ITEMS} items, " in side_run.answer.out
    assert f"side fields: {NUM_ITEMS} of {NUM_ITEMS} items, 8 numbers each" in lines
    assert f"side texts: {NUM_ITEMS} of {NUM_ITEMS} items, 16 numbers each" in lines
    assert not any(line.startswith("side graph") for line in lines), "there is no graph"
    assert "modalities ['fields', 'tags', 'texts']" in side_run.answer.out


def test_cold_items_are_found_by_their_tags_and_by_nothing_else(side_run):
    """Of 24 cold items 6 are of a user's taste; among 10 of them chance is .42."""
    metrics, views = side_run.metrics, side_run.metrics["views"]
    assert metrics["test/cold_only/recall@10"] > 0.8
    assert views["overall, content permuted"]["test/cold_only/recall@10"] < 0.6
    assert views["ids only"]["test/cold/recall@20"] == 0
    assert metrics["test/missing_tags/recall@20"] >= 0
    assert metrics["catalogue/share/tags"] > 0
    assert metrics["baselines"]["content_knn"]["test/cold_only/recall@10"] > 0.5, "baselines are given the same content"


def test_evaluate_and_report_make_the_same_features_again(console, side_run):
    words = [f"ckpt={side_run.model}", "baseline=[popularity,content_knn]"]
    console("evaluate", *words, "run_dir=side_again")
    assert read(console.folder / "side_again" / "metrics.json") == side_run.metrics
    report = console("report", f"run_dir={side_run.folder}")
    assert "card:" in report.out


def test_the_model_file_holds_what_was_learned_and_no_folder(console, side_run):
    value = torch.load(side_run.model, weights_only=True)
    side = value["side"]
    assert set(side) == {"tags", "fields", "texts"}
    assert side["tags"]["projection"].shape == (len(side["tags"]["tags"]), value["sizes"]["feature_dims"]["tags"])
    assert "taste0" in side["tags"]["tags"] and "video" in side["tags"]["tags"]
    assert side["texts"]["columns"] == ["title"]
    assert "cache_folder" not in str(value["config"]["side"])


def test_the_bundle_takes_tags_as_a_feature(console, side_run):
    place = side_run.folder / "bundle"
    console("export", f"ckpt={side_run.model}", f"bundle_dir={place}")
    assert read(place / "parity.json")["passed"]
    graph = onnxruntime.InferenceSession(str(place / "item_tower.onnx"))
    inputs = {entry.name: entry.shape[-1] for entry in graph.get_inputs()}
    width = torch.load(side_run.model, weights_only=True)["sizes"]["feature_dims"]["tags"]
    assert inputs["feature_tags"] == width and "mask_tags" in inputs
    bundle = Bundle.open(place)
    recommender = Recommender(bundle)
    draw = np.random.default_rng(0).standard_normal((2, width)).astype(np.float32)
    item, _, share = recommender.embed_items({"tags": draw})
    assert np.isfinite(item).all() and not np.allclose(item[0], item[1])
    np.testing.assert_allclose(share, [[0, 1, 0]] * 2, atol=1e-6)  # fields, tags, texts
    assert read(console.folder / "side_run" / "run.json")["data_hash"] == bundle.manifest.data_hash


def changed(side_run, folder, change):
    folder.mkdir()
    value = torch.load(side_run.model, weights_only=True)
    change(value)
    torch.save(value, folder / "model.pt")
    shutil.copy(side_run.folder / "run.json", folder)
    return f"ckpt={folder / 'model.pt'}"


def drop_part(value):
    del value["side"]["tags"]["idf"]


def swap_type(value):
    value["side"]["tags"]["idf"] = 3


def forget_maker(value):
    value["config"]["side"] = {"fields": value["config"]["side"]["fields"]}


def name_another(value):
    value["config"]["side"]["tags"]["_target_"] = "avrec.data.sources.tables.TablesSource"


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        (drop_part, ARTEFACT, "'idf' in the state has the shape None"),
        (swap_type, ARTEFACT, "side.tags: 'idf' in the model file is a int"),
        (forget_maker, ARTEFACT, "the states ['tags', 'texts'] have no part in the configuration"),
        (name_another, CONFIG, "a configuration that comes with a file may only name"),
    ],
)
def test_a_model_file_that_does_not_fit_is_refused(console, side_run, tmp_path, change, code, text):
    ckpt = changed(side_run, tmp_path / "changed", change)
    answer = console("evaluate", ckpt, "baseline=[]", "run_dir=refused", code=code)
    assert text in answer.err


def test_the_prepared_data_set_stays_as_it_was(console, side_run):
    dataset = load_dataset(console.folder / side_run.record["prepared"])
    assert dict(dataset.features) == {} and dataset.item_tags is not None
