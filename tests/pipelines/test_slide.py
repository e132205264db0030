"""Several windows of time from the command line: what is refused, what is run, what is not run again, and the table."""

import json

import numpy as np
import pytest

from avrec.core.files import file_lock, read_json
from avrec.pipelines import slide
from tests.pipelines.conftest import SMALL_MODEL
from tests.pipelines.test_mistakes import CONFIG
from tests.report.ablation_world import write_file

WINDOWS = [
    "+split=window",
    "+data.split.train_hours=null",
    "+data.split.validation_hours=72",
    "+data.split.test_hours=72",
]
REFUSED = {
    ("-m", "windows=2", *WINDOWS): "avrec slide is a sweep by itself. Leave out -m, and give windows=4.",
    ("windows=0", *WINDOWS): "windows: 0 is not a whole number, at least 1.",
    ("windows=true", *WINDOWS): "windows: True is not a whole number",
    ("metric=recall@21", *WINDOWS): "metric: 'recall@21': no such metric; did you mean 'recall@20'?",
    (
        "+split=user_time",
    ): "but data.split is avrec.data.splits.UserTimeSplit. Give a source of data and +split=window.",
}


@pytest.mark.parametrize(("words", "message"), REFUSED.items())
def test_what_is_refused_before_anything_is_read(console, tables, words, message):
    assert message in console("slide", *tables, *words, "data_dir=nowhere", code=CONFIG).err
    assert not (console.folder / "nowhere").exists()


def test_a_prepared_data_set_is_one_window(console, prepared):
    answer = console("slide", "data=prepared", f"data.path={prepared}", code=CONFIG)
    assert "avrec slide prepares a window at a time, but data is prepared already." in answer.err


class Fake:
    """Stands for the process of a window: leaves what a training leaves, or fails as it is told."""

    def __init__(self, failing=()):
        self.failing, self.asked = set(failing), []

    def __call__(self, job, folder, on_line):
        back = int(folder.name.removeprefix("window-"))
        self.asked.append(back)
        if back in self.failing:
            return "its process was ended by SIGKILL, perhaps for want of memory."
        assert job.whole and job.words[-2:] == [f"++data.split.windows_back={back}", f"run_dir='{folder.absolute()}'"]
        assert not [word for word in job.words if word.startswith(("windows", "metric", "run_dir=f"))]
        values = np.random.default_rng(back).random(40)
        write_file(folder / "per_user.parquet", 42, {"overall": values, "popularity": values - 0.25})
        split = {"test_from_sec": 1_700_000_000 - back * 259_200, "test_until_sec": 1_700_259_200 - back * 259_200}
        (folder / "manifest.json").write_text(json.dumps({"split": split}))
        (folder / "run.json").write_text(json.dumps({"prepared": str(folder)}))
        found = {
            "protocol_name": "honest",
            "settings": {"calibration": "overall"},
            "data_hash": f"hash {back}",
            "test/recall@20": values.mean(),
            "test/recall@50": 1.0,
            "baselines": {"popularity": {"test/recall@20": values.mean() - 0.25}},
            "counts": {"test": {"users": 40, "targets": 41 + back, "items": 80, "cold_items": 3}},
        }
        (folder / "metrics.json").write_text(json.dumps(found))
        return None


def test_windows_fail_in_parts_and_go_on_where_they_were(console, tables, monkeypatch):
    words = ["slide", *tables, *WINDOWS, "windows=3", "baseline=[popularity]", "run_dir=faked"]
    fake = Fake(failing=[1])
    monkeypatch.setattr(slide, "run_job", fake)
    first = console(*words)
    assert fake.asked == [2, 1, 0]
    assert f"slide: 3 windows, 0 of them finished earlier; in {console.folder / 'faked'}\n" in first.out
    assert "2/3  window 1 back: failed: its process was ended by SIGKILL" in first.out
    assert (
        "failed: 1 windows back: its process was ended by SIGKILL" in first.out
        and "2 windows, protocol honest" in first.out
    )
    found = read_json(console.folder / "faked" / "slide.json")
    assert list(found["failed"]) == ["1"] and [one["windows_back"] for one in found["windows"]] == [2, 0]
    assert found["windows"][0]["counts"]["targets"] == 43
    assert list(found["windows"][0]["metrics"]["model"]) == ["recall@20"]
    assert found["comparisons"]["popularity"]["mean_difference"] == pytest.approx(0.25)

    again = Fake()
    monkeypatch.setattr(slide, "run_job", again)
    second = console(*words)
    assert again.asked == [1] and "2 of them finished earlier" in second.out
    found = read_json(console.folder / "faked" / "slide.json")
    means = [np.random.default_rng(back).random(40).mean() for back in range(3)]
    assert found["failed"] == {} and found["mean"]["model"] == pytest.approx(np.mean(means))
    table = (console.folder / "faked" / "slide.txt").read_text()
    assert "2023-11-08" in table and "3 of 3" in table and "+.2500" in table

    # With other baselines the tables are read anew; further back is further windows, and the nearer ones stay.
    monkeypatch.setattr(slide, "run_job", other := Fake())
    console(*words[:-2], "baseline=[popularity,ease]", "run_dir=faked", "+data.split.windows_back=1", "windows=1")
    assert other.asked == [1]


