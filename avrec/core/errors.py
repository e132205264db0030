"""Errors that a user can act on. Each message names the value, the place and the next step."""

import importlib
from collections.abc import Sequence
from types import ModuleType


class AvrecError(ValueError):
    """Base of every error that is caused by what the user gave, not by a defect of avrec."""


class ConfigError(AvrecError):
    """A configuration key, value or `_target_` is not acceptable."""


class ArtefactError(AvrecError):
    """A file that avrec wrote earlier is missing, damaged, of another version, or belongs to other data."""


class DataError(AvrecError):
    """A table or feature file is not acceptable; `problems` lists everything that was found."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class TrainingError(AvrecError):
    """Training went wrong in a way that going on would not mend."""


class MissingExtraError(AvrecError, ImportError):
    """A package of an optional extra is not installed."""


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, or say which extra brings it.

    Raises:
        MissingExtraError: the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"the Python module '{module}' could not be imported ({error}). Install it with: pip install 'avrec[{extra}]'"
        ) from error
