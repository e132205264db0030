"""One run of a study, inside a process of its own: train as `avrec train` does, then read held-out parts.

The process ends with the study that started it, however that ends: its standard input is held open by it.
"""

import os
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

import avrec
from avrec.build.compose import ConfigPlace, compose_at
from avrec.build.launch import launch
from avrec.build.model import ModelFile, load
from avrec.core.dataset import Dataset, HeldOut
from avrec.core.errors import AvrecError
from avrec.core.files import write_json
from avrec.core.query import Scorer
from avrec.evaluation.evaluate import Evaluation, evaluate
from avrec.evaluation.protocols import Protocol
from avrec.pipelines.evaluate import Asked, chosen_protocol, evaluate_permuted, evaluate_view
from avrec.pipelines.media import media_store
from avrec.pipelines.prepare import RUN_FILE
from avrec.pipelines.prepare import load as load_data
from avrec.pipelines.side import side_of_model
from avrec.pipelines.train import MODEL_FILE
from avrec.report.metrics_file import Measured, write_metrics
from avrec.report.user_files import Reported, write_per_user
from avrec.training.media_store import with_steps

PER_USER = "per_user.parquet"
FAILED_FILE = "failed.json"
IDS, CONTENT, PERMUTED = "ids only", "content only", "content permuted"
VIEWS = (IDS, CONTENT, PERMUTED)


@dataclass(frozen=True)
class Job:
    """What the process is to do; plain values, since it travels as JSON.

    Attributes:
        words: of the command line of `avrec train`, with `run_dir` and `data.path`.
        parts: held-out parts to read after training.
        data_hash: of the data set that the study asks about; a control answers for it too.
        views: whether the model's parts and its control are measured as well.
        config_path: the folder of the primary configuration; avrec's own when None.
        config_dir: one more folder of configuration.
        whole: whether `avrec train` reads the test part itself, beside baselines, and writes all that it writes.
    """

    words: list[str]
    parts: list[HeldOut]
    data_hash: str
    views: bool
    config_path: str | None = None
    config_dir: str | None = None
    whole: bool = field(default=False, kw_only=True)

    @property
    def place(self) -> ConfigPlace:
        """Where the configuration of the run is composed from."""
        folders = [None if name is None else Path(name) for name in (self.config_path, self.config_dir)]
        return ConfigPlace("train", *folders)

    @property
    def flags(self) -> list[str]:
        """The same for the command line."""
        given = {"--config-path": self.config_path, "--config-dir": self.config_dir}
        return [word for flag, value in given.items() if value is not None for word in (flag, value)]


@dataclass(frozen=True)
class PartAsked(Asked):
    """As `Asked`, of any held-out part."""

    part: HeldOut = "validation"

    def evaluate(self, scorer: Scorer, dataset: Dataset, keep: int = 0) -> Evaluation:
        """The evaluation of a scorer on the part."""
        return evaluate(scorer, dataset, self.part, protocol=self.protocol, measures=self.measures, keep=keep)


def main(job: Mapping[str, Any]) -> None:
    """Do a job; what went wrong stands in `failed.json` of the run's folder and in the exit code."""
    threading.Thread(target=_end_with_study, daemon=True).start()
    asked = Job(**job)
    config = compose_at(asked.place, asked.words).config
    folder = Path(config.run_dir)
    try:
        do(asked, config)
    except Exception as error:
        traceback.print_exc()
        words = [str(error), *getattr(error, "__notes__", ())]
        reason = " ".join(words) if isinstance(error, AvrecError) else f"{type(error).__name__}: {' '.join(words)}"
        write_json(folder / FAILED_FILE, {"reason": reason})
        sys.exit(1)


def do(job: Job, config: DictConfig) -> None:
    """Train unless that is done, then read the parts that have not been read."""
    folder = Path(config.run_dir)
    if job.whole or not ((folder / MODEL_FILE).is_file() and (folder / RUN_FILE).is_file()):
        program = [str(Path(avrec.__file__).with_name("cli.py")), "train"]
        launch("train", [*job.flags, *job.words], program)
    torch.set_num_threads(int(config.num_threads))
    for part in job.parts:
        if not (results_folder(folder, part, config) / PER_USER).is_file():
            read_part(config, part, job)


def results_folder(run: Path, part: HeldOut, config: DictConfig) -> Path:
    """Where the results of a run on a part stand, by what decides how it is read."""
    return run / "results" / f"{part}-{config.calibration}-{config.protocol}"


def read_part(config: DictConfig, part: HeldOut, job: Job) -> None:
    """Rank the catalogue for the users of a part; writes `metrics.json` and, last, `per_user.parquet`."""
    run, rule = Path(config.run_dir), str(config.calibration)
    found = load(run / MODEL_FILE, rule)
    prepared = Path(config.data.path)
    dataset = load_data(prepared, found.data_hash, config.data.get("media_root"))
    protocol = chosen_protocol(config, dataset, prepared)
    dataset = side_of_model(config, found, dataset)
    dataset = with_steps(dataset, found.model, media_store(config, dataset, found.model))
    views = _views(found, dataset, protocol, part, job.views)
    models = {rule: views.pop(""), **views}
    folder = results_folder(run, part, config)
    write_metrics(
        folder / "metrics.json",
        Measured([models[rule]], {"calibration": rule}),
        {},
        job.data_hash,
        [found.seed],
        views={name: Measured([one], {}) for name, one in models.items() if name != rule},
    )
    reported = Reported(rule, models, {}, found.seed)
    write_per_user(folder / PER_USER, reported, replace(dataset, content_hash=job.data_hash))


def _views(found: ModelFile, dataset: Dataset, protocol: Protocol, part: HeldOut, every: bool) -> dict[str, Evaluation]:
    """The model under the name "", and with `every` its parts and its control."""
    asked = PartAsked(protocol, None, part)
    views = {"": evaluate_view(found.model, dataset, asked=asked)}
    if every and found.model.item_tower.modalities:
        views[IDS] = evaluate_view(found.model, dataset, "collaborative", asked)
        views[CONTENT] = evaluate_view(found.model, dataset, "content", asked)
        views[PERMUTED] = evaluate_permuted(found, dataset, asked)
    return views


def _end_with_study() -> None:
    """Wait for the other end of standard input to close; unbuffered, since a buffer's lock would outlive the main thread."""
    while os.read(0, 4096):
        pass
    os._exit(1)


def views_of(modalities: Sequence[str]) -> tuple[str, ...]:
    """The views that a reference with these modalities has besides the model itself."""
    return VIEWS if modalities else ()
