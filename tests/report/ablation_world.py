"""A study made by hand: files by user with known differences, and names as strangers give them."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avrec.report.ablation import Entry, StudyResult, measured

NUM_USERS, SEEDS = 40, (1, 2)
HOSTILE = "</table><script>alert(1)</script>{{ 7 * 7 }}[red]"
METRICS = ("recall@20", "cold/recall@20", "cold_only/recall@20")
ABOUT = {
    "part": "validation",
    "test_read": False,
    "data_hash": "abc" * 20,
    "seeds": list(SEEDS),
    "calibration": "overall",
    "protocol": "honest",
    "command": "avrec ablate data=prepared",
}
GAINS = {"reference": 0.0, "again": 0.0, "worse": -0.1, "better": 0.2, "noise": 0.0}


def write_file(path: Path, seed: int, views: dict[str, np.ndarray], without: str = "") -> Path:
    """Each view's recall of 40 users; on new items it is twice as much, and half of the users have no such target."""
    recall = np.concatenate(list(views.values()))
    cold = np.where(np.arange(len(recall)) % 2 == 0, 2 * recall, np.nan)
    columns = {
        "user_id": [f"u{user}" for _ in views for user in range(NUM_USERS)],
        "view": [view for view in views for _ in range(NUM_USERS)],
        "recall@20": recall,
        "cold/recall@20": pa.array(cold, from_pandas=True),
        "cold_only/recall@20": np.ones(len(recall)),
    }
    about = {
        "format_version": 1, "data_hash": "abc", "part": "validation", "protocol_name": "honest", "protocol": "words",
        "diversity_by": None, "marked": "overall", "seed": seed,
    }  # fmt: skip
    table = pa.table({name: values for name, values in columns.items() if name != without})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({b"avrec": json.dumps(about).encode()}), path)
    return path


def make_entries(folder: Path, without: str = "") -> list[Entry]:
    """Reference, one that is equal, one worse by .1, one better by .2, one of noise, the reference's control, a failure."""
    rng = np.random.default_rng(3)
    base = {seed: rng.random(NUM_USERS) for seed in SEEDS}
    noise = {seed: 0.2 * rng.standard_normal(NUM_USERS) for seed in SEEDS}
    entries = []
    for name, gain in GAINS.items():
        files = {}
        for seed in SEEDS:
            spread = noise[seed] - noise[seed].mean() if name == "noise" else gain * (1 + 0.1 * noise[seed])
            views = {"overall": base[seed] + spread} | (
                {"content permuted": 0.5 * base[seed]} if name == "reference" else {}
            )
            files[seed] = write_file(folder / name / f"{seed}.parquet", seed, views, without)
        study = "" if name == "reference" else "start" if name == "again" else "losses"
        entries.append(Entry(name, study, () if name == "again" else (f"loss={name}",), files, {}))
    entries.append(
        Entry(HOSTILE, "losses", ("a=b",), {1: entries[2].files[1]}, {2: f"killed\n{HOSTILE}"}, note=HOSTILE)
    )
    entries.append(Entry("dead", "losses", ("c=d",), {}, dict.fromkeys(SEEDS, "its process was ended by SIGKILL.")))
    entries.append(Entry("control", "views", (), entries[0].files, {}, "content permuted"))
    return entries


def make_result(folder: Path) -> StudyResult:
    """What that study found."""
    reference, *others = make_entries(folder)
    return measured(f"data {HOSTILE}", ABOUT, METRICS, reference, others, [("gone", "fusion", f"because {HOSTILE}")])
