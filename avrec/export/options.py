"""What a bundle is given beside its tables and graphs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from avrec.core.errors import ConfigError
from avrec.export.search_index import IndexKind
from avrec.export.smaller import SmallerKind


@dataclass(frozen=True)
class ExportOptions:
    """Choices of one export; a quick one by default.

    Attributes:
        index: `auto` measures exact and approximate search and takes what pays; `exact` and `ivf` take one.
        programs: also write both towers as programs of torch.export.
        triton: also write a Triton model repository, with copies of the graphs.
        smaller: smaller item towers to write as well.
        smaller_max_loss: the share of validation's Recall@20 that each of them may lose.

    Raises:
        ConfigError: a value is not one of those.
    """

    index: IndexKind = "auto"
    programs: bool = False
    triton: bool = False
    smaller: tuple[SmallerKind, ...] = ()
    smaller_max_loss: float = 0.01

    def __post_init__(self) -> None:
        _one_of("index", self.index, get_args(IndexKind))
        for kind in self.smaller:
            _one_of("smaller", kind, get_args(SmallerKind))
        if len(set(self.smaller)) != len(self.smaller):
            raise ConfigError(f"smaller: {list(self.smaller)} names one twice.")
        for key, value in (("programs", self.programs), ("triton", self.triton)):
            if not isinstance(value, bool):
                raise ConfigError(f"{key}: {value!r} is neither true nor false.")
        if not 0 <= self.smaller_max_loss < 1:
            raise ConfigError(f"smaller_max_loss: {self.smaller_max_loss} is not a share from 0 to below 1.")


def _one_of(key: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ConfigError(f"{key}: {value!r} is none of {', '.join(allowed)}.")
