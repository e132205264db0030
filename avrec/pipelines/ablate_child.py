"""The study's hand on one of its runs: start the process, pass on what it says, tell how it ended."""

import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from avrec.core.files import atomic_write, read_json
from avrec.pipelines.ablate_run import FAILED_FILE, Job

# A fresh interpreter that finds modules where this one does; what a run leaves in memory or breaks ends with it.
_START = (
    "import json, sys; start = json.loads(sys.argv[1]); sys.path[:] = start['path']; "
    "from avrec.pipelines.ablate_run import main; main(start['job'])"
)
OUTPUT_FILE = "output.txt"
MAX_LINES = 5000


def run_job(job: Job, folder: Path, on_line: Callable[[str], None]) -> str | None:
    """Run a job in a process of its own; what it printed stands in `output.txt` of the folder afterwards.

    Args:
        job: what to do.
        folder: of the run.
        on_line: gets each line that the process prints.

    Returns:
        Why it failed; None where it did not.
    """
    (folder / FAILED_FILE).unlink(missing_ok=True)
    start = {"path": [entry or os.getcwd() for entry in sys.path], "job": asdict(job)}
    lines: deque[str] = deque(maxlen=MAX_LINES)
    process = subprocess.Popen(
        [sys.executable, "-c", _START, json.dumps(start)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None and process.stdin is not None
    try:
        for line in process.stdout:
            lines.append(line)
            on_line(line.rstrip())
        code = process.wait()
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    with atomic_write(folder / OUTPUT_FILE) as file:
        file.write("".join(lines).encode())
    return None if code == 0 else _reason(code, folder, lines)


def _reason(code: int, folder: Path, lines: deque[str]) -> str:
    if (folder / FAILED_FILE).is_file():
        return str(read_json(folder / FAILED_FILE)["reason"])
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return f"its process was ended by {name}" + (", perhaps for want of memory." if name == "SIGKILL" else ".")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    return f"its process ended with exit code {code}: {last}"
