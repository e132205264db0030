"""`avrec slide`: one training for each of several windows of time, each one's test part read once, and their mean."""

import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from avrec.core.errors import AvrecError, ConfigError
from avrec.core.files import file_lock, read_json, write_json
from avrec.data.layout import MANIFEST
from avrec.data.window_split import WindowSplit
from avrec.pipelines.ablate import LOCK_FILE, TABLE_WIDTH, check_metric
from avrec.pipelines.ablate_child import run_job
from avrec.pipelines.ablate_plan import Line, key_of, place_of_command
from avrec.pipelines.ablate_progress import StudyProgress
from avrec.pipelines.ablate_run import PER_USER, Job
from avrec.pipelines.ablate_study import word
from avrec.pipelines.claims import CLAIM_FILE, check_claim, claimed
from avrec.pipelines.prepare import RUN_FILE, prepared_folder
from avrec.report.windows import Sliding, Window, measured, windows_table, write

METRICS_FILE = "metrics.json"
DONE_FILE = "window.json"  # written once everything of a window stands: how its test part was asked for
ASKED = ("protocol", "calibration", "baseline", "rerank")
OWN_KEYS = ("windows", "metric", "run_dir", "multirun")
BACK = "data.split.windows_back"


@dataclass(frozen=True)
class Slide:
    """What is trained and where it stands.

    Attributes:
        config: of the command.
        line: of every training, without its window and folder.
        folder: of all.
        backs: how many test windows before the end of the log each test window ends, the earliest first.
    """

    config: DictConfig
    line: Line
    folder: Path
    backs: Sequence[int]

    def run_folder(self, back: int) -> Path:
        """Where the training of one window stands."""
        return self.folder / f"window-{back}"

    def words(self, back: int) -> list[str]:
        """What is added to the line for one window."""
        return [f"++{BACK}={back}", word("run_dir", str(self.run_folder(back).absolute()))]

    def is_done(self, back: int) -> bool:
        """Whether everything of a window stands, its test part read as the command asks for."""
        file = self.run_folder(back) / DONE_FILE
        return file.is_file() and read_json(file) == self.asked

    @property
    def asked(self) -> dict[str, Any]:
        """How the test part is to be read, as JSON holds it."""
        plain = OmegaConf.to_container(self.config, resolve=True)
        assert isinstance(plain, dict)
        found: dict[str, Any] = json.loads(json.dumps({key: plain.get(key) for key in ASKED}))
        return found

    def check_folder(self, back: int) -> None:
        """Refuse the folder of a window that was trained on other data, with other settings or from another seed."""
        folder, config = self.run_folder(back), self.line.composed(self.words(back))
        if not (folder / CLAIM_FILE).is_file():
            return
        check_claim(folder, claimed(config), read_json(prepared_folder(config) / MANIFEST)["content_hash"])
        seed = read_json(folder / CLAIM_FILE)["config"]["seed"]
        if seed != config.seed:
            raise ConfigError(
                f"run_dir: {folder} holds a run with seed {seed}. Choose another run_dir, or give seed={seed}."
            )

    def job(self, back: int) -> Job:
        """What the process of one window is told."""
        place = self.line.place
        paths = [None if path is None else str(path) for path in (place.folder, place.extra)]
        return Job([*self.line.words, *self.words(back)], [], "", False, *paths, whole=True)


def run(config: DictConfig) -> Sliding:
    """Train what is not trained yet, window after window, and write the table into `config.run_dir`.

    Raises:
        ConfigError: the command is not acceptable, or its folder belongs to another one; nothing has been trained then.
        AvrecError: no window has a result.
    """
    slide = _planned(config)
    for back in slide.backs:
        slide.check_folder(back)
    done = sum(map(slide.is_done, slide.backs))
    print(f"slide: {len(slide.backs)} windows, {done} of them finished earlier; in {slide.folder}")
    print(f"if it is broken off, the same line with run_dir={slide.folder} goes on", flush=True)
    with file_lock(slide.folder / LOCK_FILE, wait=False) as held:
        if not held:
            raise ConfigError(f"run_dir: another process works in {slide.folder}. Wait until it has ended.")
        return _finish(slide, _train(slide))


