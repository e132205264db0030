"""The house's rules that no linter knows: walls, the one door to the disk, nothing that loads code, sizes and names."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "avrec"
MODULES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted(ROOT.glob("*.py"))
SOURCES = MODULES + SCRIPTS

# Which third-party packages a room may import (floors and PyTorch-free chains are import-linter's, in pyproject.toml).
WALLS = {
    "core": {"numpy", "pyarrow"},
    "media": {"av", "numpy", "scipy", "soundfile"},
    "retrieval": {"numpy"},
    "factors": {"implicit", "numpy", "scipy", "threadpoolctl"},
    "data": {"ibis", "numpy", "pyarrow", "scipy"},
    "models": {"numpy", "safetensors", "torch", "torchaudio", "torchvision", "transformers"},
    "losses": {"torch"},
    "baselines": {"numpy", "scipy", "threadpoolctl"},
    "bundle": {"numpy", "onnxruntime", "pyarrow"},
    "evaluation": {"numpy", "scipy", "torch"},
    "training": {"lightning_fabric", "numpy", "pytorch_lightning", "rich", "scipy", "torch"},
    "build": {"hydra", "numpy", "omegaconf", "torch"},
    "export": {"numpy", "onnx", "onnxruntime", "onnxscript", "pyarrow", "torch"},
    "report": {"jinja2", "matplotlib", "numpy", "pyarrow", "rich"},
    "serving": {"fastapi", "numpy", "prometheus_client", "pydantic", "python_multipart", "starlette", "uvicorn"},
    "pipelines": {"hydra", "numpy", "omegaconf", "pytorch_lightning", "rich", "torch"},
    "cli.py": {"hydra", "omegaconf", "rich"},
    "__init__.py": set(),
    "__main__.py": set(),
}
LOADS_CODE = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
VAGUE_NAMES = {"common", "helper", "helpers", "misc", "tools", "util", "utils"}
MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 60
MAX_CONSTRUCTOR_ARGUMENTS = 8
MAX_SCRIPT_LINES = 25
WRITES = {
    "write_text", "write_bytes", "to_csv", "to_parquet", "tofile", "savez", "savez_compressed", "savetxt", "memmap", "open_memmap",
}  # fmt: skip


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def imported(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Every import, wherever in the file it stands, with the package at its root."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node, node.module.split(".")[0]


def calls(tree: ast.Module) -> Iterator[tuple[ast.Call, str]]:
    """Every call with the last part of the called name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            yield node, function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def is_third_party(name: str) -> bool:
    return name not in sys.stdlib_module_names and name != "avrec"


