"""One line from tables to a bundle, made once and looked at by many tests."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from avrec.cli import main
from tests.pipelines.world import write_tables

ROOT = Path(__file__).resolve().parents[2]
SMALL_MODEL = ["id_dim=16", "encoder.feature.dim=16", "fusion.num_heads=2"]
SMALL = [
    *SMALL_MODEL,
    "stages.joint.max_epochs=2",
    "sampler.batch_size=128",
    "baseline=[popularity,ease,content_knn]",
    "trainer.log_every_n_steps=1",
]


@dataclass(frozen=True)
class Answer:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str


class Console:
    """Runs the console command `avrec` inside this process, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *words: object, code: int = 0) -> Answer:
        out, err = io.StringIO(), io.StringIO()
        before = dict(os.environ)
        with (
            contextlib.chdir(self.folder),
            mock.patch.object(sys, "argv", ["avrec", *map(str, words)]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            found = main()
        os.environ.clear()
        os.environ.update(before)
        answer = Answer(found, out.getvalue(), err.getvalue())
        assert answer.code == code, f"{answer.out}\n{answer.err}"
        return answer

    def train(self, run: str, *words: object, code: int = 0) -> "Run":
        """Train into the folder `run` of this console's."""
        answer = self("train", f"run_dir={run}", *words, code=code)
        return Run(self.folder / run, answer)


@dataclass(frozen=True)
class Run:
    """A run's folder and what the command said."""

    folder: Path
    answer: Answer

    @property
    def model(self) -> Path:
        return self.folder / "model.pt"

    @cached_property
    def metrics(self) -> dict[str, Any]:
        return read(self.folder / "metrics.json")

    @cached_property
    def record(self) -> dict[str, Any]:
        return read(self.folder / "run.json")

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        state = torch.load(self.model, weights_only=True)["state_dict"]
        return {name: value.numpy() for name, value in state.items()}


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def only_test(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name.startswith("test/")}


def python(*words: object, cwd: Path, timeout_sec: float = 100, **environment: str) -> subprocess.CompletedProcess[str]:
    """Another interpreter, on one thread, that must end well."""
    answer = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=timeout_sec,
    )
    assert answer.returncode == 0, f"{answer.stdout}\n{answer.stderr}"
    return answer


@pytest.fixture(scope="session")
def console(tmp_path_factory) -> Console:
    before = torch.get_num_threads()
    yield Console(tmp_path_factory.mktemp("home"))
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tables(console) -> list[str]:
    """The overrides that name somebody's own tables."""
    return write_tables(console.folder / "tables")


@pytest.fixture(scope="session")
def prepared(console, tables) -> Path:
    """Where `avrec prepare` put them, by the command that it offers next."""
    words = console("prepare", *tables).out.splitlines()[-1].split()
    assert words[:-1] == ["next:", "avrec", "train", "data=prepared"]
    return console.folder / words[-1].removeprefix("data.path=")


@pytest.fixture(scope="session")
def data(prepared) -> list[str]:
    """The overrides of every training on the prepared tables."""
    return ["data=prepared", f"data.path={prepared}", *SMALL]


@pytest.fixture(scope="session")
def run(console, data) -> Run:
    return console.train("run", *data)


@pytest.fixture(scope="session")
def bundle(console, run) -> Path:
    console("export", f"ckpt={run.model}", f"bundle_dir={run.folder / 'bundle'}")
    return run.folder / "bundle"
