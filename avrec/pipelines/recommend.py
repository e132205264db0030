"""`avrec recommend`: lists for users, for a history, or of what resembles an item, from a bundle, without PyTorch.

New uploads are embedded from Python: `Recommender.embed_files` and `Recommender.embed_items`.
"""

import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, ListConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text

from avrec.build.instantiate import instantiate
from avrec.bundle.batch import Wish, write_lists
from avrec.bundle.item_list import read_item_ids
from avrec.bundle.queries import query_histories, query_users
from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommendation, Recommender
from avrec.bundle.strangers import Stranger, query_strangers
from avrec.core.arrays import Bool
from avrec.core.errors import ConfigError, DataError

TELL_SEC = 5.0
ASKED = ("user", "history", "item", "users")
TOLD = ("interests", "friends", "fields")


def run(config: DictConfig) -> list[Recommendation]:
    """Answer for `config.user`, `history`, a newcomer or `item` on the terminal, or write the lists of all users to `config.out`.

    Returns:
        The answers; nothing where they were written.
    """
    if config.unknown not in ("error", "serve"):
        raise ConfigError(f"unknown: {config.unknown!r} is neither error nor serve.")
    recommender = Recommender(Bundle.open(Path(config.bundle_dir)))
    _check_asked(config, recommender.bundle)
    allowed = _allowed(config, recommender.bundle)
    wish = Wish(int(config.k), bool(config.exclude_seen), allowed, instantiate(config.rerank))
    if config.users is not None:
        written = write_lists(recommender, str(config.out), wish, _telling(recommender.bundle))
        resumed = f", {written.resumed:,} of them stood already" if written.resumed else ""
        print(f"{written.path}: the lists of {written.num_users:,} users{resumed}; {written.seconds:.1f} s")
        return []
    names, answers = _answers(config, recommender, wish)
    console = Console(markup=False, highlight=False)  # an id may hold brackets
    for name, answer in zip(names, answers, strict=True):
        way = f"likeness by {config.by or recommender.likeness.usual}" if answer.how == "item" else answer.how
        console.print(f"{name}: answered from {way}", soft_wrap=True)
        if answer.unknown:
            console.print(f"not known to this bundle: {', '.join(answer.unknown)}", soft_wrap=True)
        console.print(_table(answer))
    return answers


def _check_asked(config: DictConfig, bundle: Bundle) -> None:
    given = [name for name in ASKED if config[name] is not None]
    known = bundle.users.ids([0])[0] if len(bundle.users) else "ID"
    told = [name for name in TOLD if config[name] is not None]
    if told and set(given) - {"history"}:
        raise ConfigError(f"{told[0]} tells of somebody new: beside it only history can be given; found {given}.")
    if len(given) != 1 and not told:
        example = shlex.quote(f"user={known}")
        raise ConfigError(
            f"give one of user=ID (such as {example}), history=[ITEM,ITEM,...], item=ID or users=all; found {given}. "
            "For somebody new give interests=[TAG,...], friends=[USER,...] or fields={NAME:VALUE}."
        )
    if config.by is not None and config.item is None:
        raise ConfigError(f"by={config.by} says how items are alike; it needs item=ID.")
    if config.item is not None and instantiate(config.rerank).changes:
        raise ConfigError("rerank puts the lists of users in another order; with item=ID leave it out.")
    if config.item is not None and not config.exclude_seen:
        raise ConfigError("exclude_seen is of users' histories; with item=ID leave it out.")
    if config.users is not None and (config.users != "all" or config.out is None):
        raise ConfigError("users=all writes the lists of everybody, and needs out=FILE.parquet.")
    if config.out is not None and config.users is None:
        raise ConfigError(f"out={config.out} is written for users=all; other answers are printed.")


