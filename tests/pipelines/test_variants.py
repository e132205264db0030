"""Every part of the configuration in one real run, and every experiment for one step."""

import re
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from avrec.build.compose import compose
from avrec.build.model import MODEL_KEYS
from tests.notebooks.conftest import save_encoders
from tests.pipelines.conftest import ROOT, SMALL_MODEL, Console, read
from tests.pipelines.world import user_id, write_microlens
from tests.test_readme import readme_commands

QUICK = ["sampler.batch_size=128", "baseline=[popularity]", "propagation=none", "logger=none"]
ONE_EPOCH = [*QUICK, *SMALL_MODEL, "stages.joint.max_epochs=1"]
GROUPS = {
    "attention_bpr": [
        "pooling=attention",
        "loss=bpr",
        "candidates=sampled",
        "candidates.num_negatives=30",
        "item_table.tied=false",
        "user_table.enabled=true",
    ],
    "in_batch_joint": ["candidates=in_batch", "stages.joint.weights.joint=0.5", "loss.temperature=0.5"],
    "raw_features": ["encoder/feature=raw", "fusion=concatenation", "~encoder.feature.dim", "~fusion.num_heads"],
    "fold_in": ["start=fold_in", "pooling=sum", "+start.als.iterations=3"],
    "look_up": ["start=look_up", "user_table.enabled=true", "+start.als.iterations=3"],
    "double": ["trainer.precision=64-true"],
}


@pytest.fixture(scope="module")
def words(prepared) -> list[str]:
    return ["data=prepared", f"data.path={prepared}"]


@pytest.mark.parametrize("name", GROUPS)
def test_a_run_with_other_parts(console, words, name):
    choice = GROUPS[name]
    model = [word for word in ONE_EPOCH if f"~{word.split('=')[0]}" not in choice]
    run = console.train(f"variant_{name}", *words, *model, *(word for word in choice if not word.startswith("~")))
    assert 0 < run.metrics["test/recall@20"] <= 1
    assert all(np.isfinite(value).all() for value in run.tensors.values())
    assert not (run.folder / "logs").exists()


def test_untied_tables_and_residuals_are_trained(console, words):
    run = console.train(
        "untied", *words, *ONE_EPOCH, "item_table.tied=false", "user_table.enabled=true", "propagation=grid"
    )
    tensors = run.tensors
    assert not np.array_equal(tensors["item_table.history_ND"], tensors["item_table.output_ND"])
    assert np.abs(tensors["user_table.residual_UD"]).max() > 0


def test_ids_alone_go_through_export_and_recommend(console, words):
    run = console.train("ids", *words, *QUICK, "id_dim=8", "modalities=[]", "stages=ids", "stages.ids.max_epochs=2")
    assert run.metrics["test/cold/recall@20"] == 0
    assert run.metrics["frontier"] == []
    assert "content only" not in run.metrics["views"]
    bundle = run.folder / "bundle"
    console("export", f"ckpt={run.model}", f"bundle_dir={bundle}")
    console("verify", f"bundle_dir={bundle}")
    assert console("recommend", f"bundle_dir={bundle}", f"user='{user_id(2)}'", "k=5").out.count("clip-") == 5
    assert console("recommend", f"bundle_dir={bundle}", "history=[clip-08]", "k=5").out.count("clip-") == 5


def test_a_finished_run_is_not_trained_again(console, words):
    """The same command in the same folder loads what stands there, and says so."""
    first = console.train("twice", *words, *ONE_EPOCH)
    before, stamp = first.tensors, (first.folder / "checkpoints" / "0_joint" / "best.ckpt").stat().st_mtime_ns
    again = console.train("twice", *words, *ONE_EPOCH)
    assert f"finished earlier, loaded from {first.folder / 'checkpoints' / '0_joint'}" in again.answer.out
    assert (first.folder / "checkpoints" / "0_joint" / "best.ckpt").stat().st_mtime_ns == stamp
    assert all(np.array_equal(before[name], value) for name, value in again.tensors.items())


EXPERIMENTS = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))


ELSEWHERE = {"media": "test_media.py"}  # trains, exports and verifies this one already
FOLDERS = {"tiktok": "tiktok", "movielens": "ml-100k", "lastfm": "lastfm-2k"}  # of the data sets, below shared/data
FILMS, LISTENERS = 40, 60
COARSE = {"kappas": [0.0], "scales": [1.0], "neighbour_weights": [0.0], "smoothings": [0.0], "offsets": [-1.0, 0.0]}


