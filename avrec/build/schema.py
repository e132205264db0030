"""The typed keys of a run, and the check that a misspelt or foreign key at the top of a configuration fails at once.

Below the top, the constructors' signatures are the schema (see `bind.py`).
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from avrec.build.nearest import hint
from avrec.build.resolve import raise_all

MAX_SEED = 2**32 - 1

_TASK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Calibration(Enum):
    """Which operating point of the evaluation a run reports and exports."""

    overall = "the best validation score"
    cold98 = "the best validation recall on cold items that keeps 98 % of the best validation score"
    balanced = "the best harmonic mean of validation recall on cold and on warm items"


@dataclass
class RunLevel:
    """The keys that more than one verb knows; a verb has those that stand in its `conf/<verb>.yaml`.

    Attributes:
        task_name: names the folder below `runs/`: letters, digits, `.`, `_` and `-`.
        seed: 0 to 2**32 - 1; decides everything random.
        data_dir: the folder of a prepared data set.
        run_dir: the folder that this run writes to.
        ckpt: a model file that training wrote.
        bundle_dir: a bundle that export wrote.
        calibration: the operating point.
        multirun: true for one trial of a sweep: return the validation objective and leave the test part alone. Set by avrec.
    """

    task_name: str = "train"
    seed: int = 0
    data_dir: str | None = None
    run_dir: str | None = None
    ckpt: str | None = None
    bundle_dir: str | None = None
    calibration: Calibration = Calibration.cold98
    multirun: bool = False


def check_run_keys(config: DictConfig, known: Collection[str]) -> None:
    """Check the names at the top of a composed configuration, and the types of the run's own keys.

    Args:
        config: the composed configuration, without its `hydra` node.
        known: the names that may stand at the top: those of the verb's own file and of the config groups.

    Raises:
        ConfigError: with every problem found.
    """
    problems = [f"{key}: no such key; {hint(key, known)}" for key in map(str, config) if key not in known]
    raise_all(problems + run_value_problems(config))


def run_value_problems(config: DictConfig) -> list[str]:
    """What is wrong with the values of the run's own keys."""
    present = [field.name for field in fields(RunLevel) if field.name in config]
    return [
        text for name in present if not OmegaConf.is_missing(config, name) for text in _value_problems(config, name)
    ]


def _value_problems(config: DictConfig, name: str) -> list[str]:
    try:
        value = config[name]
    except OmegaConfBaseException as error:
        return [f"{name}: cannot be resolved: {str(error).splitlines()[0]}"]
    typed = OmegaConf.structured(RunLevel)
    try:
        typed[name] = value
    except OmegaConfBaseException:
        return [f"{name}: {value!r} is not {_expected(name)}."]
    if name == "seed" and not 0 <= typed.seed <= MAX_SEED:
        return [f"seed: {value} is not between 0 and {MAX_SEED}."]
    if name == "task_name" and not _TASK_NAME.fullmatch(typed.task_name):
        return [
            f"task_name: {value!r} cannot name a folder. Use letters, digits, '.', '_' and '-', beginning with a letter or digit."
        ]
    return []


def _expected(name: str) -> str:
    if name == "calibration":
        return f"one of {', '.join(point.name for point in Calibration)}"
    return {"seed": "a whole number", "multirun": "true or false"}.get(name, "text")


def run_keys(config: DictConfig) -> dict[str, Any]:
    """The run's own keys of a configuration as plain values, for manifests and logs."""
    return {field.name: config[field.name] for field in fields(RunLevel) if field.name in config}
