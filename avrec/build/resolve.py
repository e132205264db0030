"""From a configuration node to plain dicts and lists: every interpolation is resolved *before* anything is checked.

What is checked is exactly what is built: after this step no text is left that could be read as an interpolation again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from avrec.core.errors import ConfigError

TARGET = "_target_"
PARTIAL = "_partial_"
ARGS = "_args_"
MISSING = "???"

# A YAML alias or a shared reference in a checkpoint can unfold a few bytes into billions of nodes.
MAX_DEPTH = 32
MAX_NODES = 50_000


@dataclass
class Resolved:
    """A configuration without interpolations.

    Attributes:
        value: plain dicts, lists and scalars.
        key: where the node stands in the whole configuration; empty for its root.
        problems: everything that could not be resolved, one message each.
        missing: the same for values that are still `???`.
    """

    value: Any = None
    key: str = ""
    problems: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def require(self, allow_missing: bool = False) -> "Resolved":
        """Return itself, or raise ConfigError with all problems at once."""
        raise_all(self.problems if allow_missing else self.problems + self.missing)
        return self


def config_error(problems: Sequence[str]) -> ConfigError:
    """One error that lists every problem."""
    if len(problems) == 1:
        return ConfigError(problems[0])
    return ConfigError(
        "\n".join([f"{len(problems)} problems in the configuration:", *(f"  {text}" for text in problems)])
    )


def raise_all(problems: Sequence[str]) -> None:
    """Raise one ConfigError that lists every problem; do nothing when there is none."""
    if problems:
        raise config_error(problems)


def join(key: str, part: str | int) -> str:
    """The dotted key of a child: `a.b` for a name, `a[0]` for a position."""
    if isinstance(part, int):
        return f"{key}[{part}]"
    return f"{key}.{part}" if key else str(part)


def target_nodes(value: Any, key: str = "") -> Iterator[tuple[str, dict[Any, Any]]]:
    """Every dict that names a `_target_`, with its key, the outer ones first."""
    if isinstance(value, dict):
        if TARGET in value:
            yield key, value
        for name, child in value.items():
            yield from target_nodes(child, join(key, str(name)))
    elif isinstance(value, list):
        for position, child in enumerate(value):
            yield from target_nodes(child, join(key, position))


def resolve(node: Any, trusted: bool = True) -> Resolved:
    """Resolve a node of a configuration.

    Args:
        node: an OmegaConf container or plain dicts and lists.
        trusted: False for a configuration that came with a file (checkpoint, bundle): it must hold plain values only, and
            any interpolation, `${oc.env:SECRET}` above all, is refused without being resolved.
    """
    if not trusted:
        walk = _Walk(_plain_children, _refuse_interpolation)
        container = OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else node
        return walk.start(container, "")
    if not OmegaConf.is_config(node):
        # Plain data is looked through first: OmegaConf itself would follow a cycle for ever.
        shape = _Walk(_plain_children, _keep).start(node, "")
        if shape.problems:
            return shape
        try:
            node = OmegaConf.create(node)
        except OmegaConfBaseException as error:
            return Resolved(problems=[f"the configuration cannot be read: {str(error).splitlines()[0]}"])
    return _Walk(_config_children, _refuse_leftover).start(node, node._get_full_key(None) or "")


Children = Callable[[Any, str, Resolved], Mapping[Any, Any] | Sequence[Any] | None]


@dataclass
class _Walk:
    """One pass over a tree: `children` opens a container, `leaf` judges a scalar."""

    children: Children
    leaf: Callable[[Any, str, Resolved], Any]
    nodes: int = 0

    def start(self, node: Any, key: str) -> Resolved:
        found = Resolved(key=key)
        found.value = self._visit(node, key, found, 0)
        return found

    def _visit(self, node: Any, key: str, found: Resolved, depth: int) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES or depth > MAX_DEPTH:
            if not any("nested deeper" in text for text in found.problems):
                found.problems.append(
                    f"{key[:80]}: the configuration is nested deeper than {MAX_DEPTH} levels or holds more than {MAX_NODES} values."
                    " Does a node refer to itself?"
                )
            return None
        opened = self.children(node, key, found)
        if isinstance(opened, Mapping):
            return {name: self._visit(child, join(key, str(name)), found, depth + 1) for name, child in opened.items()}
        if opened is not None:
            return [self._visit(child, join(key, place), found, depth + 1) for place, child in enumerate(opened)]
        return self.leaf(node, key, found)


def _plain_children(node: Any, key: str, found: Resolved) -> Mapping[Any, Any] | Sequence[Any] | None:
    if isinstance(node, Mapping):
        odd = [name for name in node if not isinstance(name, str | int | float | bool)]
        found.problems += [f"{key}: the key {name!r} is not text." for name in odd]
        return {name: child for name, child in node.items() if name not in odd}
    return node if isinstance(node, list | tuple) else None


def _config_children(node: Any, key: str, found: Resolved) -> Mapping[Any, Any] | Sequence[Any] | None:
    if isinstance(node, DictConfig) and not (node._is_none() or node._is_missing()):
        return {name: _value(node, name, join(key, str(name)), found) for name in node}
    if isinstance(node, ListConfig) and not (node._is_none() or node._is_missing()):
        return [_value(node, place, join(key, place), found) for place in range(len(node))]
    return None


def _value(node: DictConfig | ListConfig, name: Any, key: str, found: Resolved) -> Any:
    if OmegaConf.is_missing(node, name):
        found.missing.append(_no_value(key))
        return MISSING
    try:
        return node[name]
    except InterpolationToMissingValueError:
        found.missing.append(f"{key}: {_written(node, name)} leads to a key that has no value yet.")
        return MISSING
    except (OmegaConfBaseException, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        found.problems.append(f"{key}: {_written(node, name)} cannot be resolved: {reason}")
        return None


def _written(node: DictConfig | ListConfig, name: Any) -> str:
    raw: Any = OmegaConf.to_container(node, resolve=False)
    return repr(str(raw[name])[:80])


def _no_value(key: str) -> str:
    return f"{key}: has no value yet. Give one: {key}=VALUE"


def _keep(value: Any, key: str, found: Resolved) -> Any:
    return value


def _refuse_leftover(value: Any, key: str, found: Resolved) -> Any:
    if isinstance(value, DictConfig | ListConfig):
        return None
    if isinstance(value, str) and "${" in value:
        found.problems.append(f"{key}: {value[:80]!r} still holds '${{' after it was resolved. Write the value itself.")
    return value


def _refuse_interpolation(value: Any, key: str, found: Resolved) -> Any:
    if isinstance(value, str) and "${" in value:
        found.problems.append(
            f"{key}: the interpolation {value[:80]!r} is refused in a configuration that comes with a file."
        )
    elif value == MISSING:
        found.missing.append(_no_value(key))
    elif not isinstance(value, str | int | float | bool | None):
        found.problems.append(
            f"{key}: a value of type {type(value).__name__} is refused in a configuration that comes with a file."
        )
    return value
