"""The real command line: every verb in a process of its own, and training in two ranks."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.pipelines.conftest import ROOT, SMALL_MODEL, Run, only_test, python, read
from tests.pipelines.world import write_tables

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LIMIT_SEC = 140
NO_DROPOUT = [*SMALL_MODEL, "item_table.dropout=0", "encoder.feature.dropout=0", "fusion.modality_dropout=0"]
# 60 users with 7 pairs each: nine batches, the last of one pair, so that one of two ranks has nothing to do.
WORDS = [*NO_DROPOUT, "sampler.batch_size=52", "baseline=[popularity]", "trainer.log_every_n_steps=1"]
STAGE = """
  _target_: avrec.training.stages.Stage
  name: {name}
  max_epochs: 2
  weights: {{_target_: avrec.training.module.LossWeights, id: {id}, content: 1.0, joint: {id}, id_dropout: 0.0}}
  frozen: {frozen}
  optimizer:
    _target_: avrec.training.optimiser.ParameterGroups
    optimizer: {{_target_: torch.optim.Adam, _partial_: true}}
    learning_rate: 0.01
"""


def train(*words, cwd):
    return python(ROOT / "train.py", *words, cwd=cwd, timeout_sec=LIMIT_SEC)


@pytest.fixture(scope="module")
def words(prepared):
    return ["data=prepared", f"data.path={prepared}", *WORDS]


@pytest.fixture(scope="module")
def two_stages(tmp_path_factory):
    """The overrides for content first, with the ids frozen, and then everything."""
    folder = tmp_path_factory.mktemp("conf")
    (folder / "stages").mkdir()
    first = STAGE.format(name="content", id=0.0, frozen="[item_table, user_tower]")
    (folder / "stages" / "two.yaml").write_text(f"first:{first}second:{STAGE.format(name='all', id=1.0, frozen='[]')}")
    return ["--config-dir", str(folder), "stages=two", "trainer.precision=64-true"]


def test_an_evaluation_in_a_process_of_its_own_repeats_the_numbers_of_training(tmp_path):
    """From tables with a space in their path; `tests/test_readme.py` and `tests/cli/test_wheel.py` run the verbs that follow."""
    tables = write_tables(tmp_path / "my tables")
    train(*tables, *WORDS, "stages.joint.max_epochs=1", "run_dir=run", cwd=tmp_path)
    python(ROOT / "evaluate.py", "ckpt=run/model.pt", "baseline=[popularity]", "run_dir=again", cwd=tmp_path)
    assert read(tmp_path / "again" / "metrics.json") == read(tmp_path / "run" / "metrics.json")


def test_two_ranks_and_two_stages_are_one_process_and_one_folder(words, two_stages, tmp_path):
    """In double precision and without dropout: the same curves, choices and test metrics, and equal tensors."""
    runs = {}
    for trainer in ("cpu", "ddp"):
        (tmp_path / trainer).mkdir()
        answer = train(*two_stages, *words, f"trainer={trainer}", cwd=tmp_path / trainer)
        (folder,) = (tmp_path / trainer / "runs" / "train").iterdir()
        assert {path.name for path in (tmp_path / trainer).iterdir()} == {"data", "runs"}  # data: what baselines chose
        runs[trainer] = Run(folder, answer)
    one, two = runs["cpu"], runs["ddp"]
    assert [stage["epochs"] for stage in two.record["stages"]] == [2, 2]
    for expected, found in zip(one.record["stages"], two.record["stages"], strict=True):
        assert found == pytest.approx(expected, rel=1e-9)
    assert two.record["operating_points"]["overall"] == pytest.approx(
        one.record["operating_points"]["overall"], rel=1e-6
    )
    assert only_test(two.metrics) == pytest.approx(only_test(one.metrics), rel=1e-9)
    before, after = one.tensors, two.tensors
    assert all(np.allclose(before[name], after[name], rtol=1e-6, atol=1e-9) for name in before)
    assert two.answer.stdout.count("avrec 0.") == 1, "only the first rank speaks"
    curves = [column(run, "all", "train/loss") for run in (one, two)]
    assert len(curves[0]) == len(curves[1]) == 18
    means = [np.mean(curve) for curve in curves]  # the second is of half the rows
    assert means[1] == pytest.approx(means[0], rel=0.2)


def column(run: Run, stage: str, name: str) -> list[float]:
    lines = (run.folder / "logs" / stage / "metrics.csv").read_text().splitlines()
    place = lines[0].split(",").index(name)
    return [float(value) for line in lines[1:] if (value := line.split(",")[place])]


def test_two_ranks_times_two_trials_are_two_folders(words, tmp_path):
    train("-m", *words, "stages.joint.max_epochs=1", "trainer=ddp", "seed=1,2", cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["sweeps"]
    (sweep,) = (tmp_path / "sweeps" / "train").iterdir()
    assert sorted(path.name for path in sweep.iterdir()) == ["0", "1", "multirun.yaml"]
    trials = [Run(sweep / name, None) for name in "01"]
    assert [trial.record["seed"] for trial in trials] == [1, 2]
    assert all(math.isfinite(trial.record["validation_objective"]) for trial in trials)
    assert not list(sweep.rglob("metrics.json"))


BREAKS_IN_RANK_1 = """
import os, sys
from avrec.training.validation import Validator

calls, validate = [], Validator.__call__
def broken(self, model, weights):
    calls.append(None)
    if os.environ.get("LOCAL_RANK") == "1" and len(calls) == 2:
        raise RuntimeError("rank 1 is broken")
    return validate(self, model, weights)

Validator.__call__ = broken
from avrec.cli import main
sys.exit(main("train"))
"""


def test_a_rank_that_breaks_ends_the_run_and_the_next_goes_on(console, words, tmp_path):
    """The other rank does not wait for it; the same command then finishes the run as if nothing had been."""
    program = tmp_path / "program.py"
    program.write_text(BREAKS_IN_RANK_1)
    words = [*words, "stages.joint.max_epochs=3", "trainer.precision=64-true"]
    answer = subprocess.run(
        [sys.executable, program, *words, "trainer=ddp", "run_dir=run"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT_SEC,
    )
    assert answer.returncode != 0
    assert "rank 1 is broken" in answer.stderr
    assert not (tmp_path / "run" / "model.pt").exists()
    assert (tmp_path / "run" / "checkpoints" / "0_joint" / "last.ckpt").exists()

    train(*words, "trainer=ddp", "run_dir=run", cwd=tmp_path)
    found, whole = Run(tmp_path / "run", None), console.train("whole", *words)
    assert found.record["stages"] == [pytest.approx(stage, rel=1e-9) for stage in whole.record["stages"]]
    assert only_test(found.metrics) == pytest.approx(only_test(whole.metrics), rel=1e-9)
    before, after = whole.tensors, found.tensors
    # Lightning reads a checkpoint into single precision before it makes the module double, hence no more than that.
    assert all(np.allclose(before[name], after[name], rtol=1e-5, atol=1e-6) for name in before)
