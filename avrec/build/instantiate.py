"""`instantiate`: one configuration node to one object, and errors that say which key, which target and why.

It speaks Hydra's language (`_target_`, `_partial_`, `_args_`, nested nodes) but makes the calls itself. What is called is the
very object that the allow-list has passed, not a name looked up a second time; text is not read as an interpolation once
more; data classes given at run time stay data classes; and an error knows its key.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from avrec.build.allow import allowed_object, node_problems
from avrec.build.bind import bind_problems
from avrec.build.resolve import ARGS, MISSING, PARTIAL, TARGET, join, raise_all, resolve
from avrec.core.errors import AvrecError, ConfigError


def instantiate(node: Any, /, *, trusted: bool = True, **runtime: Any) -> Any:
    """Build what a configuration node names, everything nested included.

    First the node is resolved to plain dicts and lists, then every target in it is checked against the allow-list and every
    argument against the signature it goes to; only then is anything built. Lists and dicts arrive as plain ones.

    Args:
        node: a node with a `_target_`, or a dict or list that holds such nodes; None gives None (an optional part left out).
        trusted: False for a configuration that came with a file (checkpoint, bundle): no interpolation is resolved, and only
            models may be named.
        runtime: further arguments of the outermost target (sizes, the data set); they reach it untouched.

    Returns:
        The object; a `functools.partial` where the node says `_partial_: true`; for a dict or list of nodes a dict or list.

    Raises:
        ConfigError: the node is refused, does not fit, or its target fails on these values.
        AvrecError: the target itself raised one; it carries a note that says where.
    """
    if node is None:
        return None
    resolved = resolve(node, trusted).require()
    value, key = resolved.value, resolved.key
    raise_all(node_problems(value, key, trusted))
    if runtime and (not isinstance(value, dict) or TARGET not in value):
        raise ConfigError(f"{key or 'the node'}: has no {TARGET}, so nothing takes the arguments {sorted(runtime)}.")
    raise_all(
        [
            f"{join(key, name)}: is given by avrec; remove it from the configuration."
            for name in runtime
            if name in value
        ]
    )
    seen = {**value, **dict.fromkeys(runtime, MISSING)} if runtime else value  # names count, values are not judged
    raise_all(bind_problems(seen, key, {}, trusted))
    return _build(value, key, trusted, runtime)


def _build(value: Any, key: str, trusted: bool, runtime: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_build(child, join(key, place), trusted, {}) for place, child in enumerate(value)]
    if not isinstance(value, dict):
        return value
    built = {name: _build(child, join(key, str(name)), trusted, {}) for name, child in value.items()}
    if TARGET not in value:
        return built
    target = allowed_object(built.pop(TARGET), key, trusted)
    partial = built.pop(PARTIAL, False)
    maker = functools.partial(target, *built.pop(ARGS, []), **built, **runtime)
    return maker if partial else _call(maker, value, key)


def _call(maker: Callable[[], Any], node: Mapping[str, Any], key: str) -> Any:
    label = f"{key}: {node[TARGET]}" if key else str(node[TARGET])
    try:
        return maker()
    except AvrecError as error:
        error.add_note(f"(while building {label})")
        raise
    except Exception as error:
        arguments = [_short(given) for given in node.get(ARGS, [])]
        arguments += [f"{name}={_short(given)}" for name, given in node.items() if name not in (TARGET, ARGS, PARTIAL)]
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise ConfigError(f"{label}({', '.join(arguments)}) failed: {reason}") from error


def _short(value: object) -> str:
    if isinstance(value, dict) and TARGET in value:
        return f"<{value[TARGET]}>"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