def _planned(config: DictConfig) -> Slide:
    windows, node = config.windows, config.data.split if config.data.get("source") is not None else None
    if config.multirun:
        raise ConfigError("avrec slide is a sweep by itself. Leave out -m, and give windows=4.")
    if not isinstance(windows, int) or isinstance(windows, bool) or windows < 1:
        raise ConfigError(f"windows: {windows!r} is not a whole number, at least 1.")
    check_metric(str(config.metric))
    target = f"{WindowSplit.__module__}.{WindowSplit.__name__}"
    if node is None or node.get("_target_") != target:
        found = "data is prepared already" if node is None else f"data.split is {node.get('_target_')}"
        raise ConfigError(
            f"avrec slide prepares a window at a time, but {found}. Give a source of data and +split=window."
        )
    first = int(node.get("windows_back", 0))
    typed = {text: key_of(text).replace("/", ".") for text in HydraConfig.get().overrides.task}
    words = tuple(text for text, key in typed.items() if key.partition(".")[0] not in OWN_KEYS and key != BACK)
    return Slide(
        config, Line(place_of_command(), words), Path(config.run_dir), range(first + windows - 1, first - 1, -1)
    )


def _train(slide: Slide) -> dict[int, str]:
    """Every window that has not been finished; one that fails costs the others nothing. Returns why some have no result."""
    failed: dict[int, str] = {}
    waiting = [back for back in slide.backs if not slide.is_done(back)]
    with StudyProgress(len(waiting)) as progress:
        for back in waiting:
            progress.begin(f"window {back} back")
            (slide.run_folder(back) / DONE_FILE).unlink(missing_ok=True)
            try:
                reason = run_job(slide.job(back), slide.run_folder(back), progress.say)
            except (AvrecError, OSError) as error:
                reason = str(error)
            if reason is None:
                write_json(slide.run_folder(back) / DONE_FILE, slide.asked)
            else:
                failed[back] = reason
            progress.end(reason)
    return failed


def _finish(slide: Slide, failed: dict[int, str]) -> Sliding:
    """Read what every window left, print the table and write the files."""
    windows = [_window(slide.run_folder(back), back) for back in slide.backs if back not in failed]
    key = f"test/{slide.config.metric}"
    failed |= {
        one.back: f"no test target belongs to {slide.config.metric}" for one in windows if key not in one.metrics
    }
    windows = [one for one in windows if key in one.metrics]
    for one, other in itertools.pairwise(windows):
        if one.back == other.back + 1 and one.span_sec[1] != other.span_sec[0]:
            raise AvrecError(
                f"window {one.back} and {other.back} back do not lie side by side: the log has changed in between. "
                "Choose another run_dir and train all of them."
            )
    if not windows:
        reasons = "; ".join(f"{back} back: {reason}" for back, reason in failed.items())
        raise AvrecError(f"avrec slide: no window has a result. {reasons}")
    command = " ".join(["avrec slide", *HydraConfig.get().overrides.task])
    result = measured(windows, str(slide.config.metric), failed, command)
    Console(width=None if sys.stdout.isatty() else TABLE_WIDTH).print(windows_table(result))
    write(slide.folder, result, TABLE_WIDTH)
    print(f"slide: {slide.folder}")
    return result


def _window(folder: Path, back: int) -> Window:
    split: dict[str, Any] = read_json(Path(read_json(folder / RUN_FILE)["prepared"]) / MANIFEST)["split"]
    metrics: dict[str, Any] = read_json(folder / METRICS_FILE)
    span = int(split["test_from_sec"]), int(split["test_until_sec"])
    return Window(back, span, folder / PER_USER, metrics)
