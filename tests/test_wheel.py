"""The built wheel stands alone: installed, it trains from a folder that holds no checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(*command: object, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def home(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the wheel and sees the packages of this one, but not this checkout."""
    folder = tmp_path_factory.mktemp("home")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        wheel,
        cwd=folder,
    )
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    (packages / "dependencies.pth").write_text(
        "\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    )
    return folder


def test_the_wheel_holds_every_module_and_config(wheel: Path) -> None:
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("avrec/")}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "avrec").rglob("*.py")}
    configs = {f"avrec/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert modules | configs <= inside


def test_the_installed_command_trains_from_another_folder(home: Path) -> None:
    work = home / "elsewhere"
    work.mkdir()
    python = home / "venv" / "bin" / "python"
    assert str(home) in run(python, "-c", "import avrec; print(avrec.__file__)", cwd=work)
    run(home / "venv" / "bin" / "avrec", "train", "+experiment=quickstart", "run_dir=run", cwd=work)
    assert "test/recall@20" in json.loads((work / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert (work / "run" / "model.pt").is_file()
