"""Run a verb under Hydra: check everything first, then call `avrec.pipelines.<verb>.run(config)`."""

import importlib
import numbers
import os
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hydra.version
from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from avrec.build.bind import check
from avrec.build.compose import HYDRA_VERSION_BASE, Composed, ConfigPlace, compose_at, compose_trials
from avrec.build.explain import in_short
from avrec.build.help import help_text
from avrec.build.paths import conf_dir
from avrec.build.ranks import ranks_of_job
from avrec.build.resolve import raise_all
from avrec.build.schema import run_value_problems
from avrec.core.errors import AvrecError, ConfigError


class _Stopped(BaseException):
    """Carries an error of the user's past Hydra, which would print about it first. Never leaves this module."""

    def __init__(self, error: AvrecError) -> None:
        self.error = error
        super().__init__(str(error))


def launch(verb: str, arguments: Sequence[str], program: Sequence[str]) -> None:
    """Compose the configuration of a verb, check it, and run the verb once, or once for each job of a sweep.

    Args:
        verb: names `conf/<verb>.yaml` and `avrec/pipelines/<verb>.py`.
        arguments: overrides and Hydra's own flags.
        program: the words that start this program again: the script, and the verb for the console command.

    Raises:
        ConfigError: the configuration is not acceptable; nothing has been read or written then.
        AvrecError: raised by the verb.
    """
    parser = get_args_parser()
    flags = parser.parse_intermixed_args(list(arguments))  # `a=1 -m b=1,2` in any order
    if flags.experimental_rerun is not None:
        raise ConfigError(
            "--experimental-rerun reads a pickle, which avrec never does. Repeat the run from its .hydra/overrides.yaml."
        )
    place = _place(verb, flags)
    if not flags.shell_completion:
        cases = _cases(place, flags)
        if flags.help:
            print(help_text(next(cases), place))
            return
        for case in cases:
            if not (flags.hydra_help or flags.cfg or flags.info):
                check(case.config)
    hydra.version.setbase(HYDRA_VERSION_BASE)
    flags.config_path = None
    folder = conf_dir() if place.folder is None else place.folder
    with _errors_of_hydra():
        # hydra.main would do the same with sys.argv, but reads --config-path as relative to this file.
        _run_hydra(flags, parser, _Job(verb, tuple(program)), str(folder.absolute()), place.name)


def _cases(place: ConfigPlace, flags: Namespace) -> Iterator[Composed]:
    if flags.multirun or "hydra.mode=MULTIRUN" in flags.overrides:
        yield from compose_trials(place, flags.overrides)
    else:
        yield compose_at(place, flags.overrides)


def _place(verb: str, flags: Namespace) -> ConfigPlace:
    folder = None if flags.config_path is None else Path(flags.config_path)
    if folder is not None and not folder.is_dir():
        raise ConfigError(f"--config-path {folder}: there is no such folder.")
    return ConfigPlace(flags.config_name or verb, folder, None if flags.config_dir is None else Path(flags.config_dir))


@contextmanager
def _errors_of_hydra() -> Iterator[None]:
    # With this variable set Hydra raises errors instead of printing them and leaving the process.
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    except _Stopped as stopped:
        raise stopped.error from stopped.error.__cause__
    except HydraException as error:
        raise ConfigError(in_short(error)) from error
    finally:
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before


class _Job:
    """The function that Hydra calls, once a job."""

    def __init__(self, verb: str, program: tuple[str, ...]) -> None:
        self.verb = verb
        self.program = program

    def __call__(self, config: DictConfig) -> float | None:
        if is_multirun():
            return self._run(config)
        try:
            return self._run(config)
        except AvrecError as error:
            raise _Stopped(error) from None

    def _run(self, config: DictConfig) -> float | None:
        with open_dict(config):
            config.run_dir = HydraConfig.get().runtime.output_dir
            config.multirun = bool(config.get("multirun", False)) or is_multirun()
        raise_all(run_value_problems(config))  # a sweeper may have chosen values that nobody has seen yet
        check(config)
        pipeline = importlib.import_module(f"avrec.pipelines.{self.verb}")
        with ranks_of_job(self.program, config.multirun):
            result = pipeline.run(config)
        objective = getattr(result, "objective", result)
        return float(objective) if isinstance(objective, numbers.Real) else None


def is_multirun() -> bool:
    """Whether Hydra runs several jobs (`-m`). Pipelines read `config.multirun` instead, which ranks of a job share."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
