"""Parameter groups by name: one learning rate and weight decay per part of the model."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from avrec.core.errors import ConfigError
from avrec.models.encoders.base import MediaEncoder


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
        encoder_rate: of the top block of pretrained encoders; as of any other parameter when None.
        layer_decay: a block's rate is this share of that of the block above it.
        warmup_steps: the rates rise linearly over so many steps.
    """

    def __init__(
        self,
        optimizer: Callable[..., Optimizer],
        learning_rate: float,
        learning_rates: Mapping[str, float] | None = None,
        weight_decays: Mapping[str, float] | None = None,
        encoder_rate: float | None = None,
        layer_decay: float = 1.0,
        warmup_steps: int = 0,
    ) -> None:
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.learning_rates = dict(learning_rates or {})
        self.weight_decays = dict(weight_decays or {})
        self.encoder_rate = encoder_rate
        self.layer_decay = layer_decay
        self.warmup_steps = warmup_steps

    def __call__(self, model: nn.Module, loss: nn.Module | None = None) -> Optimizer:
        """The optimiser of the model's trainable parameters and of those that a loss learns, named `loss.` and theirs.

        Raises:
            ConfigError: a prefix matches no parameter of the model, or every parameter is frozen.
        """
        named = list(model.named_parameters())
        named += [] if loss is None else loss.named_parameters(prefix="loss")
        names = [name for name, _ in named]
        for prefix in (*self.learning_rates, *self.weight_decays):
            if not any(name.startswith(prefix) for name in names):
                known = sorted({name.split(".")[0] for name in names})
                raise ConfigError(f"optimiser: no parameter starts with '{prefix}'; the model has {known}.")
        trunk_rates = self._trunk_rates(model)
        groups: dict[tuple[float, float], dict[str, Any]] = {}
        for name, parameter in named:
            if parameter.requires_grad:
                rate = trunk_rates.get(name, longest_prefix(name, self.learning_rates, self.learning_rate))
                decay = longest_prefix(name, self.weight_decays, 0.0)
                group = groups.setdefault((rate, decay), {"params": [], "lr": rate, "weight_decay": decay})
                group["params"].append(parameter)
        if not groups:
            raise ConfigError("optimiser: every parameter is frozen, so there is nothing to train. Freeze fewer parts.")
        return self.optimizer(list(groups.values()))

    def _trunk_rates(self, model: nn.Module) -> dict[str, float]:
        """The layer-wise rate of each parameter of a pretrained trunk, by its name in the model."""
        if self.encoder_rate is None:
            return {}
        rates = {}
        for place, encoder in model.named_modules():
            if isinstance(encoder, MediaEncoder):
                for name, _ in encoder.trunk.named_parameters(prefix="trunk"):
                    below_top = max(encoder.num_blocks - encoder.depth_of(name), 0)
                    rates[f"{place}.{name}".lstrip(".")] = self.encoder_rate * self.layer_decay**below_top
        return rates

    def schedule(self, optimizer: Optimizer) -> LambdaLR | None:
        """The warm-up by steps, if there is one."""
        steps = self.warmup_steps
        return LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / steps)) if steps > 0 else None
