"""Choice of settings by the validation part; the test part is never read here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from avrec.core.dataset import Dataset
from avrec.core.errors import ConfigError
from avrec.core.query import Recommender, Scorer
from avrec.evaluation.evaluate import Evaluation, evaluate

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Trial:
    """One candidate: its settings, its objective and its validation metrics."""

    settings: Settings
    objective: float
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Tuned:
    """The chosen candidate and everything that was tried.

    Attributes:
        settings: of the chosen one.
        scorer: the fitted one.
        validation: its evaluation on the validation part.
        trials: all candidates in the order in which they were tried.
    """

    settings: Settings
    scorer: Scorer
    validation: Evaluation
    trials: Sequence[Trial]


def tune(
    candidates: Sequence[tuple[Settings, Recommender]], dataset: Dataset, objective: str = "recall@20+ndcg@20"
) -> Tuned:
    """Fit every candidate on train and keep the one with the largest validation objective, the first of equals.

    Args:
        candidates: settings, for the report, and the recommender built from them.
        dataset: only its train and validation parts are read.
        objective: metrics joined by `+`, such as `recall@20+ndcg@20`.

    Raises:
        ConfigError: no candidates, or the objective is not a sum of known metrics.
    """
    if not candidates:
        raise ConfigError("tune was given no candidates; give at least one pair of settings and recommender.")
    cutoffs = objective_cutoffs(objective)
    trials: list[Trial] = []
    best: tuple[Settings, Scorer, Evaluation] | None = None
    for settings, recommender in candidates:
        scorer = recommender.fit(dataset)
        validation = evaluate(scorer, dataset, "validation", cutoffs)
        value = objective_value(validation, objective)
        if best is None or value > max(trial.objective for trial in trials):
            best = (settings, scorer, validation)
        trials.append(Trial(settings, value, validation.metrics))
    assert best is not None
    return Tuned(*best, trials)


def objective_value(evaluation: Evaluation, objective: str) -> float:
    """The sum of the metrics that an objective names.

    Raises:
        ConfigError: one of them was not measured.
    """
    names = [name.strip() for name in objective.split("+")]
    absent = [name for name in names if name not in evaluation.metrics]
    if absent:
        raise ConfigError(
            f"objective {objective!r}: {absent} was not measured; there are {sorted(evaluation.metrics)}."
        )
    return sum(evaluation.metrics[name] for name in names)


def objective_cutoffs(objective: str) -> list[int]:
    """The cutoffs that an objective names, such as [20] for `recall@20+ndcg@20`.

    Raises:
        ConfigError: a term does not end in `@` and a number.
    """
    cutoffs = set()
    for name in objective.split("+"):
        _, _, cutoff = name.strip().rpartition("@")
        if not cutoff.isdecimal() or int(cutoff) == 0:
            raise ConfigError(
                f"objective {objective!r}: {name.strip()!r} is not a metric with a cutoff; write for instance recall@20+ndcg@20."
            )
        cutoffs.add(int(cutoff))
    return sorted(cutoffs)
