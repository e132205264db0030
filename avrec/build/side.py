"""Side information between configuration, model file and data set: what makes it, and what was learned of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avrec.build.instantiate import instantiate
from avrec.build.model import supply
from avrec.core.errors import ArtefactError
from avrec.factors.side.base import SideFeature, State


def side_makers(
    node: Mapping[str, Any] | None, cache_folder: Path, device: str, trusted: bool = True
) -> dict[str, SideFeature]:
    """What makes the modalities of side information.

    Args:
        node: modality -> a partial; null for one that is left out.
        cache_folder: where what is slow to compute is kept, for the parts that ask for it.
        device: where encoders run, likewise.
        trusted: False for a configuration that came with a file.
    """
    makers = instantiate({name: part for name, part in (node or {}).items() if part is not None}, trusted=trusted)
    return {name: supply(maker, cache_folder=cache_folder, device=device) for name, maker in makers.items()}


def packed(states: Mapping[str, State]) -> dict[str, dict[str, Any]]:
    """States as a model file holds them: tensors and lists of text."""
    return {
        name: {
            key: list(value) if isinstance(value, list) else torch.from_numpy(np.ascontiguousarray(value))
            for key, value in state.items()
        }
        for name, state in states.items()
    }


def unpacked(value: Mapping[str, Mapping[str, Any]]) -> dict[str, State]:
    """The states that a model file holds.

    Raises:
        ArtefactError: it holds something else.
    """
    states: dict[str, State] = {}
    for name, state in value.items():
        for key, part in state.items():
            text = isinstance(part, list) and all(isinstance(entry, str) for entry in part)
            if not text and not (isinstance(part, torch.Tensor) and part.is_floating_point()):
                raise ArtefactError(f"side.{name}: '{key}' in the model file is a {type(part).__name__}. Train again.")
        states[name] = {key: part if isinstance(part, list) else part.numpy() for key, part in state.items()}
    return states
