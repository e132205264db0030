"""The server under load from another process: cold start, recommendations a second and their latency, memory, swaps.

    python benchmarks/server.py BUNDLE [--other BUNDLE] [--seconds 30] [--rate 300] [--connections 16] [--history 50]

Each request is one recommendation for a stranger with a history of `--history` random items. First the rate is given
(`--rate`, at Poisson times) and latency counts from the moment at which the request was due, so a server that stalls is charged
for all who wait; then every connection asks again as soon as it has its answer, which gives the most that is served.
With `--other` the bundle is swapped there and back every second meanwhile, and every request must be answered. A bundle of 10,000 items:

    avrec train +experiment=simulated +data.source.num_items=10000 stages.joint.max_epochs=1 run_dir=runs/large
    avrec export ckpt=runs/large/model.pt bundle_dir=runs/large/bundle
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pairs import machine

from avrec.bundle.reader import Bundle

ROOT = Path(__file__).resolve().parents[1]
START = "import sys; from avrec.build.launch import launch; launch('serve', sys.argv[1:], ['serve'])"


@dataclass
class Tally:
    """Seconds of each answered request, and what the answers were."""

    seconds: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)

    def line(self, wall_sec: float) -> str:
        """Requests a second, percentiles and outcomes."""
        p50, p99, most = np.percentile(self.seconds, [50, 99, 100]) * 1000
        return (
            f"{len(self.seconds) / wall_sec:7.0f} a second, p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {most:.0f} ms; "
            f"{dict(self.outcomes)}"
        )


def payloads(item_ids: list[str], length: int) -> list[bytes]:
    """Requests with random histories."""
    draw = np.random.default_rng(0)
    bodies = []
    for _ in range(512):
        history = [item_ids[item] for item in draw.integers(0, len(item_ids), length)]
        body = json.dumps({"history": history, "k": 20}).encode()
        head = f"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        bodies.append(head.encode() + body)
    return bodies


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> str:
    """Send one request and read its answer: `ok`, `degraded` or the status."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    body = await reader.readexactly(length)
    status = head.split(b" ", 2)[1].decode()
    if status != "200":
        return status
    return "ok" if b'"degraded":null' in body else "degraded"


async def load(port: int, requests: list[bytes], seconds: float, connections: int, rate: float | None) -> Tally:
    """Ask for some seconds, at a rate or as fast as the answers come."""
    tally, draw = Tally(), np.random.default_rng(1)
    loop = asyncio.get_running_loop()
    start = loop.time() + 0.1
    due = start + np.cumsum(draw.exponential(1 / rate, int(rate * seconds))) if rate else None
    turn = iter(range(10**9))

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (number := next(turn)) < (10**9 if due is None else len(due)) and loop.time() < start + seconds + 5:
            began = loop.time()
            if due is None and began > start + seconds:
                break
            if due is not None:
                began = due[number]
                await asyncio.sleep(max(0.0, began - loop.time()))
            try:
                tally.outcomes[await ask(reader, writer, requests[number % len(requests)])] += 1
            except (OSError, asyncio.IncompleteReadError) as error:
                tally.outcomes[type(error).__name__] += 1
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            tally.seconds.append(loop.time() - began)
        writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return tally


async def swaps(port: int, folders: list[Path], seconds: float) -> list[float]:
    """Swap to the one and to the other folder for some seconds; seconds of each swap."""
    taken, end = [], time.monotonic() + seconds
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < end:
        body = json.dumps({"bundle_dir": str(folders[len(taken) % 2].resolve())}).encode()
        head = f"POST /admin/swap HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        began = time.monotonic()
        outcome = await ask(reader, writer, head.encode() + body)
        assert outcome == "degraded", f"a swap gave {outcome}"  # its answer holds no `degraded`
        taken.append(time.monotonic() - began)
        await asyncio.sleep(1)
    return taken


def resident_mib(pid: int) -> float:
    """Memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def cpu_sec(pid: int) -> float:
    """CPU seconds of a process so far, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start(bundle: Path, root: Path) -> tuple[subprocess.Popen[str], int, float]:
    """A server, its port, and the seconds until it was ready."""
    began = time.monotonic()
    server = subprocess.Popen(
        [sys.executable, "-c", START, f"bundle_dir={bundle}", "port=0", f"bundle_root={root}"],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        text=True,
    )
    assert server.stdout is not None
    try:
        line = server.stdout.readline()
        port = int(line.split(" at http://")[1].split()[0].rsplit(":", 1)[1])
        asyncio.run(load(port, [b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n"], 0, 1, None))
    except BaseException:
        server.kill()
        raise
    return server, port, time.monotonic() - began


def main() -> None:
    """Print one line a measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--other", type=Path)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=300.0)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--history", type=int, default=50)
    given = parser.parse_args()
    items = Bundle.open(given.bundle, verify=False).items
    requests = payloads(items.ids(np.arange(len(items))), given.history)
    print(
        machine("fastapi", "uvicorn", "onnxruntime", "numpy"), f"; {len(items):,} items, histories of {given.history}"
    )
    root = Path(os.path.commonpath([given.bundle.resolve(), (given.other or given.bundle.parent).resolve()]))
    server, port, cold_sec = start(given.bundle.resolve(), root)
    try:
        print(f"cold start     {cold_sec:.2f} s, {resident_mib(server.pid):.0f} MiB")
        asyncio.run(load(port, requests, 2, given.connections, given.rate))
        before = resident_mib(server.pid)
        for name, rate in (("given rate", given.rate), ("full speed", None)):
            cpu = cpu_sec(server.pid)
            tally = asyncio.run(load(port, requests, given.seconds, given.connections, rate))
            cost_ms = (cpu_sec(server.pid) - cpu) / len(tally.seconds) * 1000
            print(f"{name} {tally.line(given.seconds)}; {cost_ms:.2f} ms of CPU each")
        print(f"memory         {before:.0f} -> {resident_mib(server.pid):.0f} MiB")
        if given.other is not None:
            asyncio.run(swapping(port, requests, given))
            print(f"after it       {resident_mib(server.pid):.0f} MiB")
    finally:
        server.send_signal(signal.SIGTERM)
        print(f"exit code      {server.wait(30)}")


async def swapping(port: int, requests: list[bytes], given: argparse.Namespace) -> None:
    """The given rate while the bundle is swapped there and back."""
    tally, taken = await asyncio.gather(
        load(port, requests, given.seconds, given.connections, given.rate),
        swaps(port, [given.other, given.bundle], given.seconds),
    )
    print(f"{len(taken)} swaps   {tally.line(given.seconds)}; a swap takes {np.median(taken):.2f} s")


if __name__ == "__main__":
    main()
