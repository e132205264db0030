"""Time and memory of a larger log, in a process of its own."""

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

SCRIPT = """
import json, resource, sys, time
from avrec.data.prepare import PrepareOptions, prepare
from avrec.data.prepared import load_dataset
from avrec.data.sources.tables import TablesSource
from avrec.data.splits import UserTimeSplit

options = PrepareOptions(behaviour_weights={"view": 1, "like": 2}, duplicates="sum", min_user_events=5, min_item_events=5)
prepare(TablesSource(sys.argv[1]), UserTimeSplit(), options, sys.argv[2])
rows = len(load_dataset(sys.argv[2]).train)
usage = resource.getrusage(resource.RUSAGE_SELF)
# ru_maxrss of a child starts at its parent's peak; the high-water mark of its own memory does not.
peak_kib = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
print(json.dumps({"rows": rows, "cpu_sec": usage.ru_utime + usage.ru_stime, "peak_mib": peak_kib / 1024}))
"""


@pytest.mark.slow
def test_two_million_events(tmp_path):
    count = 2_000_000
    draw = np.random.default_rng(0)
    table = pa.table(
        {
            "user_id": draw.integers(0, count // 50, count),
            "item_id": (count // 200 * draw.random(count) ** 3).astype(int),
            "timestamp": draw.integers(1_600_000_000, 1_700_000_000, count),
            "event": np.array(["view", "like"])[draw.integers(0, 2, count)],
        }
    )
    pyarrow.csv.write_csv(table, tmp_path / "interactions.csv")
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path / "interactions.csv"), str(tmp_path / "out")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    used = json.loads(subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout)
    assert used["rows"] > count // 2
    assert used["cpu_sec"] < 30 and used["peak_mib"] < 1200, used  # 7.5 s and 970 MiB were seen
