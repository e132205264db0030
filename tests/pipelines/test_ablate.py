"""A study from the command line: what is refused, what is run, what is not run again, and what it finds."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from avrec.build.compose import compose_at
from avrec.core.errors import ConfigError, DataError
from avrec.core.files import file_lock
from avrec.pipelines import ablate, ablate_child
from avrec.pipelines.ablate_child import run_job
from avrec.pipelines.ablate_progress import StudyProgress
from avrec.pipelines.ablate_run import Job, do
from tests.pipelines.conftest import ROOT, read
from tests.pipelines.test_mistakes import CONFIG
from tests.report.ablation_world import write_file

MINE = ["+ablation.mine.again=[]", "+ablation.mine.wide=['id_dim=24']", "study=mine"]
REFUSED = {
    ("-m", "seeds=[1]"): "avrec ablate is a sweep by itself. Leave out -m",
    ("seed=3",): "seed: a study takes several. Give them as seeds=[1,2,3].",
}
VALUES = {
    "seeds=[1,1]": "seeds: [1, 1] is not a list of distinct whole numbers from 0 to",
    "seeds=[]": "seeds: [] is not a list of distinct whole numbers",
    "seeds=[true]": "seeds: [True] is not a list",
    "seeds=-1": "seeds: [-1] is not a list",
    "metric=recall@21": "metric: 'recall@21': no such metric; did you mean 'recall@20'?",
    "metric=cld/recall@20": "metric: 'cld/recall@20': no such slice; did you mean 'cold'?",
}


@pytest.mark.parametrize(("words", "message"), REFUSED.items())
def test_what_is_refused_before_anything_is_read(console, words, message):
    answer = console("ablate", *words, "data_dir=nowhere", code=CONFIG)
    assert message in answer.err
    assert not (console.folder / "nowhere").exists()


@pytest.mark.parametrize(("text", "message"), VALUES.items())
def test_values_that_are_no_study(text, message):
    config = OmegaConf.merge({"multirun": False, "metric": "recall@20", "seeds": [1]}, OmegaConf.from_dotlist([text]))
    with pytest.raises(ConfigError) as caught:
        ablate.run(config)
    assert message in str(caught.value)


class Fake:
    """Stands for the process of a run: writes what a run leaves, or fails as it is told."""

    def __init__(self, failing=()):
        self.failing, self.asked = set(failing), []

    def __call__(self, job, folder, on_line):
        name, seed = folder.parent.name, int(folder.name.removeprefix("seed-"))
        self.asked.append((name, seed))
        on_line("epoch 1/3 [bold]")
        if (name, seed) in self.failing:
            return "its process was ended by SIGKILL, perhaps for want of memory."
        assert job.words[-2:] == [f"run_dir='{folder.absolute()}'", "multirun=true"]
        assert f"seed={seed}" in job.words and "data=prepared" in job.words
        assert not [word for word in job.words if word.startswith(("seeds", "study", "metric", "data=tables"))]
        values = np.random.default_rng(seed).random(40) + (0.2 if name == "wide" else 0.0)
        views = {"overall": values, **dict.fromkeys(("ids only", "content only", "content permuted"), values / 2)}
        for part in job.parts:
            write_file(folder / "results" / f"{part}-overall-honest" / "per_user.parquet", seed, views)
        return None


def test_a_study_fails_in_parts_and_goes_on_where_it_was(console, data, monkeypatch):
    words = ["ablate", *data, *MINE, "seeds=[7,8]", "run_dir=faked"]
    fake = Fake(failing=[("wide", 8)])
    monkeypatch.setattr(ablate, "run_job", fake)
    first = console(*words)
    assert fake.asked == [("reference", 7), ("again", 7), ("wide", 7), ("reference", 8), ("again", 8), ("wide", 8)]
    assert "6 runs, 0 of them finished earlier" in first.out
    assert "6/6  wide, seed 8: failed: its process was ended by SIGKILL" in first.out
    assert "1/6  reference, seed 7: done in 0 s; about 0 s left" in first.out
    assert "wide (1 of 2 seeds" in first.out
    found = read(console.folder / "faked" / "ablation.json")
    wide = next(one for one in found["variants"] if one["name"] == "wide")
    assert list(wide["failed"]) == ["8"]
    assert wide["measures"]["recall@20"]["comparison"]["mean_difference"] == pytest.approx(0.2)
    assert [one["name"] for one in found["variants"]][-3:] == [
        "ids only (same model)", "content only (same model)", "content permuted (same model)",
    ]  # fmt: skip
    assert (console.folder / "faked" / "ablation.html").is_file()

    again = Fake()
    monkeypatch.setattr(ablate, "run_job", again)
    second = console(*words)
    assert again.asked == [("wide", 8)]
    assert "6 runs, 5 of them finished earlier" in second.out
    found = read(console.folder / "faked" / "ablation.json")
    assert all(not one["failed"] for one in found["variants"])
    lines = list(csv.DictReader(io.StringIO((console.folder / "faked" / "ablation.csv").read_text())))
    assert next(line for line in lines if line["variant"] == "again")["difference"] == "0.0"


def test_a_folder_of_another_study_is_refused_and_so_is_a_second_process(console, data):
    words = ["ablate", *data, "+ablation.mine={}", "study=mine", "seeds=[1]", "run_dir=claimed"]
    run = console.folder / "claimed" / "reference" / "seed-1"
    with file_lock(console.folder / "claimed" / ".lock"):
        assert "another process works on the study in" in console(*words, code=CONFIG).err
    run.mkdir(parents=True)
    (run / "claim.json").write_text(json.dumps({"code_version": "0", "data_hash": "", "config": {"id_dim": 7}}))
    answer = console(*words, code=CONFIG)
    assert f"run_dir: {run} holds a run with another callbacks, candidates," in answer.err


def test_an_error_of_the_study_itself_costs_one_run(console, data, monkeypatch):
    def broken(*arguments):
        raise DataError(["no room on the disk"])

    monkeypatch.setattr(ablate, "run_job", Fake())
    monkeypatch.setattr(ablate, "write_control", broken)
    answer = console("ablate", *data, "variants=[content-permuted]", "seeds=[1]", "run_dir=broken_control")
    assert "1/2  reference, seed 1: done" in answer.out
    assert "2/2  content-permuted, seed 1: failed: no room on the disk" in answer.out


ENDS = {
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)": "its process was ended by SIGKILL, perhaps for want of memory.",
    "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)": "its process was ended by SIGSEGV.",
    "print('last words', flush=True); raise SystemExit(3)": "its process ended with exit code 3: last words",
    "import os; os._exit(9)": "its process ended with exit code 9: it said nothing",
    "print('fine')": None,
}


@pytest.mark.parametrize(("program", "reason"), ENDS.items())
def test_how_a_process_ended(tmp_path, monkeypatch, program, reason):
    monkeypatch.setattr(ablate_child, "_START", program)
    (tmp_path / "failed.json").write_text('{"reason": "of an earlier try"}')
    said = []
    assert run_job(Job([], ["validation"], "", False), tmp_path, said.append) == reason
    text = (tmp_path / "output.txt").read_text()
    assert said == text.splitlines()
    if reason is None:
        assert text == "fine\n"


def test_what_a_run_says_of_its_failure_is_the_reason(tmp_path, monkeypatch):
    program = "import json, sys, pathlib; pathlib.Path(sys.argv[1] and 'failed.json').write_text(json.dumps({'reason': 'k: no'})); sys.exit(1)"
    monkeypatch.setattr(ablate_child, "_START", program)
    monkeypatch.chdir(tmp_path)
    assert run_job(Job([], ["validation"], "", False), tmp_path, lambda line: None) == "k: no"


def test_the_time_that_is_left(capsys, monkeypatch):
    clock = iter([0.0, 0.0, 100.0, 100.0, 100.0, 300.0, 300.0, 300.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with StudyProgress(3) as progress:
        progress.begin("a, seed 1")
        progress.say("epoch [1]")
        progress.end(None)
        progress.begin("b, seed 1")
        progress.end("it broke")
    monkeypatch.undo()
    assert capsys.readouterr().out.splitlines() == [
        "1/3  a, seed 1: done in 2 min; about 3 min left",
        "2/3  b, seed 1: failed: it broke; about 2 min left",
    ]


SIMULATED = [
    "+experiment=simulated", "+data.source.num_users=700", "+data.source.num_items=400", "id_dim=16", "encoder.feature.dim=16",
    "fusion.num_heads=2", "stages.joint.max_epochs=4", "sampler.batch_size=256", "trainer.log_every_n_steps=1", "logger=none",
    "++grid.kappas=[1.0,10.0]", "++grid.scales=[1.0]", "++grid.smoothings=[0.0]",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_real_study_finds_what_was_planted_and_nothing_where_nothing_is(console, monkeypatch):
    """On the simulated catalogue content alone can find new items: permuted or left out it is missed; the same again is the same."""

    def here(job, folder, on_line):
        outer, settings = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
        GlobalHydra.instance().hydra = None
        try:
            do(job, compose_at(job.place, job.words).config)
        finally:
            GlobalHydra.instance().hydra, HydraConfig.instance().cfg = outer, settings

    monkeypatch.setattr(ablate, "run_job", here)
    words = [
        "ablate",
        *SIMULATED,
        "seeds=[1,2]",
        "variants=[ids-alone,content-permuted,without-gate,again]",
        "run_dir=planted",
    ]
    answer = console(*words, "+ablation.mine.again=[]", "read_test=true", "metric=recall@10")
    folder = console.folder / "planted"
    assert "failed" not in answer.out
    for part, place in (("test", folder), ("validation", folder / "validation")):
        found = read(place / "ablation.json")
        assert (found["part"], found["metrics"][-1]) == (part, "cold_only/recall@10")
        rows = {one["name"]: one["measures"] for one in found["variants"]}
        for metric in found["metrics"]:
            null = rows["again"][metric]
            assert (null["verdict"], null["comparison"]["mean_difference"], null["comparison"]["p_value"]) == (
                "same",
                0.0,
                1.0,
            )
        planted = rows["content-permuted"]["cold_only/recall@10"]
        assert planted["verdict"] == "worse" and planted["comparison"]["p_value"] < 0.05, planted
        assert planted["comparison"]["interval"][1] < -0.02
        assert rows["ids-alone"]["cold/recall@10"]["verdict"] == "worse"
        assert rows["content permuted (same model)"]["recall@10"]["verdict"] == "worse"
    # What only calibration decides was not trained again: its stages are the reference's own files.
    ours, theirs = (
        folder / name / "seed-1" / "checkpoints" / "0_joint" / "best.ckpt" for name in ("without-gate", "reference")
    )
    assert ours.stat().st_ino == theirs.stat().st_ino
    file = folder / "content-permuted" / "seed-1" / "results" / "test-overall-honest" / "per_user.parquet"
    asked, reference = (
        json.loads(pq.read_schema(path).metadata[b"avrec"])
        for path in (file, Path(str(file).replace("content-permuted", "reference")))
    )
    assert asked["data_hash"] == reference["data_hash"]
    record = read(folder / "content-permuted" / "seed-1" / "run.json")
    assert record["data_hash"] != reference["data_hash"], "it was trained on another data set"
    assert "The test part was read once for each run" in answer.out


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_study_that_is_killed_goes_on_and_repeats_nothing(tmp_path):
    """kill -9 in the middle of the second run; the first is not trained again, the second is resumed, no process is left."""
    words = [
        *SIMULATED,
        "+ablation.mine.wide=[]",
        "study=mine",
        "seeds=[1]",
        "run_dir=study",
        "stages.joint.max_epochs=6",
    ]
    command = [sys.executable, "-m", "avrec.cli", "ablate", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    study = tmp_path / "study"
    running = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    last = study / "wide" / "seed-1" / "checkpoints" / "0_joint" / "last.ckpt"
    deadline = time.monotonic() + 200
    while not last.exists():
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    children = deque(_children(running.pid))
    running.send_signal(signal.SIGKILL)
    running.wait()
    finished = study / "reference" / "seed-1" / "model.pt"
    stamp = finished.stat().st_mtime_ns
    deadline = time.monotonic() + 20
    while any(_alive(pid) for pid in children):
        assert time.monotonic() < deadline, "a run outlives its study"
        time.sleep(0.05)
    assert children and not (study / "wide" / "seed-1" / "model.pt").exists()

    answer = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert answer.returncode == 0, answer.stderr
    assert "2 runs, 1 of them finished earlier" in answer.stdout
    assert finished.stat().st_mtime_ns == stamp
    output = (study / "wide" / "seed-1" / "output.txt").read_text()
    assert "epoch 1/6" not in output, "it was resumed"
    (variant,) = [one for one in read(study / "ablation.json")["variants"] if one["name"] == "wide"]
    assert variant["measures"]["recall@20"]["comparison"]["mean_difference"] == 0.0, "a resumed run is the run"


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
