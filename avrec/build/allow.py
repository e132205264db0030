"""Which classes a configuration may name: an allow-list, judged on the object that a name resolves to.

`_target_` runs code of the config author's choice, so nothing is allowed by resemblance. A target is refused by its *name*
before anything is imported; then its module is imported (`avrec.*` or a listed one, never another) and the *object* found
there must be a class that was defined under exactly this name.
"""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from avrec.build.nearest import nearest
from avrec.build.resolve import ARGS, PARTIAL, TARGET, join, target_nodes
from avrec.core.errors import ConfigError, MissingExtraError

OWN = "avrec"

# A configuration that came inside a file (checkpoint, bundle) may rebuild a model, and what it reads of side information,
# and nothing else: no data source that reads a path of its choice, no logger, no trainer.
UNTRUSTED_ROOMS = ("avrec.models.", "avrec.core.clips.", "avrec.factors.side.", "avrec.training.text_vectors.")

# Functions of avrec that may be named although they are no classes, by full name.
FUNCTIONS: frozenset[str] = frozenset()

# Every class of another package that may be named, by the public name in its documentation. Classes made to be handed a
# function (LambdaLR, LambdaCallback, ThroughputMonitor) are of no use in a configuration and are left out.
THIRD_PARTY: Mapping[str, tuple[str, ...]] = {
    "torch.optim": ("Adagrad", "Adam", "AdamW", "NAdam", "RMSprop", "SGD"),
    "torch.optim.lr_scheduler": (
        "ConstantLR",
        "CosineAnnealingLR",
        "CosineAnnealingWarmRestarts",
        "CyclicLR",
        "ExponentialLR",
        "LinearLR",
        "MultiStepLR",
        "OneCycleLR",
        "PolynomialLR",
        "ReduceLROnPlateau",
        "StepLR",
    ),
    "pytorch_lightning": ("Trainer",),
    "pytorch_lightning.callbacks": (
        "DeviceStatsMonitor",
        "EMAWeightAveraging",
        "EarlyStopping",
        "GradientAccumulationScheduler",
        "LearningRateMonitor",
        "ModelCheckpoint",
        "ModelSummary",
        "RichModelSummary",
        "RichProgressBar",
        "StochasticWeightAveraging",
        "TQDMProgressBar",
        "Timer",
        "WeightAveraging",
    ),
    "pytorch_lightning.loggers": ("CSVLogger", "TensorBoardLogger", "WandbLogger"),
    "pytorch_lightning.strategies": ("DDPStrategy", "FSDPStrategy"),
}

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)+")
_RESERVED = re.compile(r"_[a-z]+_")


def listed_names() -> Iterator[str]:
    """The full public names of all third-party classes on the list."""
    for module, names in THIRD_PARTY.items():
        yield from (f"{module}.{name}" for name in names)


def name_problem(target: object, key: str, trusted: bool = True) -> str | None:
    """Why the name of a target is refused, or None. Imports nothing.

    Args:
        target: the value of `_target_`.
        key: the key of the node that holds it, for the message.
        trusted: False for a configuration that came with a file.
    """
    place = join(key, TARGET)
    if not isinstance(target, str) or not _NAME.fullmatch(target):
        return f"{place}: {_short(target)} is not the dotted name of a class, such as torch.optim.Adam."
    if not trusted:
        if target.startswith(UNTRUSTED_ROOMS):
            return None
        allowed = ", ".join(f"{room}*" for room in UNTRUSTED_ROOMS)
        return f"{place}: {_short(target)} is refused: a configuration that comes with a file may only name {allowed}."
    if target.startswith(f"{OWN}.") or target in set(listed_names()):
        return None
    listed = {name.rpartition(".")[2]: name for name in listed_names()}
    close = nearest(target.rpartition(".")[2], listed)
    guess = f" Did you mean '{listed[close]}'?" if close else ""
    return f"{place}: {_short(target)} is not on the list of classes that a configuration may name ({OWN}.* and those in avrec/build/allow.py).{guess}"


