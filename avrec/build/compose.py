"""Compose a verb's configuration from `conf/`, with every mistake in the overrides explained before anything else happens."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict

from avrec.build.explain import explained, is_yaml_error, yaml_problem
from avrec.build.hydra_node import check_hydra_node
from avrec.build.paths import conf_dir
from avrec.build.schema import check_run_keys
from avrec.core.errors import ConfigError

HYDRA_VERSION_BASE = "1.3"


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


def compose_at(place: ConfigPlace, overrides: Sequence[str], multirun: bool = False) -> Composed:
    """Compose and check; no class that the configuration names is imported.

    Args:
        place: where from.
        overrides: as on the command line.
        multirun: the overrides may sweep (`a=1,2`); the first value of each is composed.

    Raises:
        ConfigError: see `compose`.
    """
    with _session(place):
        added = place.search_path(overrides)
        overrides = [*overrides, *added]
        try:
            if multirun:
                overrides = _first_values(overrides)
            config = hydra.compose(place.name, overrides, return_hydra_config=True)
            plain = hydra.compose(place.name, added) if overrides else config
        except HydraException as error:
            raise explained(error, place.name, overrides, added) from error
        except Exception as error:
            if not is_yaml_error(error):
                raise
            raise ConfigError(yaml_problem(error)) from error
        groups = GlobalHydra.instance().config_loader().get_group_options("", ObjectType.GROUP, place.name, overrides)
    hydra_node = config.hydra
    check_hydra_node(hydra_node)
    known = {str(key) for key in plain.keys() | set(groups)} - {"hydra", "experiment"}
    with open_dict(config):
        del config["hydra"]
    check_run_keys(config, known)
    return Composed(config, hydra_node)


@contextlib.contextmanager
def _session(place: ConfigPlace) -> Iterator[None]:
    # Hydra keeps one global state; a run that is under way gets its own back.
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().hydra = None
    folder = conf_dir() if place.folder is None else place.folder
    try:
        with hydra.initialize_config_dir(str(folder.absolute()), job_name=place.name, version_base=HYDRA_VERSION_BASE):
            yield
    finally:
        GlobalHydra.instance().hydra = outer


def _first_values(overrides: Sequence[str]) -> list[str]:
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    first = []
    for override in parser.parse_overrides(list(overrides)):
        if not override.is_sweep_override():
            first.append(str(override.input_line))
        elif override.is_discrete_sweep():
            first += [f"{override.get_key_element()}={value}" for value in list(override.sweep_string_iterator())[:1]]
    return first
