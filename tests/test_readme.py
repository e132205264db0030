"""The commands that the README prints are run, in its order, in an empty folder."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pytest

from tests.test_documents import commands

ROOT = Path(__file__).resolve().parents[1]
PLACEHOLDER = "FOLDER"


def readme_commands() -> list[str]:
    blocks = (ROOT / "README.md").read_text(encoding="utf-8").split("```bash\n")[1:]
    lines = [line for block in blocks for line in block.split("```")[0].splitlines()]
    return [
        line.split("#")[0].strip()
        for line in lines
        if line.startswith(("python ", "avrec ")) and PLACEHOLDER not in line
    ]


def write_own_tables(folder: Path) -> None:
    """Songs of four kinds, and listeners who mostly keep to one; Ann and two songs are those of the README."""
    rng = np.random.default_rng(0)
    songs, kind = [f"song-{index}" for index in range(40)], np.arange(40) % 4
    lines = ["user_id,item_id,timestamp"]
    for user in range(60):
        weight = np.where(kind == user % 4, 8.0, 1.0)
        for place, song in enumerate(rng.choice(40, 12, replace=False, p=weight / weight.sum())):
            lines.append(
                f"{'ann' if user == 0 else f'listener-{user}'},{songs[song]},{1_700_000_000 + 86_400 * place + user}"
            )
    (folder / "interactions.csv").write_text("\n".join(lines) + "\n")
    (folder / "items.csv").write_text(
        "\n".join(["item_id,title", *(f"{song},Title of {song}" for song in songs)]) + "\n"
    )
    np.save(
        folder / "audio.npy",
        (np.eye(4)[kind] @ rng.normal(size=(4, 16)) + 0.1 * rng.normal(size=(40, 16))).astype(np.float32),
    )


def test_the_readme_shows_the_commands_that_matter() -> None:
    shown = " ".join(readme_commands())
    for words in (
        "train.py",
        "export.py",
        "evaluate.py",
        "avrec train",
        "avrec recommend",
        "+experiment=quickstart",
        "data=tables",
    ):
        assert words in shown
    assert len(readme_commands()) <= len(commands((ROOT / "README.md").read_text(encoding="utf-8")))


def serve_until_told(command: str, words: list[str], folder: Path, environment: dict[str, str]) -> None:
    """Start the server, ask it for a list and end it."""
    with subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = re.search(r"http://\S+", server.stdout.readline())
            assert address is not None, command
            body = json.dumps({"user": "user00000", "k": 3}).encode()
            asked = Request(f"{address[0].rstrip('/')}/recommend", body, {"content-type": "application/json"})
            with urlopen(asked, timeout=30) as reply:
                answer = json.load(reply)
            assert len(answer["items"]) == 3 and answer["answered_by"] == "known user"
        finally:
            server.send_signal(signal.SIGTERM)
    assert server.returncode == 0, command


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_command_of_the_readme_runs(tmp_path: Path) -> None:
    for script in ROOT.glob("*.py"):
        (tmp_path / script.name).symlink_to(script)
    write_own_tables(tmp_path)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for command in readme_commands():
        program, *words = shlex.split(command)
        start = [sys.executable] if program == "python" else [sys.executable, "-m", "avrec.cli"]
        if words[0] == "serve":
            serve_until_told(command, [*start, *words, "port=0"], tmp_path, environment)
            continue
        done = subprocess.run(
            [*start, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert (tmp_path / "runs" / "quickstart" / "metrics.json").is_file()
    assert (tmp_path / "runs" / "mine" / "bundle" / "manifest.json").is_file()
