"""What Hydra complains of, in words that name the key, the value and the nearest valid one."""

import contextlib
import inspect
from collections.abc import Sequence
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, ListConfig
from omegaconf.errors import OmegaConfBaseException

from avrec.build.allow import allowed_object
from avrec.build.nearest import hint, nearest
from avrec.build.resolve import TARGET, config_error, join
from avrec.core.errors import AvrecError, ConfigError


def explained(error: HydraException, name: str, overrides: Sequence[str], added: Sequence[str] = ()) -> ConfigError:
    """The error to raise instead of Hydra's. Call it while Hydra is initialised.

    Args:
        error: what Hydra raised while it composed.
        name: the primary config.
        overrides: what was asked for.
        added: overrides that every composition of this place needs.
    """
    problems: list[str] = []
    if not isinstance(error, OverrideParseException | MissingConfigException):
        with contextlib.suppress(HydraException):
            problems = _override_problems(name, overrides, added)
    return config_error(problems or [in_short(error)])


def is_yaml_error(error: Exception) -> bool:
    """Whether PyYAML raised it; by name, because PyYAML is OmegaConf's dependency and not ours."""
    return any(kind.__module__.startswith("yaml.") for kind in type(error).__mro__)


def yaml_problem(error: Exception) -> str:
    """File, line and reason of a YAML error."""
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or str(error).splitlines()[0]
    place = f"{mark.name} line {mark.line + 1} column {mark.column + 1}: " if mark else ""
    return f"{place}not readable as YAML ({reason})."


def in_short(error: HydraException) -> str:
    """Hydra's message on one line, without its internals."""
    if isinstance(error, OverrideParseException):
        return f"'{error.override}' cannot be read as key=value. Quote what is special to the shell: 'key=\"a, b\"'."
    if isinstance(error, MissingConfigException):
        return _missing_option(error)
    lines = [line.strip() for text in (error, error.__cause__ or "") for line in str(text).splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(("full_key:", "object_type=")))


def _missing_option(error: MissingConfigException) -> str:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    if not group:
        return str(error).splitlines()[0]
    return f"{group}={option}: no such option; {hint(option, error.options or ())}"


def _override_problems(name: str, overrides: Sequence[str], added: Sequence[str]) -> list[str]:
    loader = GlobalHydra.instance().config_loader()
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
    groups = {
        found.key_or_group for found in parsed if loader.get_group_options(found.key_or_group, None, name, list(added))
    }
    plain = hydra.compose(name, list(added), return_hydra_config=True)
    chosen = plain.hydra.runtime.choices
    problems = [
        f"{found.key_or_group}: the group is not in use yet; write +{found.input_line}"
        for found in parsed
        if found.key_or_group in groups and _changes(found) and found.get_key_element() not in chosen
        if found.key_or_group not in plain  # a group with a list of options is not among Hydra's choices
    ]
    if problems:
        return problems
    picked = [str(found.input_line) for found in parsed if found.key_or_group in groups]
    config = hydra.compose(name, [*picked, *added], return_hydra_config=True)
    unknown = [
        _unchosen_group(config, found) or _key_problem(config, found)
        for found in parsed
        if found.key_or_group not in groups and _changes(found)
    ]
    return [problem for problem in unknown if problem]


def _changes(override: Override) -> bool:
    return not (override.is_add() or override.is_force_add() or override.is_delete())


def _unchosen_group(config: DictConfig, override: Override) -> str | None:
    """Why a key below a group cannot be set while no option of the group is chosen, or None."""
    group = override.key_or_group.partition(".")[0]
    options = GlobalHydra.instance().config_loader().get_group_options(group)
    if group in config.keys() or not options:
        return None
    return (
        f"{override.key_or_group}: no option of the group {group} is chosen yet; choose one of: {', '.join(options)}."
    )


def _key_problem(config: DictConfig, override: Override) -> str | None:
    """Why the key of a plain `key=value` override does not exist, or None when it does."""
    node: object = config
    key = ""
    for part in override.key_or_group.replace("[", ".").replace("]", "").split("."):
        if isinstance(node, ListConfig):
            if not part.isdigit() or int(part) >= len(node):
                return f"{override.key_or_group}: {key} is a list of {len(node)}; it has no position '{part}'."
            node, key = _child(node, int(part)), join(key, int(part))
        elif isinstance(node, DictConfig):
            if part not in node.keys():
                return f"{join(key, part)}: no such key; {_suggestion(config, node, key, part, override)}"
            node, key = _child(node, part), join(key, part)
        else:
            return f"{override.key_or_group}: no such key; {key} is a single value."
    return None


def _child(node: DictConfig | ListConfig, name: Any) -> object:
    try:
        return node[name]
    except OmegaConfBaseException:  # still ???, or an interpolation that leads nowhere: then it has no keys of its own
        return None


def _suggestion(config: DictConfig, node: DictConfig, key: str, part: str, override: Override) -> str:
    names = [str(name) for name in node if not str(name).startswith("_") and (key or name != "hydra")]
    sibling = nearest(part, names)
    if sibling:
        return f"did you mean '{join(key, sibling)}'?"
    # An argument that the constructor has and the configuration does not list is given with `+`.
    argument = nearest(part, _arguments(node))
    if argument:
        given = f"+{join(key, argument)}={override.get_value_element_as_str()}"
        return f"write {given} (an argument of {node[TARGET]} that the configuration does not list)."
    elsewhere = [found for found in _all_keys(config) if found.rpartition(".")[2] == part]
    return f"did you mean '{elsewhere[0]}'?" if elsewhere else hint(part, names)


def _arguments(node: DictConfig) -> list[str]:
    try:
        return list(inspect.signature(allowed_object(str(node.get(TARGET)))).parameters)
    except AvrecError:
        return []


def _all_keys(node: DictConfig, key: str = "") -> list[str]:
    keys = []
    for name in node:
        if not key and name == "hydra":
            continue
        child = node._get_node(name)
        keys.append(join(key, str(name)))
        if isinstance(child, DictConfig) and not (child._is_none() or child._is_missing() or child._is_interpolation()):
            keys += _all_keys(child, keys[-1])
    return keys
