"""Parameter groups by name: one learning rate and weight decay per part of the model."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from avrec.core.errors import ConfigError


def longest_prefix(name: str, table: Mapping[str, float], default: float) -> float:
    """The value of the longest key that `name` starts with."""
    keys = [key for key in table if name.startswith(key)]
    return table[max(keys, key=len)] if keys else default


class ParameterGroups:
    """Makes an optimiser whose groups are chosen by the longest matching prefix of a parameter's name.

    Args:
        optimizer: a partial of a `torch.optim` class, called with the groups.
        learning_rate: where no prefix matches.
        learning_rates: {prefix: rate}, for example {item_tower: 0.0003}.
        weight_decays: {prefix: decay}; 0 where no prefix matches.
    """

    def __init__(
        self,
        optimizer: Callable[..., Optimizer],
        learning_rate: float,
        learning_rates: Mapping[str, float] | None = None,
        weight_decays: Mapping[str, float] | None = None,
    ) -> None:
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.learning_rates = dict(learning_rates or {})
        self.weight_decays = dict(weight_decays or {})

    def __call__(self, model: nn.Module) -> Optimizer:
        """The optimiser of the model's trainable parameters.

        Raises:
            ConfigError: a prefix matches no parameter of the model, or every parameter is frozen.
        """
        names = [name for name, _ in model.named_parameters()]
        for prefix in (*self.learning_rates, *self.weight_decays):
            if not any(name.startswith(prefix) for name in names):
                known = sorted({name.split(".")[0] for name in names})
                raise ConfigError(f"optimiser: no parameter starts with '{prefix}'; the model has {known}.")
        groups: dict[tuple[float, float], dict[str, Any]] = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                rate = longest_prefix(name, self.learning_rates, self.learning_rate)
                decay = longest_prefix(name, self.weight_decays, 0.0)
                group = groups.setdefault((rate, decay), {"params": [], "lr": rate, "weight_decay": decay})
                group["params"].append(parameter)
        if not groups:
            raise ConfigError("optimiser: every parameter is frozen, so there is nothing to train. Freeze fewer parts.")
        return self.optimizer(list(groups.values()))
