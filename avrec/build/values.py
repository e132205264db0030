"""Does a plain value fit the annotation of the argument it goes to? Only what is certain counts as a misfit."""

import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union, get_args, get_origin

from avrec.build.resolve import ARGS, MISSING, PARTIAL, TARGET, join

_SCALARS = (bool, int, float, str, type(None))


def value_problems(target: Callable[..., Any], node: Mapping[str, Any], key: str) -> list[str]:
    """The scalar arguments of a resolved node whose type or choice the signature of its target rules out.

    Args:
        target: the class or function.
        node: the node: arguments by name.
        key: where the node stands.
    """
    try:
        parameters = inspect.signature(target, eval_str=True).parameters
    except NameError:  # an annotation that exists for type checkers only
        return []
    return [
        f"{join(key, name)}: {value!r} does not fit; {node[TARGET]} takes {_readable(parameters[name].annotation)}."
        for name, value in node.items()
        if name in parameters and name not in (TARGET, ARGS, PARTIAL)
        if value != MISSING and value is not parameters[name].default and not fits(value, parameters[name].annotation)
    ]


def fits(value: object, annotation: Any) -> bool:
    """Whether a value may go where `annotation` stands; True for everything that cannot be told.

    >>> fits(3, float), fits(True, int), fits("x", int | None), fits("a", Literal["a", "b"])
    (True, False, False, True)
    """
    if not isinstance(value, _SCALARS):
        return True
    if get_origin(annotation) in (Union, types.UnionType):
        return any(fits(value, part) for part in get_args(annotation))
    if get_origin(annotation) is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(annotation))
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation in (bool, str):
        return isinstance(value, annotation)
    if annotation in (None, type(None)):
        return value is None
    return True


def _readable(annotation: Any) -> str:
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(_readable(part) for part in get_args(annotation))
    if get_origin(annotation) is Literal:
        return " or ".join(repr(choice) for choice in get_args(annotation))
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}
    return words.get(annotation) or inspect.formatannotation(annotation)
