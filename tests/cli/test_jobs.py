"""Several jobs of a sweep, and several ranks of one job."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hydra.core.plugins import Plugins

from avrec.core.errors import DataError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def returned(monkeypatch):
    """What each job gave back to Hydra's sweeper."""
    Plugins.instance()  # the first search for plugins imports their modules anew
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher

    values = []
    launch = BasicLauncher.launch

    def spy(self, job_overrides, initial_job_idx):
        answers = launch(self, job_overrides, initial_job_idx)
        values.extend(answer._return_value for answer in answers)
        return answers

    monkeypatch.setattr(BasicLauncher, "launch", spy)
    return values


def test_a_sweep_runs_every_value_as_a_trial(train, runs, returned):
    runs.action = lambda config: SimpleNamespace(objective=np.float32(config.seed / 2))
    assert train("-m", "+experiment=quick", "seed=1,2", "optimizer=adam,sgd")[0] == 0
    assert [(run["seed"], run["optimizer"]["_target_"][-4:]) for run in runs] == [
        (1, "Adam"),
        (1, ".SGD"),
        (2, "Adam"),
        (2, ".SGD"),
    ]
    assert all(run["multirun"] is True for run in runs)
    assert returned == [0.5, 0.5, 1.0, 1.0]
    assert all(type(value) is float for value in returned)
    folders = [Path(run["run_dir"]) for run in runs]
    assert [folder.name for folder in folders] == ["0", "1", "2", "3"]
    assert {folder.parent.parent for folder in folders} == {Path("sweeps/quick").absolute()}
    assert sorted(path.name for path in folders[0].parent.iterdir()) == ["0", "1", "2", "3", "multirun.yaml"]
    assert not Path("runs").exists()


def test_a_plain_float_and_no_objective_are_fine(train, runs, returned):
    runs.action = lambda config: 0.25
    train("-m", "seed=1")
    runs.action = lambda config: {"path": "x"}
    train("-m", "seed=1")
    assert returned == [0.25, None]


def test_a_failing_trial_stops_the_sweep_with_its_overrides(train, runs):
    def fail(config):
        if config.seed == 2:
            raise DataError(["items.csv row 3: bad"])

    runs.action = fail
    code, _, err = train("-m", "seed=1,2,3")
    assert code == 3
    assert err.splitlines() == ["Error executing job with overrides: ['seed=2']", "avrec train: items.csv row 3: bad"]


def test_sweeping_needs_the_flag(train, runs):
    code, _, err = train("seed=1,2")
    assert code == 2
    assert "To sweep over it, add --multirun to your command line" in err
    assert runs == []


# A program as Lightning sees it: it notes what each rank is given, and rank 0 starts rank 1 the way Lightning does.
PROGRAM = """
import json, os, subprocess, sys, types
from pathlib import Path
from avrec.cli import main

def run(config):
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    note = {"seed": config.seed, "lr": config.optimizer.lr, "run_dir": config.run_dir, "multirun": config.multirun}
    Path(config.run_dir, f"rank{rank}.json").write_text(json.dumps(note))
    if rank == 0:
        from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
        from lightning_fabric.plugins.environments import LightningEnvironment
        launcher = _SubprocessScriptLauncher(LightningEnvironment(), num_processes=2, num_nodes=1)
        launcher._call_children_scripts()
        assert [process.wait() for process in launcher.procs] == [0]
    return 0.5

sys.modules["avrec.pipelines.train"] = types.SimpleNamespace(run=run)
if __name__ == "__main__":
    sys.exit(main(VERB))
"""


@pytest.mark.parametrize(("verb", "sweep"), [("train", True), (None, False)])
def test_ranks_share_the_folder_and_the_configuration_of_their_job(conf, tmp_path, verb, sweep):
    """Two ranks times one run or two trials: exactly one or two folders, each written by both ranks."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace("VERB", repr(verb)))
    words = [] if verb else ["train"]
    words += ["--config-path", "conf", "+experiment=quick", "optimizer.lr=0.5"]
    words += ["-m", "seed=3,4"] if sweep else ["seed=3"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, str(program), *words], cwd=tmp_path, env=environment, check=True, timeout=100)
    notes = sorted(tmp_path.rglob("rank*.json"))
    assert len(notes) == (4 if sweep else 2)
    folders = sorted({note.parent for note in notes})
    assert [sorted(path.name for path in folder.glob("rank*")) for folder in folders] == [
        ["rank0.json", "rank1.json"]
    ] * len(folders)
    for folder, seed in zip(folders, [3, 4], strict=False):
        expected = {"seed": seed, "lr": 0.5, "run_dir": str(folder), "multirun": sweep}
        assert [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)] == [expected, expected]
    written = [path for name in ("runs", "sweeps") for path in (tmp_path / name).glob("*/*") if path.is_dir()]
    assert len(written) == 1


def test_the_command_line_is_given_back(train, runs, monkeypatch):
    seen = []
    runs.action = lambda config: seen.append(list(sys.argv))
    train("seed=3")
    assert seen[0][0] == "train.py"
    assert seen[0][1:5:2] == ["--config-path", "--config-name"]
    assert seen[0][5:] == ["++multirun=false", "hydra/job_logging=none", "hydra/hydra_logging=none"]
    assert sys.argv[-1] == "seed=3"
