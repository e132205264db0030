"""`metrics.json`: every number of a run, with what is needed to know where it came from."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import avrec
from avrec.core.files import write_json
from avrec.evaluation.evaluate import Evaluation
from avrec.evaluation.intervals import METHOD, main_intervals
from avrec.evaluation.significance import Comparison
from avrec.report.levels import levels_side_by_side

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Measured:
    """A recommender and its evaluations.

    Attributes:
        evaluations: at most one for each held-out part.
        settings: what it was built with, plain values; for a baseline those chosen on validation.
        catalogue: numbers about the whole catalogue, such as `share/audio`.
    """

    evaluations: Sequence[Evaluation]
    settings: Mapping[str, Any]
    catalogue: Mapping[str, float] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, float]:
        """All metrics under keys such as `test/cold/recall@20` and `catalogue/share/audio`."""
        found = {f"{one.part}/{name}": value for one in self.evaluations for name, value in one.metrics.items()}
        return found | {f"catalogue/{name}": value for name, value in self.catalogue.items()}

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The 95 % interval of the main metrics, under the same keys."""
        return {f"{one.part}/{name}": ends for one in self.evaluations for name, ends in main_intervals(one).items()}

    @property
    def document(self) -> dict[str, Any]:
        """Settings, intervals and metrics, as they stand in the file for a baseline or a view."""
        return {"settings": dict(self.settings), "intervals": self.intervals, **self.metrics}


def write_metrics(
    path: str | Path,
    model: Measured,
    baselines: Mapping[str, Measured],
    data_hash: str,
    seeds: Sequence[int],
    comparisons: Mapping[str, Comparison] | None = None,
    frontier: Sequence[Mapping[str, Any]] = (),
    views: Mapping[str, Measured] | None = None,
) -> None:
    """Write `metrics.json` atomically.

    The model's metrics stand at the top level (`test/recall@20`, `catalogue/share/audio`); beside them `intervals` and
    `interval_method`, `baselines`, `frontier`, `comparisons`, `counts`, `protocol` in words, `protocol_name`, `diversity_by`,
    `settings`, `seeds`, `data_hash`, `code_version` and `format_version`. `levels` repeats the main metrics of the hybrid, the
    collaborative and the content-based score of the model side by side.

    Args:
        path: the file.
        model: the trained model at its operating point.
        baselines: the tuned baselines by name.
        data_hash: content hash of the data set.
        seeds: seeds of the runs behind the numbers.
        comparisons: paired tests of the model against each baseline, by the baseline's name.
        frontier: operating points on validation, one plain mapping each.
        views: the same model at other operating points, its parts alone, and its controls.
    """
    document: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "code_version": avrec.__version__,
        "data_hash": data_hash,
        "seeds": list(seeds),
        "interval_method": METHOD,
        "protocol_name": model.evaluations[0].protocol_name,
        "diversity_by": model.evaluations[0].diversity_by,
        "protocol": {one.part: one.protocol for one in model.evaluations},
        "counts": {one.part: dict(one.counts) for one in model.evaluations},
        "baselines": {name: one.document for name, one in baselines.items()},
        "views": {name: one.document for name, one in (views or {}).items()},
        "levels": levels_side_by_side(
            model.evaluations[0].part, model.metrics, {name: one.metrics for name, one in (views or {}).items()}
        ),
        "comparisons": {name: asdict(one) for name, one in (comparisons or {}).items()},
        "frontier": [dict(point) for point in frontier],
    }
    write_json(path, document | model.document)
