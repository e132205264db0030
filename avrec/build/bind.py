"""Do all arguments of a configuration fit the constructors they go to? Answered for the whole tree, without building anything."""

import inspect
from collections.abc import Callable, Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any

from avrec.build.allow import allowed_object, node_problems
from avrec.build.nearest import hint
from avrec.build.resolve import ARGS, PARTIAL, TARGET, raise_all, resolve, target_nodes
from avrec.build.values import value_problems
from avrec.core.errors import AvrecError

# Arguments that the code supplies at run time and that a configuration therefore leaves out, by the key of the node (`*`
# stands for any text). With these a node must be complete, and giving one of them in a configuration is an error. A node
# that says `_partial_: true` and is not listed here may lack anything, because what it will be given is not known.
RUNTIME_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "encoder.audio": ("checkpoint",),
    "encoder.feature": ("feature_dim",),
    "encoder.video": ("checkpoint",),
    "fusion": ("input_dims",),
    "item_table": ("num_items", "dim"),
    "item_tower": ("encoders", "fusion", "id_dim"),
    "media": ("dataset",),
    "pooling.*": ("dim",),
    "side.*": ("cache_folder", "device"),
    "user_table": ("num_users", "dim"),
    "user_tower": ("id_dim", "content_dim", "id_pooling", "content_pooling"),
}

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def check(
    config: Any,
    runtime: Mapping[str, Collection[str]] = RUNTIME_ARGUMENTS,
    allow_missing: bool = False,
    trusted: bool = True,
) -> None:
    """Check a whole configuration: interpolations, allow-list, and every `_target_`'s arguments against its signature.

    Nothing is built. Names are judged before the first import, so a configuration with one foreign target imports nothing.

    Args:
        config: an OmegaConf container or plain dicts and lists.
        runtime: argument names that are supplied at run time, by the key of the node (`*` stands for any text).
        allow_missing: accept keys whose value is still `???`.
        trusted: False for a configuration that came with a file.

    Raises:
        ConfigError: with every problem found.
    """
    resolved = resolve(config, trusted).require(allow_missing)
    raise_all(node_problems(resolved.value, resolved.key, trusted))
    raise_all(bind_problems(resolved.value, resolved.key, runtime, trusted))


def bind_problems(
    value: Any, key: str = "", runtime: Mapping[str, Collection[str]] = RUNTIME_ARGUMENTS, trusted: bool = True
) -> list[str]:
    """Everything that does not fit below a resolved node that `node_problems` has passed; imports the targets' modules."""
    problems = []
    for place, node in target_nodes(value, key):
        try:
            target = allowed_object(node[TARGET], place, trusted)
        except AvrecError as error:
            problems.append(str(error))
            continue
        listed = [names for pattern, names in runtime.items() if _matches(place, pattern)]
        supplied = {name for names in listed for name in names} if listed else None
        problems += signature_problems(target, node, place, supplied) + value_problems(target, node, place)
    return problems


def signature_problems(
    target: Callable[..., Any], node: Mapping[str, Any], key: str, supplied: Collection[str] | None = None
) -> list[str]:
    """How the arguments of one node differ from what its target takes.

    Args:
        target: the class or function.
        node: the resolved node: arguments by name, `_args_`, `_partial_`.
        key: where the node stands.
        supplied: names of the arguments that come at run time; None when that is not known.
    """
    label = f"{key}: {node[TARGET]}" if key else str(node[TARGET])
    parameters = inspect.signature(target).parameters
    positional = list(node.get(ARGS, []))
    given = [str(name) for name in node if name not in (TARGET, ARGS, PARTIAL)]
    slots = [
        name for name, found in parameters.items() if found.kind in (found.POSITIONAL_ONLY, found.POSITIONAL_OR_KEYWORD)
    ]
    kinds = {found.kind for found in parameters.values()}
    accepted = [name for name, found in parameters.items() if found.kind in _NAMED]

    problems = []
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        problems += [
            f"{label} has no argument '{name}'; {hint(name, accepted)}" for name in given if name not in accepted
        ]
    if len(positional) > len(slots) and inspect.Parameter.VAR_POSITIONAL not in kinds:
        problems.append(f"{label} takes {len(slots)} arguments by position, but {ARGS} holds {len(positional)}.")
    by_position = slots[: len(positional)]
    problems += [f"{label} gets '{name}' twice: by name and in {ARGS}." for name in given if name in by_position]
    problems += [
        f"{label} gets '{name}' from avrec at run time; remove it from the configuration."
        for name in (*given, *by_position)
        if name in (supplied or ())
    ]
    if node.get(PARTIAL, False) and supplied is None:
        return problems
    return problems + [
        f"{label} needs the argument '{name}'."
        for name, found in parameters.items()
        if found.default is found.empty
        and found.kind not in (found.VAR_POSITIONAL, found.VAR_KEYWORD)
        and name not in {*given, *by_position, *(supplied or ())}
    ]


def _matches(key: str, pattern: str) -> bool:
    # `[` is part of a key (`stages[0]`), never a character class.
    return key == pattern or fnmatchcase(key, pattern.replace("[", "[[]"))