def graph(name: str) -> dict[str, Any]:
    """All that decides an experiment's towers, and so its graphs."""
    config = compose("train", [f"+experiment={name}"])
    parts = {key: config[key] for key in MODEL_KEYS}
    return {
        key: OmegaConf.to_container(part, resolve=True) if OmegaConf.is_config(part) else part
        for key, part in parts.items()
    }


@pytest.fixture(scope="session")
def encoders(tmp_path_factory) -> list[str]:
    """The overrides that name encoders of the same families with tiny random weights.

    To export towers that take raw media costs half a minute with the real ones. `tests/test_readme.py` does it for the
    quickstart; experiments of equal towers have the same graphs, so these do for them.
    """
    return save_encoders(tmp_path_factory.mktemp("encoders"))


def own_data(request: pytest.FixtureRequest, console: Console, name: str) -> list[str]:
    """The overrides that name an experiment's data set: the real one, or small films made here."""
    data = compose("train", [f"+experiment={name}"]).data.name
    if data in FOLDERS:
        return [f"data.path={request.getfixturevalue('shared_data') / 'data' / FOLDERS[data]}"]
    if data == "simulated":
        return ["+data.source.num_users=500", "+data.source.num_items=300"]
    small = [] if graph(name) != graph("quickstart") else request.getfixturevalue("encoders")
    if data == "sample":
        return [*small, f"++data.source.num_items={FILMS}", f"++data.source.num_users={LISTENERS}"]
    assert data == "microlens", f"a new data set: {data}. Say here where its small copy comes from."
    return [*small, *write_microlens(console.folder / "MicroLens-tiny", FILMS, LISTENERS)]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name not in ELSEWHERE])
def test_an_experiment_runs_one_step_and_its_bundle_is_sound(console, request, name):
    """One batch of the first stage and of each later one, a little of everything that comes after training, and a bundle."""
    config = compose("train", [f"+experiment={name}"])
    words = [f"+experiment={name}", "+trainer.limit_train_batches=1", "baseline=[popularity]", "propagation=none"]
    words += [f"stages.{stage}.max_epochs=1" for stage in config.stages]
    words += [f"++grid.{key}={values}" for key, values in COARSE.items()]
    run = console.train(f"experiment_{name}", *words, *own_data(request, console, name))
    assert 0 < run.metrics["test/ndcg@20"] < 1  # recall may be 1: of so few films hardly 20 are alive at once
    assert run.record["stages"][0]["epochs"] == 1
    bundle = run.folder / "bundle"
    console("export", f"ckpt={run.model}", f"bundle_dir={bundle}", f"calibration={config.calibration}")
    console("verify", f"bundle_dir={bundle}")
    assert read(bundle / "parity.json")["passed"] is True


@pytest.mark.parametrize(("name", "file"), ELSEWHERE.items())
def test_another_file_runs_the_experiment(name, file):
    text = (ROOT / "tests" / "pipelines" / file).read_text()
    assert all(word in text for word in (f'"+experiment={name}"', '"export"', '"verify"'))


def test_the_towers_of_the_quickstart_are_exported_with_real_weights():
    """By `tests/test_readme.py`, for every experiment with the same towers; the test above counts on it."""
    shown = readme_commands()
    assert "python train.py +experiment=quickstart run_dir=runs/quickstart" in shown
    assert any(re.match(r"(python|avrec) export\S* ckpt=runs/quickstart/model.pt", line) for line in shown)


def test_every_experiment_names_the_command_that_runs_it():
    for name in EXPERIMENTS:
        lines = (ROOT / "conf" / "experiment" / f"{name}.yaml").read_text().splitlines()
        assert lines[0] == "# @package _global_"
        assert re.match(rf"# python train\.py \+experiment={name}( |$)", lines[1]), name


EXAMPLE = re.compile(r"^ *avrec (\w+) (.*?)(?:  +#.*)?$")
PLACEHOLDERS = {"FOLDER": "folder", "TIME": "2026", "NAME": "name", "USER_ID": "1"}


@pytest.mark.parametrize("verb", ["prepare", "train", "evaluate", "export", "recommend", "verify"])
def test_every_example_of_the_help_composes(verb):
    """What `avrec VERB --help` shows can be typed."""
    header = (ROOT / "conf" / f"{verb}.yaml").read_text()
    examples = [found.groups() for line in header.splitlines() if (found := EXAMPLE.match(line))]
    assert examples
    for name, text in examples:
        words = [word for word in text.split() if not word.startswith("-")]
        for placeholder, value in PLACEHOLDERS.items():
            words = [word.replace(placeholder, value) for word in words]
        swept = {word.partition("=")[0]: word for word in words if "," in word and "[" not in word}
        compose(
            name, [swept[key].split(",")[0] if (key := word.partition("=")[0]) in swept else word for word in words]
        )