def test_no_window_at_all_is_an_error(console, tables, monkeypatch):
    monkeypatch.setattr(slide, "run_job", Fake(failing=[0]))
    answer = console("slide", *tables, *WINDOWS, "windows=1", "run_dir=none", code=2)
    assert "avrec slide: no window has a result. 0 back: its process was ended by SIGKILL" in answer.err
    assert not (console.folder / "none" / "slide.json").exists()


def test_a_metric_without_targets_costs_its_windows(console, tables, monkeypatch):
    monkeypatch.setattr(slide, "run_job", Fake())
    words = ["slide", *tables, *WINDOWS, "windows=2", "baseline=[popularity]", "run_dir=empty"]
    answer = console(*words, "metric=cold/recall@20", code=2)
    assert "no window has a result. 1 back: no test target belongs to cold/recall@20; 0 back: no test" in answer.err


def test_windows_of_a_log_that_grew_in_between_are_no_mean(console, tables, monkeypatch):
    monkeypatch.setattr(slide, "run_job", Fake())
    words = ["slide", *tables, *WINDOWS, "windows=2", "baseline=[popularity]", "run_dir=grown"]
    console(*words)
    file = console.folder / "grown" / "window-0" / "manifest.json"
    split = read_json(file)["split"]
    file.write_text(json.dumps({"split": {**split, "test_from_sec": split["test_from_sec"] + 60}}))
    answer = console(*words, code=2)
    assert "window 1 and 0 back do not lie side by side: the log has changed in between. Choose another" in answer.err


def test_a_folder_of_another_command_is_refused_and_so_is_a_second_process(console, tables):
    words = ["slide", *tables, *WINDOWS, "windows=1", "run_dir=held"]
    with file_lock(console.folder / "held" / ".lock"):
        assert "run_dir: another process works in" in console(*words, code=CONFIG).err
    claim = console.folder / "held" / "window-0" / "claim.json"
    claim.parent.mkdir(parents=True)
    claim.write_text(json.dumps({"code_version": "0", "data_hash": "", "config": {"id_dim": 7}}))
    assert "window-0 holds a run with another" in console(*words, code=CONFIG).err


CHEAP = [*SMALL_MODEL, "stages.joint.max_epochs=1", "sampler.batch_size=128", "logger=none", "propagation=none"]
CHEAP += ["++grid.kappas=[0.0]", "++grid.scales=[1.0]", "++grid.neighbour_weights=[0.0]", "++grid.smoothings=[0.0]"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_real_windows_are_trained_once_and_read_once(console, tables):
    """One window that breaks off before its last file, then two: it goes on from its stages, and the other one is trained."""
    lives = [
        "+data.split.lifetime_hours=560",
        "protocol=alive",
        "baseline=[popularity,content_knn]",
        "metric=recall@10",
    ]
    words = ["slide", *tables, *WINDOWS, *lives, *CHEAP, "run_dir=slid"]
    console(*words, "windows=1")
    broken = console.folder / "slid" / "window-0"
    before = read_json(broken / "metrics.json")
    (broken / "window.json").unlink()
    refused = console(*words, "windows=2", "seed=1", code=CONFIG).err
    assert "window-0 holds a run with seed 42. Choose another run_dir, or give seed=42." in refused
    lines = (console.folder / "tables" / "interactions.csv").read_text().splitlines(keepends=True)
    shorter = console.folder / "shorter.csv"
    shorter.write_text("".join(lines[:-40]))
    refused = console(*words, "windows=1", f"data.interactions={shorter}", code=CONFIG).err
    assert "window-0 holds a run with another data_hash. Choose another run_dir" in refused
    answer = console(*words, "windows=2")
    assert "2 windows, 0 of them finished earlier" in answer.out and "failed" not in answer.out
    assert "finished earlier, loaded from" in (broken / "output.txt").read_text()
    assert "finished earlier" not in (broken.parent / "window-1" / "output.txt").read_text()
    assert read_json(broken / "metrics.json")["test/recall@10"] == before["test/recall@10"]
    found = read_json(console.folder / "slid" / "slide.json")
    earlier, later = found["windows"]
    assert earlier["test_until_sec"] == later["test_from_sec"] and earlier["data_hash"] != later["data_hash"]
    assert found["protocol_name"] == "alive" and set(found["comparisons"]) == {"popularity", "content_knn"}
    assert [(one["counts"]["users"], one["counts"]["items"]) for one in found["windows"]] == [(21, 80), (60, 40)]
    assert later["metrics"]["model"]["recall@10"] == before["test/recall@10"] > 0
    assert "2 windows, 2 of them finished earlier" in console(*words, "windows=2").out