def test_rooms_keep_their_walls() -> None:
    breaches = []
    for path in MODULES:
        room = path.relative_to(PACKAGE).parts[0]
        assert room in WALLS, f"the room {room} has no line in WALLS; give it one, and its floor in pyproject.toml"
        breaches += [
            f"{place(path, node)} imports {name}"
            for node, name in imported(parsed(path))
            if is_third_party(name) and name not in WALLS[room]
        ]
    assert not breaches, breaches


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*extras: str) -> set[str]:
    """The distributions that pyproject.toml asks for: the core's, and those of `extras`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["dependencies"] + [line for extra in extras for line in project["optional-dependencies"][extra]]
    return {normal(re.match(r"[\w.-]+", line)[0]) for line in lines}


# Rooms that only an extra opens; everything else must run on the core's dependencies.
EXTRAS = {
    "export": ("export",),
    "report": ("report",),
    "serving": ("serve",),
    "bundle": ("serve",),
    "media": ("decode",),
    "models": ("media",),
}


def test_what_is_imported_is_declared() -> None:
    """`pip install avrec` brings everything that training imports; an extra everything that its room adds."""
    distributions = importlib.metadata.packages_distributions()
    missing = []
    for path in SOURCES:
        extras = EXTRAS.get(path.relative_to(ROOT).parts[1] if path in MODULES else "", ())
        for node, name in imported(parsed(path)):
            if is_third_party(name):
                owners = {normal(owner) for owner in distributions.get(name, [name])}
                if not owners & declared(*extras):
                    missing.append(f"{place(path, node)} imports {name}, which pyproject.toml does not declare for it")
    assert not missing, missing


def test_constraints_pin_every_declared_dependency() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9._-]*==[\w.]+", pin) for pin in pins), (
        "a pin is name==version, nothing else"
    )
    pinned = {normal(pin.split("==")[0]) for pin in pins}
    assert declared("export", "report", "serve", "wandb", "dev") <= pinned, "renew with: make constraints"
    assert "lightning" not in pinned


def test_nothing_loads_pickle_or_code() -> None:
    breaches = []
    for path in SOURCES:
        tree = parsed(path)
        breaches += [f"{place(path, node)} imports {name}" for node, name in imported(tree) if name in LOADS_CODE]
        for call, name in calls(tree):
            given = {keyword.arg: keyword.value for keyword in call.keywords}
            module = (
                call.func.value.id
                if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name)
                else ""
            )
            is_builtin = isinstance(call.func, ast.Name)
            for option, safe in (("allow_pickle", False), ("weights_only", True)):
                if option in given and not (isinstance(given[option], ast.Constant) and given[option].value is safe):
                    breaches.append(f"{place(path, call)} {name}({option} is not {safe})")
            if module == "torch" and name == "load" and "weights_only" not in given:
                breaches.append(f"{place(path, call)} torch.load without weights_only=True")
            if is_builtin and name in {"eval", "exec", "compile", "__import__"}:
                breaches.append(f"{place(path, call)} {name}()")
            if "shell" in given or (module == "os" and name in {"system", "popen"}):
                breaches.append(f"{place(path, call)} runs a shell")
    assert not breaches, breaches


def test_everything_is_written_through_the_one_door() -> None:
    """Only core/files.py opens a file for writing; others ask it for `atomic_write` or `atomic_folder`."""
    breaches = []
    for path in SOURCES:
        if path == PACKAGE / "core" / "files.py":
            continue
        for call, name in calls(parsed(path)):
            modes = [
                node.value
                for node in [*call.args, *[keyword.value for keyword in call.keywords]]
                if isinstance(node, ast.Constant)
            ]
            writes = name == "open" and any(
                isinstance(mode, str) and re.fullmatch(r"[rbt]*[wax+][rbt+]*", mode) for mode in modes
            )
            is_array = (
                name == "save"
                and isinstance(call.func, ast.Attribute)
                and getattr(call.func.value, "id", "") in {"np", "numpy"}
            )
            if writes or is_array or name in WRITES:
                breaches.append(f"{place(path, call)} {name}")
    assert not breaches, breaches


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_one_noun(path: Path) -> None:
    tree = parsed(path)
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert ast.get_docstring(tree), "no docstring: say in a sentence what the module holds"
    assert lines <= (MAX_SCRIPT_LINES if path in SCRIPTS else MAX_MODULE_LINES)
    assert path.stem not in VAGUE_NAMES, "the name says nothing; name the room that the house lacks"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            assert (node.end_lineno or 0) - node.lineno < MAX_FUNCTION_LINES, f"{node.name} is two functions"
            if node.name == "__init__":
                assert len(arguments) - 1 <= MAX_CONSTRUCTOR_ARGUMENTS, (
                    f"the constructor at line {node.lineno} is two objects"
                )


# The documents may point at these and at no other host.
HOSTS = {"www.apache.org", "keepachangelog.com", "semver.org"}
SYSTEM_FOLDERS = "bin|dev|etc|proc|sys|usr|admin|health|models|recommend|similar|upload|v2"  # and the first parts of the server's routes


def texts() -> list[Path]:
    folders = ["avrec", "benchmarks", "conf", "docs", "notebooks", "tests", ".ci"]
    names = [path for folder in folders for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
    names += [path for path in sorted(ROOT.iterdir()) if path.is_file() and path.name not in {"LICENSE", ".gitignore"}]
    kinds = {"", ".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".cff", ".json", ".ipynb", ".html", ".css", ".js"}
    return [path for path in names if path.suffix in kinds and "__pycache__" not in path.parts]


def test_no_text_names_a_machine() -> None:
    """No absolute path outside the system's own folders, and no host: the repository is the same everywhere."""
    breaches = []
    for path in texts():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            hosts = set(re.findall(r"\b(?:https?|ftp|ssh|git)://([\w.-]+\.[a-z]{2,})", line)) - HOSTS
            paths = re.findall(rf"(?<![\w.~}}$*)>:/-])/(?!(?:{SYSTEM_FOLDERS})\b)(?:[\w.-]+/)+[\w.-]*", line)
            if hosts or (paths and "override" not in line):
                breaches.append(f"{path.relative_to(ROOT)}:{number} {sorted(hosts)} {paths}")
    assert not breaches, breaches


def test_no_source_is_ignored_by_git() -> None:
    """`avrec/data` and `avrec/build` are rooms; an ignore rule meant for output must not hide them from git or the wheel."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    files = [str(path.relative_to(ROOT)) for path in texts()]
    answer = subprocess.run(
        ["git", "check-ignore", "--stdin"], input="\n".join(files), cwd=ROOT, capture_output=True, text=True
    )
    assert answer.stdout == ""


def test_what_runs_leave_behind_is_not_checked_for_spelling() -> None:
    """Else `make test` fails for whoever has made the quickstart: a report holds images as letters."""
    folders = [
        line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if re.fullmatch(r"/\w+/", line)
    ]
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["codespell"]
    assert {"runs", "data"} <= set(folders)
    assert {f"./{folder}" for folder in folders} <= set(settings["skip"].split(","))
