"""`avrec serve` as a process: cold, without PyTorch, over a socket, until SIGTERM."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.export.world import World

ROOT = Path(__file__).resolve().parents[2]
KEY = "a key of more than sixteen characters"


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "avrec.cli", "serve", *arguments]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """PyTorch cannot be imported here."""
    (folder / "torch.py").write_text("raise ImportError('there is no torch here')")
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return os.environ | threads | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"} | more


@pytest.fixture
def start(attention_world: World, tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], int]]]:
    """Starts a server and gives it with its port."""
    servers = []

    def started(**variables: str) -> tuple[subprocess.Popen[str], int]:
        server = subprocess.Popen(
            command(f"bundle_dir='{attention_world.folder}'", "port=0"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment(tmp_path, **variables),
        )  # fmt: skip
        servers.append(server)
        line = server.stdout.readline()
        assert line.startswith("avrec serve: 30 items, 20 users (bundle "), line + server.stderr.read()
        return server, int(line.split(" at http://127.0.0.1:")[1].split()[0])

    yield started
    for server in servers:
        server.kill()
        server.communicate()


def ask(port: int, path: str, message: object = None, **headers: str) -> tuple[int, object]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    body = None if message is None else json.dumps(message)
    connection.request(
        "GET" if message is None else "POST", path, body, {"content-type": "application/json", **headers}
    )
    reply = connection.getresponse()
    return reply.status, json.loads(reply.read())


def test_it_answers_without_torch_and_ends_when_told_after_what_was_begun(
    start: Callable[..., tuple[subprocess.Popen[str], int]],
) -> None:
    server, port = start()
    assert ask(port, "/health/ready")[0] == 200
    status, answer = ask(port, "/recommend", {"user": "user 3", "k": 4})
    assert status == 200 and len(answer["items"]) == 4 and answer["answered_by"] == "known user"
    libraries = Path(f"/proc/{server.pid}/maps").read_text()
    assert "onnxruntime" in libraries and "torch" not in libraries
    with socket.create_connection(("127.0.0.1", port), timeout=30) as begun:
        body = b'{"k": 2}'
        head = (
            "POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n"
        )
        begun.sendall(head.encode() + body[:4])
        time.sleep(0.2)  # the server has read the first half
        server.send_signal(signal.SIGTERM)
        until = time.monotonic() + 20
        while time.monotonic() < until:  # it takes no new ones
            try:
                ask(port, "/health/live")
            except OSError:
                break
        begun.sendall(body[4:])
        assert begun.recv(100).startswith(b"HTTP/1.1 200")
    assert server.wait(20) == 0, "a clean end is no failure"
    assert server.stderr.read() == ""


def test_the_key_comes_from_the_environment(start: Callable[..., tuple[subprocess.Popen[str], int]]) -> None:
    server, port = start(AVREC_API_KEY=KEY)
    assert ask(port, "/health/ready")[0] == 200
    assert ask(port, "/recommend", {})[0] == 401
    assert ask(port, "/recommend", {}, **{"x-api-key": KEY})[0] == 200
    assert KEY not in Path(f"/proc/{server.pid}/cmdline").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["host=0.0.0.0"], 2, "which others can reach, but there is no API key. Set the variable AVREC_API_KEY"),
        (["port=TAKEN"], 2, "cannot listen there"),
        (["prot=1"], 2, "prot"),
        (["max_uploads=0"], 2, "max_uploads is 0; expected a positive number."),
        (["bundle_dir=nowhere"], 4, "nowhere"),
    ],
)
def test_what_keeps_it_from_starting(
    attention_world: World, tmp_path: Path, arguments: list[str], code: int, text: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        given = [argument.replace("TAKEN", port) for argument in arguments]
        if not any(argument.startswith("bundle_dir") for argument in given):
            given.append(f"bundle_dir='{attention_world.folder}'")
        done = subprocess.run(
            command(*given), capture_output=True, text=True, cwd=tmp_path, env=environment(tmp_path), timeout=60
        )
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("avrec serve: ") and text in done.stderr and "Traceback" not in done.stderr
