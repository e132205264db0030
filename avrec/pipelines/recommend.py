"""`avrec recommend`: the best items for known users or a history, from a bundle, without PyTorch.

New uploads are embedded from Python: `Recommender.embed_files` and `Recommender.embed_items`.
"""

import shlex
from pathlib import Path

from omegaconf import DictConfig, ListConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text

from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommendation, Recommender
from avrec.core.errors import ConfigError


def run(config: DictConfig) -> list[Recommendation]:
    """Recommend `config.k` items for `config.user` (an id or a list of ids) or for `config.history` (a list of item ids)."""
    if config.unknown not in ("error", "serve"):
        raise ConfigError(f"unknown: {config.unknown!r} is neither error nor serve.")
    serve = config.unknown == "serve"
    recommender = Recommender(Bundle.open(Path(config.bundle_dir)))
    if (config.user is None) == (config.history is None):
        known = recommender.bundle.users.ids([0])[0]
        example = shlex.quote(f"user={known}")
        raise ConfigError(f"give either user=ID (such as {example}) or history=[ITEM,ITEM,...].")
    if config.user is not None:
        given = config.user if isinstance(config.user, ListConfig) else [config.user]
        users = [str(user) for user in given]
        answers = recommender.for_users(users, config.k, unknown="no history" if serve else "error")
    else:
        users = ["history"]
        history = [str(item) for item in config.history]
        answers = recommender.for_histories([history], config.k, unknown="skip" if serve else "error")
    console = Console(markup=False, highlight=False)  # an id may hold brackets
    for user, answer in zip(users, answers, strict=True):
        console.print(f"{user}: answered from {answer.how}", soft_wrap=True)
        console.print(_table(answer))
    return answers


def _table(answer: Recommendation) -> Table:
    table = Table("rank", "item_id", "score")
    for rank, (item_id, score) in enumerate(zip(answer.item_ids, answer.scores, strict=True), 1):
        table.add_row(str(rank), Text(item_id), f"{score:.4f}")
    return table