def _answers(config: DictConfig, recommender: Recommender, wish: Wish) -> tuple[list[str], list[Recommendation]]:
    """Whom or what the answers are for, and the answers."""
    serve = config.unknown == "serve"
    if config.item is not None:
        item = str(config.item)
        return [item], [recommender.similar(item, wish.k, config.by, wish.allowed)]
    if any(config[name] is not None for name in TOLD):
        return ["newcomer"], [_newcomer(config, recommender, wish, serve)]
    if config.user is not None:
        given = config.user if isinstance(config.user, ListConfig) else [config.user]
        names = [str(user) for user in given]
        query = query_users(recommender.bundle, names, "no history" if serve else "error")
    else:
        names = ["history"]
        history = [str(item) for item in config.history]
        query = query_histories(recommender.bundle, [history], "skip" if serve else "error")
    return names, recommender.recommend(query, wish.k, wish.exclude_seen, wish.allowed, wish.reranking)


def _newcomer(config: DictConfig, recommender: Recommender, wish: Wish, serve: bool) -> Recommendation:
    """The answer for somebody who tells interests, friends or fields, and perhaps a history."""
    interests, friends, fields = config.interests or [], config.friends or [], config.fields or {}
    if not (isinstance(interests, ListConfig | DictConfig | list) and isinstance(friends, ListConfig | list)):
        raise ConfigError("interests and friends are lists: interests=[rock,jazz] friends=[ID,ID].")
    if not isinstance(fields, DictConfig | dict):
        raise ConfigError("fields are names with values: fields={age:31,country:NO}.")
    stranger = Stranger(
        history=[str(item) for item in config.history or ()],
        interests=_weighted(interests) if isinstance(interests, DictConfig) else [str(tag) for tag in interests],
        friends=[str(user) for user in friends],
        fields={str(name): value if isinstance(value, int | float) else str(value) for name, value in fields.items()},
    )
    query, told, (unknown,) = query_strangers(recommender.bundle, [stranger])
    if unknown and not serve:
        raise DataError(
            [f"{recommender.bundle.folder} does not know {what}. Or take unknown=serve." for what in unknown]
        )
    answer = recommender.recommend(query, wish.k, wish.exclude_seen, wish.allowed, wish.reranking, told)[0]
    return replace(answer, unknown=unknown)


def _weighted(interests: DictConfig) -> dict[str, float]:
    try:
        return {str(tag): float(weight) for tag, weight in interests.items()}
    except (TypeError, ValueError) as error:
        raise ConfigError(f"interests: a weight is no number ({error}). Give {{TAG:WEIGHT}}.") from error


def _allowed(config: DictConfig, bundle: Bundle) -> Bool | None:
    """(N,) true for the items that the file `config.allowed` names; None without one."""
    if config.allowed is None:
        return None
    path = Path(config.allowed)
    item_ids = read_item_ids(path)
    item_idx = bundle.items.index(item_ids)
    unknown = np.flatnonzero(item_idx < 0)
    if len(unknown):
        first = item_ids[int(unknown[0])].as_py()
        words = f"{path}: {len(unknown)} of {len(item_ids)} items are not in {bundle.folder}, the first is {first!r}."
        if config.unknown == "error":
            raise DataError([f"{words} Take them out, or leave them aside with unknown=serve."])
        print(f"{words} They are left aside.")
    allowed = np.zeros(len(bundle.items), np.bool_)
    allowed[item_idx[item_idx >= 0]] = True
    return allowed


def _telling(bundle: Bundle) -> Callable[[int, int], None]:
    """Prints what is done, users a second and the time that is left, every few seconds."""
    began = told = time.monotonic()
    before: list[int] = []

    def tell(done: int, total: int) -> None:
        """Say how far it is, and how fast, now and then."""
        nonlocal told
        now = time.monotonic()
        if not before:
            before.append(done)
            print(f"{bundle.folder}: {done:,} of {total:,} users stand", flush=True)
        elif now - told >= TELL_SEC:
            rate = (done - before[0]) / (now - began)
            left = (total - done) / rate
            print(f"{done:,} of {total:,} users, {rate:,.0f} users/s, {left:.0f} s left", flush=True)
            told = now

    return tell


def _table(answer: Recommendation) -> Table:
    table = Table("rank", "item_id", "score")
    for rank, (item_id, score) in enumerate(zip(answer.item_ids, answer.scores, strict=True), 1):
        table.add_row(str(rank), Text(item_id), f"{score:.4f}")
    return table
