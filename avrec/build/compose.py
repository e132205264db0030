"""Compose a verb's configuration from `conf/`, with every mistake in the overrides explained before anything else happens."""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict

from avrec.build.explain import explained, is_yaml_error, yaml_problem
from avrec.build.hydra_node import check_hydra_node
from avrec.build.paths import conf_dir
from avrec.build.schema import check_run_keys
from avrec.core.errors import ConfigError

HYDRA_VERSION_BASE = "1.3"
MAX_SWEEP_VALUES = 16


@dataclass(frozen=True)
class ConfigPlace:
    """Where a configuration is composed from.

    Attributes:
        name: the primary file without `.yaml`: a verb, or another name given by `--config-name`.
        folder: the folder of the primary file; avrec's own `conf` when None.
        extra: one more folder of config groups, as given by `--config-dir`.
    """

    name: str
    folder: Path | None = None
    extra: Path | None = None

    def search_path(self, overrides: Sequence[str]) -> list[str]:
        """The override that adds `extra` to Hydra's search path."""
        if self.extra is None:
            return []
        if any(text.lstrip("+~").startswith("hydra.searchpath") for text in overrides):
            raise ConfigError("--config-dir and hydra.searchpath are both given. Give one of them.")
        if not self.extra.is_dir():
            raise ConfigError(f"--config-dir {self.extra}: there is no such folder.")
        quoted = str(self.extra.absolute()).replace("\\", "\\\\").replace("'", "\\'")
        return [f"hydra.searchpath=['file://{quoted}']"]


@dataclass(frozen=True)
class Composed:
    """A composed and checked configuration.

    Attributes:
        config: the verb's own configuration.
        hydra: Hydra's part of it.
    """

    config: DictConfig
    hydra: DictConfig


def compose(name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """The checked configuration of a verb, from a test, a notebook or another program.

    Args:
        name: the verb: the file `conf/<name>.yaml`.
        overrides: as on the command line: `["+experiment=quickstart", "seed=3"]`.

    Raises:
        ConfigError: an override, a config file or a run-level key is wrong; the message names all that were found.
    """
    return compose_at(ConfigPlace(name), overrides).config


def compose_at(place: ConfigPlace, overrides: Sequence[str]) -> Composed:
    """Compose and check one configuration; no class that it names is imported.

    Args:
        place: where from.
        overrides: as on the command line.

    Raises:
        ConfigError: see `compose`.
    """
    with _session(place, overrides) as added:
        return _composed(place.name, overrides, added)


def compose_trials(place: ConfigPlace, overrides: Sequence[str]) -> Iterator[Composed]:
    """Compose trials of a sweep (`a=1,2`): each value of each override occurs, not each combination.

    Args:
        place: where from.
        overrides: as on the command line; at most `MAX_SWEEP_VALUES` values of each are tried.

    Raises:
        ConfigError: see `compose`.
    """
    with _session(place, overrides) as added:
        for case in _trials(place.name, overrides):
            yield _composed(place.name, case, added)


def _composed(name: str, overrides: Sequence[str], added: Sequence[str]) -> Composed:
    asked = [*overrides, *added]
    try:
        config = hydra.compose(name, asked, return_hydra_config=True)
        plain = hydra.compose(name, list(added)) if overrides else config
    except HydraException as error:
        raise explained(error, name, asked, added) from error
    except Exception as error:
        if isinstance(error, ValueError) and "Config group override" in str(error):
            raise ConfigError(_null_problem(name, overrides, added)) from error
        if not is_yaml_error(error):
            raise
        raise ConfigError(yaml_problem(error)) from error
    groups = GlobalHydra.instance().config_loader().get_group_options("", ObjectType.GROUP, name, asked)
    hydra_node = config.hydra
    check_hydra_node(hydra_node)
    known = {str(key) for key in plain.keys() | set(groups)} - {"hydra", "experiment"}
    with open_dict(config):
        del config["hydra"]
    check_run_keys(config, known)
    return Composed(config, hydra_node)


@contextlib.contextmanager
def _session(place: ConfigPlace, overrides: Sequence[str]) -> Iterator[list[str]]:
    # Hydra keeps one global state; a run that is under way gets its own back.
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().hydra = None
    folder = conf_dir() if place.folder is None else place.folder
    try:
        with hydra.initialize_config_dir(str(folder.absolute()), job_name=place.name, version_base=HYDRA_VERSION_BASE):
            yield place.search_path(overrides)
    finally:
        GlobalHydra.instance().hydra = outer


def _trials(name: str, overrides: Sequence[str]) -> list[list[str]]:
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    try:
        parsed = parser.parse_overrides(list(overrides))
    except HydraException as error:
        raise explained(error, name, overrides) from error
    values = [_values(override) for override in parsed]
    first = [found[0] for found in values if found]
    trials = [first]
    for place, found in enumerate(values):
        before = [other[0] for other in values[:place] if other]
        after = [other[0] for other in values[place + 1 :] if other]
        trials += [[*before, value, *after] for value in found[1:]]
    return trials


def _values(override: Override) -> list[str]:
    """What an override stands for in the trials of a sweep; nothing for an interval, whose values are not known yet."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    if not override.is_discrete_sweep():
        return []
    values = itertools.islice(override.sweep_string_iterator(), MAX_SWEEP_VALUES)
    return [f"{override.get_key_element()}={value}" for value in values]


def _null_problem(name: str, overrides: Sequence[str], added: Sequence[str]) -> str:
    groups = GlobalHydra.instance().config_loader().get_group_options("", ObjectType.GROUP, name, list(added))
    named = [word for word in overrides if word.partition("=")[0].lstrip("+") in groups and word.endswith("=null")]
    return f"{', '.join(named)}: a group takes the name of one of its options, and null is none of them."
