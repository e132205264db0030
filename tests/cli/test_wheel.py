"""An installed wheel works from another folder: help, configuration, mistakes, and a whole training run."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
PARTS = ["avrec", "conf", "pyproject.toml", "README.md", "LICENSE"]


def run(*words, **options):
    answer = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=600, **options)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built without a network from a copy, so that nothing is left in the checkout."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed; it comes with: pip install 'avrec[dev]'")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, source / part)
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", out, cwd=source)
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder with the installed package and its console command, apart from the checkout."""
    if importlib.util.find_spec("pip") is None:
        pytest.skip("pip is not installed in this environment")
    target = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel)
    return target


@pytest.fixture
def avrec(installed, tmp_path):
    """Call the installed console command in an empty folder, where only the wheel can be the package `avrec`."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "AVREC"))}
    environment |= {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    code = "import avrec; print(avrec.__file__)"
    where = run(sys.executable, "-c", code, cwd=tmp_path, env=environment).strip()
    assert Path(where).is_relative_to(installed)

    def call(*words, code=0):
        command = [sys.executable, installed / "bin" / "avrec", *words]
        answer = subprocess.run(
            [str(word) for word in command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
        )
        assert answer.returncode == code, answer.stdout + answer.stderr
        return answer

    return call


def test_the_wheel_carries_the_package_and_its_configuration_only(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "avrec").rglob("*.py")}
    configs = {f"avrec/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert modules | configs <= set(names)
    assert {"avrec/report/templates/report.html.j2", "avrec/report/templates/report.css"} <= set(names)
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"avrec"}
    entry = next(name for name in names if name.endswith("entry_points.txt"))
    assert "avrec = avrec.cli:main" in zipfile.ZipFile(wheel).read(entry).decode()


def test_help_and_mistakes(avrec):
    assert "avrec train +experiment=quickstart" in avrec("--help").stdout
    answer = avrec("train", "--help").stdout
    assert answer.startswith("avrec train: ")
    assert "quickstart" in answer
    assert avrec("train", "seeed=3", code=2).stderr == "avrec train: seeed: no such key; did you mean 'seed'?\n"


def test_the_line_from_another_folder(avrec, tmp_path):
    """Train, evaluate, export, verify and recommend, with the installed package and nothing of the checkout."""
    small = [
        "+data.source.num_users=300",
        "+data.source.num_items=200",
        "++grid.kappas=[1.0]",
        "++grid.smoothings=[0.0]",
    ]
    avrec("train", "+experiment=simulated", *small, "stages.joint.max_epochs=1", "baseline=popularity", "run_dir=run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert any(name.startswith("test/") for name in json.dumps(metrics).split('"'))
    avrec("evaluate", "ckpt=run/model.pt", "run_dir=again", "baseline=popularity")
    avrec("export", "ckpt=run/model.pt", "bundle_dir=bundle")
    avrec("verify", "bundle_dir=bundle")
    user = pq.read_table(tmp_path / "bundle" / "users.parquet")["user_id"][0].as_py()
    assert avrec("recommend", "bundle_dir=bundle", f"user='{user}'").stdout
