"""A small configuration folder and a verb that only writes down what it was given."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from avrec.cli import main

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "train.yaml": """
defaults:
  - run_level
  - optimizer: adam
  - override hydra/job_logging: none
  - override hydra/hydra_logging: none
  - _self_
task_name: train
seed: 1
data_dir: null
hydra: {help: {header: "avrec train: a test.\\n\\nExamples:\\n  avrec train seed=2\\n"}}
""",
    "optimizer/adam.yaml": "_target_: torch.optim.Adam\n_partial_: true\nlr: 0.1\n",
    "optimizer/sgd.yaml": "_target_: torch.optim.SGD\n_partial_: true\nlr: 0.1\n",
    "experiment/quick.yaml": "# @package _global_\ntask_name: quick\nseed: 9\n",
}


@pytest.fixture
def conf(tmp_path):
    folder = tmp_path / "conf"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for name in ("run_level.yaml", "hydra/job_logging/avrec.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text((ROOT / "conf" / name).read_text())
    return folder


class Runs(list):
    """What `avrec.pipelines.train.run` was called with, and what it should do."""

    def __init__(self):
        self.action = lambda config: None

    def run(self, config):
        self.append(OmegaConf.to_container(config, resolve=True))
        return self.action(config)


@pytest.fixture
def runs(monkeypatch):
    found = Runs()
    monkeypatch.setitem(sys.modules, "avrec.pipelines.train", SimpleNamespace(run=found.run))
    return found


@pytest.fixture
def train(monkeypatch, tmp_path, conf, capsys):
    """Run `train.py` with arguments in an empty folder: exit code, standard output, standard error."""
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)

    def call(*arguments, verb="train", own_conf=True):
        options = ["--config-path", str(conf)] if own_conf else []
        monkeypatch.setattr(sys, "argv", [f"{verb}.py", *options, *arguments])
        code = main(verb)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
