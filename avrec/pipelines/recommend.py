"""`avrec recommend`: the best items for known users or a history, from a bundle, without PyTorch."""

from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommendation, Recommender
from avrec.core.errors import ConfigError


def run(config: DictConfig) -> list[Recommendation]:
    """Recommend `config.k` items for `config.user` (an id or a list of ids) or for `config.history` (a list of item ids)."""
    recommender = Recommender(Bundle.open(Path(config.bundle_dir)))
    if (config.user is None) == (config.history is None):
        known = recommender.bundle.users.ids([0])[0]
        raise ConfigError(f"give either user=ID (such as user={known}) or history=[ITEM,ITEM,...].")
    if config.user is not None:
        users = [
            str(user)
            for user in (
                config.user if hasattr(config.user, "__len__") and not isinstance(config.user, str) else [config.user]
            )
        ]
        answers = recommender.for_users(users, config.k)
    else:
        users = ["history"]
        answers = recommender.for_histories([[str(item) for item in config.history]], config.k)
    console = Console()
    for user, answer in zip(users, answers, strict=True):
        table = Table(title=f"{user}: answered from {answer.how}")
        table.add_column("rank", justify="right")
        table.add_column("item_id")
        table.add_column("score", justify="right")
        for rank, (item_id, score) in enumerate(zip(answer.item_ids, answer.scores, strict=True), 1):
            table.add_row(str(rank), item_id, f"{score:.4f}")
        console.print(table)
    return answers
