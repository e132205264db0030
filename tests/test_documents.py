"""Every command, target, verb, experiment and link that a document names exists."""

import re
from pathlib import Path

import pytest

from avrec.cli import VERBS

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def commands(text: str) -> list[str]:
    """The lines of fenced blocks, and what stands in backticks, that begin with one of our commands."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)
    return [line for line in lines if re.match(r"(?:\S*/)?(?:python3?|make|avrec|pytest)\s+\S", line)]


def problem(command: str) -> str | None:
    """What a command names that does not exist, or None."""
    words = command.split("#")[0].split()
    program, rest = words[0].split("/")[-1], words[1:]
    if program == "make":
        unknown = [word for word in rest if "=" not in word and word not in TARGETS]
        return f"no target {unknown}" if unknown else None
    script = next((word for word in rest if word.endswith(".py")), None) if program.startswith("python") else None
    if script and not (ROOT / script).exists():
        return f"no file {script}"
    if program == "avrec" and rest[0] not in {*VERBS, "--help", "--version", "VERB"}:
        return f"no verb {rest[0]}"
    for experiment in re.findall(r"\+experiment=([\w/,]+)", command):
        for name in experiment.split(","):
            if not (ROOT / "conf" / "experiment" / f"{name}.yaml").exists():
                return f"no experiment {name}"
    return None


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_commands_name_what_exists(path: Path) -> None:
    problems = [f"{command}: {problem(command)}" for command in commands(path.read_text(encoding="utf-8"))]
    assert not [line for line in problems if not line.endswith(": None")]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_relative_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8"))
    assert not [link for link in links if "://" not in link and not (path.parent / link).exists()]


def test_a_wrong_command_is_found() -> None:
    text = "Run `make tea`, `python brew.py` or\n```bash\navrec pour +experiment=no\npython train.py +experiment=no\nls\n```\n"
    assert commands(text) == [
        "avrec pour +experiment=no",
        "python train.py +experiment=no",
        "make tea",
        "python brew.py",
    ]
    assert problem("make tea") == "no target ['tea']"
    assert problem("python brew.py cup=1") == "no file brew.py"
    assert problem("avrec pour cup=1") == "no verb pour"
    assert problem(".venv/bin/python -m pip install x") is None
    assert problem("make test-slow PYTHON=python3.12") is None