def node_problems(value: Any, key: str = "", trusted: bool = True) -> list[str]:
    """Everything that is refused below a resolved node by name and shape alone. Imports nothing.

    Args:
        value: plain dicts and lists, from `resolve`.
        key: where it stands, for the messages.
        trusted: False for a configuration that came with a file.
    """
    problems = []
    for place, node in target_nodes(value, key):
        problem = name_problem(node[TARGET], place, trusted)
        problems += [problem] if problem else []
        if not isinstance(node.get(PARTIAL, False), bool):
            problems.append(f"{join(place, PARTIAL)}: {_short(node[PARTIAL])} is neither true nor false.")
        if not isinstance(node.get(ARGS, []), list):
            problems.append(f"{join(place, ARGS)}: {_short(node[ARGS])} is not a list.")
        for name in node:
            if not isinstance(name, str):
                problems.append(f"{place}: the argument name {_short(name)} is not text.")
            if _RESERVED.fullmatch(str(name)) and name not in (TARGET, PARTIAL, ARGS):
                problems.append(
                    f"{join(place, name)}: is not supported. Nested nodes are always built, and lists and dicts arrive as plain ones."
                )
    return problems


def allowed_object(target: str, key: str = "", trusted: bool = True) -> Callable[..., Any]:
    """Import a target and return the class (or listed function) it names.

    Args:
        target: the value of `_target_`.
        key: the key of the node that holds it, for the message.
        trusted: False for a configuration that came with a file.

    Raises:
        ConfigError: the target is not on the allow-list, does not exist, or is another name of something else.
        MissingExtraError: its module needs a package that is not installed.
    """
    problem = name_problem(target, key, trusted)
    if problem:
        raise ConfigError(problem)
    place = join(key, TARGET)
    module_name, _, name = target.rpartition(".")
    module = _import(module_name, target, place)
    found = vars(module).get(name)
    if found is None:
        # torch and Lightning import some names lazily; this reaches listed third-party classes only.
        found = getattr(module, name, None) if not target.startswith(f"{OWN}.") else None
    if found is None:
        public = [
            text for text, value in vars(module).items() if inspect.isclass(value) and value.__module__ == module_name
        ]
        raise ConfigError(f"{place}: the module {module_name} has no class '{name}'.{_guess(name, public)}")
    _check_identity(found, target, place)
    return found  # type: ignore[no-any-return]


def _check_identity(found: object, target: str, place: str) -> None:
    module_name, _, name = target.rpartition(".")
    home = getattr(found, "__module__", None)
    own_name = getattr(found, "__qualname__", None)
    if target.startswith(f"{OWN}."):
        at_home = home == module_name and own_name == name
    else:
        at_home = isinstance(home, str) and f"{home}.".startswith(f"{module_name}.") and own_name == name
    if not at_home:
        true_name = f"{home}.{own_name}" if own_name else type(found).__name__
        hint = f" Write {true_name}." if inspect.isclass(found) and str(home).startswith(f"{OWN}.") else ""
        raise ConfigError(f"{place}: '{target}' is only another name of {true_name} and is refused.{hint}")
    if inspect.isclass(found) or (target in FUNCTIONS and inspect.isfunction(found)):
        return
    raise ConfigError(
        f"{place}: '{target}' is a {type(found).__name__}, not a class. A configuration may name classes only."
    )


def _import(module_name: str, target: str, place: str) -> Any:
    try:
        return importlib.import_module(module_name)
    except MissingExtraError:
        raise
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_name != missing and not module_name.startswith(f"{missing}."):
            if missing == OWN or missing.startswith(f"{OWN}."):
                raise
            raise MissingExtraError(
                f"{place}: '{target}' needs the Python module '{missing}', which is not installed. Install it with: pip install 'avrec[all]'"
            ) from error
        guess = _guess(module_name, _sibling_modules(missing))
        raise ConfigError(f"{place}: there is no module '{module_name}', so no '{target}'.{guess}") from error


def _sibling_modules(module_name: str) -> list[str]:
    parent_name = module_name.rpartition(".")[0]
    try:
        parent = importlib.import_module(parent_name)
    except (ImportError, ValueError):
        return []
    return [f"{parent_name}.{found.name}" for found in pkgutil.iter_modules(getattr(parent, "__path__", []))]


def _guess(name: str, names: Iterable[str]) -> str:
    close = nearest(name, names)
    return f" Did you mean '{close}'?" if close else ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
