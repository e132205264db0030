"""How many items a second each part of the line handles: decode, preprocess, encode, step."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Rates:
    """Items and seconds by part of the line and modality.

    Attributes:
        items: {(part, modality): items}.
        seconds: likewise.
        wait_share: {stage: share of its time that steps waited for data}.
    """

    items: dict[tuple[str, str], int] = field(default_factory=dict)
    seconds: dict[tuple[str, str], float] = field(default_factory=dict)
    wait_share: dict[str, float] = field(default_factory=dict)

    def add(self, part: str, modality: str, items: int, seconds: float) -> None:
        """Count what was done; nothing done is not counted."""
        if items > 0:
            key = (part, modality)
            self.items[key] = self.items.get(key, 0) + items
            self.seconds[key] = self.seconds.get(key, 0.0) + seconds

    @contextmanager
    def preprocessing(self, encoder: nn.Module) -> Iterator[None]:
        """Time the preprocessing of a media encoder by itself while it encodes."""
        preprocess, kind = encoder.get_submodule("trunk.preprocess"), str(encoder.kind)
        began = [0.0]

        def before(module: nn.Module, arguments: Any) -> None:
            began[0] = _now(arguments[0])

        def after(module: nn.Module, arguments: Any, output: Any) -> None:
            self.add("preprocess", kind, len(arguments[0]), _now(output) - began[0])

        hooks = [preprocess.register_forward_pre_hook(before), preprocess.register_forward_hook(after)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def rows(self) -> list[dict[str, Any]]:
        """One row a part and modality: items, seconds, items per second."""
        order = ("decode", "preprocess", "encode", "step")
        return [
            {
                "part": part,
                "modality": modality,
                "items": count,
                "seconds": round(self.seconds[part, modality], 3),
                "items_per_sec": round(count / max(self.seconds[part, modality], 1e-9), 2),
            }
            for (part, modality), count in sorted(
                self.items.items(), key=lambda pair: (order.index(pair[0][0]), pair[0][1])
            )
        ]


def _now(values: Tensor) -> float:
    """The clock once these values are there: CUDA computes while Python goes on."""
    if values.is_cuda:
        torch.cuda.synchronize(values.device)
    return time.monotonic()
