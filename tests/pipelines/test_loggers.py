"""Loggers of one's choice; Weights & Biases runs, offline unless told otherwise, where nothing can be reached."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.pipelines.conftest import ROOT, SMALL_MODEL, python

WORDS = [
    *SMALL_MODEL,
    "stages.joint.max_epochs=2",
    "baseline=[popularity]",
    "propagation=none",
    "trainer.log_every_n_steps=1",
]

# Loaded by every interpreter that starts with its folder on PYTHONPATH: a connection beyond this machine fails and is noted.
NO_NETWORK = """
import os, socket

real = socket.socket.connect
def connect(self, address, real=real):
    if self.family == socket.AF_UNIX or str(address[0]) in ("127.0.0.1", "::1", "localhost"):
        return real(self, address)
    with open(os.environ["AVREC_TEST_NOTES"], "a") as notes:
        notes.write(f"connect {address}\\n")
    raise OSError("the network is cut")
socket.socket.connect = connect
socket.socket.connect_ex = lambda self, address: connect(self, address) or 0

real_lookup = socket.getaddrinfo
def getaddrinfo(host, *args, **options):
    if host in (None, "127.0.0.1", "::1", "localhost", "", "0.0.0.0", socket.gethostname()):
        return real_lookup(host, *args, **options)
    with open(os.environ["AVREC_TEST_NOTES"], "a") as notes:
        notes.write(f"look up {host}\\n")
    raise socket.gaierror("the network is cut")
socket.getaddrinfo = getaddrinfo
"""


@contextmanager
def proxy_trap() -> Iterator[tuple[str, list[bytes]]]:
    """The address of a proxy that notes what it is asked for and leads nowhere, for programs that are not Python."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.settimeout(1.0)
                    asked.append(connection.recv(200))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        finally:
            stop.set()
            thread.join()


@pytest.mark.slow
def test_wandb_runs_offline_where_nothing_can_be_reached(prepared, tmp_path):
    pytest.importorskip("wandb", reason="wandb is not installed; it comes with: pip install 'avrec[wandb]'")
    block = tmp_path / "block"
    block.mkdir()
    (block / "sitecustomize.py").write_text(NO_NETWORK)
    notes = tmp_path / "notes.txt"
    words = ["data=prepared", f"data.path={prepared}", *WORDS, "logger=wandb", "run_dir=run"]
    with proxy_trap() as (proxy, asked):
        python(
            ROOT / "train.py",
            *words,
            cwd=tmp_path,
            timeout_sec=90,
            PYTHONPATH=f"{block}:{ROOT}",
            AVREC_TEST_NOTES=str(notes),
            HTTP_PROXY=proxy,
            HTTPS_PROXY=proxy,
            WANDB_API_KEY="",
            HOME=str(tmp_path),
        )
    assert not notes.exists(), notes.read_text()
    assert asked == []
    assert (tmp_path / "run" / "metrics.json").is_file()
    assert (tmp_path / "run" / "logs" / "joint" / "metrics.csv").is_file()
    (log,) = (tmp_path / "run").rglob("*.wandb")
    assert log.parent.name.startswith("offline-run-")
    assert b"val/objective" in log.read_bytes()
    assert not (tmp_path / "wandb").exists(), "the run's own folder holds everything"


@pytest.mark.slow
def test_the_cut_is_a_cut(tmp_path):
    """The guard of the test above would see an attempt."""
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    code = """
import socket
for attempt in (lambda: socket.create_connection(("example.org", 80)), lambda: socket.socket().connect(("192.0.2.1", 80))):
    try:
        attempt()
    except OSError as error:
        assert "cut" in str(error)
    else:
        raise SystemExit(1)
"""
    python("-c", code, cwd=tmp_path, PYTHONPATH=str(tmp_path), AVREC_TEST_NOTES=str(tmp_path / "notes.txt"))
    lines = (tmp_path / "notes.txt").read_text().splitlines()
    assert lines == ["look up example.org", "connect ('192.0.2.1', 80)"]
    with proxy_trap() as (proxy, asked):
        python(
            "-c",
            "import urllib.request as r\ntry: r.urlopen('http://192.0.2.1')\nexcept OSError: pass",
            cwd=tmp_path,
            HTTP_PROXY=proxy,
            http_proxy=proxy,
            no_proxy="",
            NO_PROXY="",
        )
    assert asked[0].startswith(b"GET http://192.0.2.1")


def test_tensorboard_alone(console, prepared):
    run = console.train("tensorboard", "data=prepared", f"data.path={prepared}", *WORDS, "logger=tensorboard")
    logs = run.folder / "logs" / "joint"
    assert len(list(logs.glob("events.out.tfevents.*"))) == 1
    assert not (logs / "metrics.csv").exists()
