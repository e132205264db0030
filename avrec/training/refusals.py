"""What a stage cannot do, said before it begins: every refusal names the setting and the way out."""

from torch import nn
from torch.optim import Optimizer

from avrec.core.errors import ConfigError
from avrec.models.two_tower import TwoTower
from avrec.training.row_adam import RowAdam


def refuse_processes(model: TwoTower, loss: nn.Module, world_size: int) -> None:
    """Several processes add up dense gradients, and each sees only its own rows of a batch.

    Raises:
        ConfigError: a trained table is sparse, or the loss contrasts the users of a batch, under more than one process.
    """
    if world_size > 1 and sparse_tables(model):
        raise ConfigError(
            f"{sparse_tables(model)[0]}: sparse=true under {world_size} processes is not supported, since they add up dense "
            "gradients only. Set it to false, or train in one process (trainer.devices=1)."
        )
    if world_size > 1 and couples_rows(loss):
        raise ConfigError(
            f"loss: {type(loss).__name__} contrasts all users of a batch, but each of {world_size} processes has only some of "
            "them. Use loss=softmax, or train in one process (trainer.devices=1)."
        )


def refuse_optimizer(model: TwoTower, optimizer: Optimizer) -> None:
    """A sparse gradient needs an optimiser that has a rule for it.

    Raises:
        ConfigError: a trained table is sparse and the optimiser is not `RowAdam`.
    """
    if sparse_tables(model) and not isinstance(optimizer, RowAdam):
        raise ConfigError(
            f"{sparse_tables(model)[0]}: sparse=true needs the optimiser avrec.training.row_adam.RowAdam, and this stage uses "
            f"{type(optimizer).__name__}. Set the stage's optimizer.optimizer._target_ to it, or sparse to false."
        )


def refuse_columns(loss: nn.Module, own_column: bool) -> None:
    """A loss that contrasts users reads the scores that others have for a pair's positive.

    Raises:
        ConfigError: each pair's positive has a column of its own.
    """
    if own_column and couples_rows(loss):
        raise ConfigError(
            f"loss: {type(loss).__name__} needs every user's score of every positive, but the candidates score a positive for "
            "its own user alone. Use candidates=in_batch, mixed, sampled, hard or full."
        )


def couples_rows(loss: nn.Module) -> bool:
    """Whether the loss of a row depends on other rows."""
    return bool(getattr(loss, "couples_rows", False))


def sparse_tables(model: TwoTower) -> list[str]:
    """Names of the tables whose gradients are sparse and that may be trained."""
    tables = {"item_table": model.item_table, "user_table": model.user_table}
    return [
        name
        for name, table in tables.items()
        if table.sparse and any(parameter.requires_grad for parameter in table.parameters())
    ]
