"""What re-ranking costs, as a table and as plain data."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich import box
from rich.table import Table

from avrec.evaluation.rerank_prices import SEEN_SHOWN, Prices, RerankTrials


def rerank_table(prices: Prices, trials: RerankTrials) -> Table:
    """One row an order of the same candidates; fits 80 columns.

    Args:
        prices: what was found.
        trials: what was asked.
    """
    table = Table(
        title=f"what re-ranking costs, on {prices.part} ({_who(prices)})",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        caption_justify="left",
    )
    at = f"@{prices.cutoff}"
    columns = {
        f"Recall\n{at}": f"recall{at}",
        "diver-\nsity": f"diversity{at}",
        "novel-\nty": f"novelty{at}",
        "cover-\nage": f"coverage{at}",
    }
    age = f"mean_age_days{at}"
    with_age = any(age in row for row in prices.rows.values())
    table.add_column("", overflow="fold")
    for header in [f"NDCG\n{at}", "price", *columns, *(["age,\ndays"] if with_age else [])]:
        table.add_column(header, justify="right", no_wrap=True)
    before = prices.rows["as ranked"][f"ndcg{at}"]
    for name, row in prices.rows.items():
        ndcg = row[f"ndcg{at}"]
        numbers = [_number(row.get(key)) for key in columns.values()]
        days = [f"{row[age]:.1f}" if age in row else "-"] if with_age else []
        table.add_row(name, f"{ndcg:.4f}", change(ndcg, before), *numbers, *days)
        if name == "as ranked":
            table.add_section()
    table.caption = _caption(prices, trials, with_age)
    return table


def rerank_document(prices: Prices, trials: RerankTrials) -> Mapping[str, Any]:
    """What `rerank.json` holds."""
    return {
        "format_version": 1,
        "trials": asdict(trials),
        "part": prices.part,
        "users": prices.num_users,
        "of_all_users": prices.of_all,
        "alike_by": prices.alike_by,
        "diversity_by": prices.diversity_by,
        "rows": {name: dict(row) for name, row in prices.rows.items()},
    }


def _who(prices: Prices) -> str:
    drawn = "" if prices.num_users == prices.of_all else f" drawn from {prices.of_all:,}"
    return f"{prices.num_users:,} users{drawn}"


def change(ndcg: float, before: float) -> str:
    """The price in percent, as words: `-3.2 %`; empty where nothing changes."""
    return "" if before == 0 or ndcg == before else f"{100 * (ndcg / before - 1):+.1f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _caption(prices: Prices, trials: RerankTrials, with_age: bool) -> str:
    words = [
        f"price: change of NDCG. Lists of {prices.cutoff} from the best {max(trials.pool, prices.cutoff)} of each user.\n"
        f"MMR: lambda 1 keeps the order, 0 is diversity alone; items are alike by {prices.alike_by}.\n"
        f"diversity: mean of 1 - cosine over the pairs of a list, by {prices.diversity_by}.",
        f"{SEEN_SHOWN}: what the lists would be if they might repeat the history.",
    ]
    if with_age:
        born = f"the column {trials.released!r}" if trials.released else "the first event in the history; 0 before it"
        words.append(f"fresh: half-life {trials.half_life_days:g} days; age since {born}.")
    return "\n".join(words)
