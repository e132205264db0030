"""What a run's folder and its prepared data set hold for the report; parts that are not there are empty."""

import csv
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avrec.core.errors import ArtefactError
from avrec.core.files import read_json

CURVES = Path("logs") / "{stage}" / "metrics.csv"
PART = "test"
METRIC = "recall@20"
COLUMNS = {  # as they are called on the page: as they are called in metrics.json
    "recall@20": "recall@20",
    "NDCG@20": "ndcg@20",
    "new items": "cold/recall@20",
    "known items": "warm/recall@20",
    "new among new": "cold_only/recall@20",
    "coverage": "coverage@20",
}
Curve = tuple[list[int], list[float]]


@dataclass(frozen=True)
class StageRecord:
    """One stage of a run.

    Attributes:
        name: of the stage.
        summary: its `done.json`: best epoch, epochs, objective, whether it was undone.
        curves: logged name -> (epochs, values); empty without the CSV logger.
    """

    name: str
    summary: Mapping[str, Any]
    curves: Mapping[str, Curve]


@dataclass(frozen=True)
class RunRecord:
    """A run's own files.

    Attributes:
        folder: of the run.
        record: `run.json`.
        metrics: `metrics.json`; empty for a run that was not evaluated.
        manifest: of the prepared data set; empty where it is gone.
        stages: in order.
        reranking: `rerank.json`; empty where nothing was re-ranked.
    """

    folder: Path
    record: Mapping[str, Any]
    metrics: Mapping[str, Any]
    manifest: Mapping[str, Any]
    stages: tuple[StageRecord, ...]
    reranking: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path, prepared: Path) -> "RunRecord":
        """Read what is there.

        Raises:
            ArtefactError: a file is damaged.
        """
        done = sorted(
            (folder / "checkpoints").glob("*_*/done.json"), key=lambda path: int(path.parent.name.split("_")[0])
        )
        stages = []
        for path in done:
            name = path.parent.name.partition("_")[2]
            curves = read_curves(folder / str(CURVES).format(stage=name))
            stages.append(StageRecord(name, read_json(path), curves))
        return cls(
            folder,
            _optional(folder / "run.json"),
            _optional(folder / "metrics.json"),
            _optional(prepared / "manifest.json"),
            tuple(stages),
            _optional(folder / "rerank.json"),
        )

    @property
    def calibration(self) -> str:
        """The operating point that the run reported."""
        return str(self.metrics.get("settings", {}).get("calibration", "overall"))

    def value(self, name: str) -> float | None:
        """A test metric of the model, such as `recall@20`."""
        return self.metrics.get(f"{PART}/{name}")

    @property
    def best_baseline(self) -> str | None:
        """The baseline with the largest recall@20 on this very part."""
        found: Mapping[str, Any] = self.metrics.get("baselines", {})
        return max(found, key=lambda name: found[name].get(f"{PART}/recall@20", 0.0), default=None)


def read_curves(path: Path) -> dict[str, Curve]:
    """The curves of a CSV log, averaged over the steps of an epoch.

    Returns:
        name -> (epochs, values), rising; values that are no finite numbers are left out. Empty without the file.
    """
    if not path.is_file():
        return {}
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    try:
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                epoch = int(row["epoch"])
                for name, text in row.items():
                    if name not in ("epoch", "step") and text and math.isfinite(float(text)):
                        found[name][epoch].append(float(text))
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ArtefactError(f"{path}: not a log of training ({error}). Remove it to go without its curves.") from error
    return {
        name: (sorted(epochs), [sum(epochs[epoch]) / len(epochs[epoch]) for epoch in sorted(epochs)])
        for name, epochs in found.items()
    }


def _optional(path: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = read_json(path) if path.is_file() else {}
    return found
