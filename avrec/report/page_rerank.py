"""The section that tells what varied and fresh lists cost."""

from collections.abc import Mapping
from typing import Any

from avrec.evaluation.rerank_prices import SEEN_SHOWN
from avrec.report.page_parts import Picture, Section, Sheet, number, shown
from avrec.report.page_run import RunRecord
from avrec.report.plots_results import trade
from avrec.report.rerank import change

TITLE = "What varied and fresh lists cost"
UNCHANGED = "as ranked"
KINDS = {"MMR": "more varied", "fresh": "fresher"}  # by the first word of an order's name
MEASURES = ("recall", "diversity", "novelty", "coverage", "mean_age_days")


def rerank_section(run: RunRecord) -> Section:
    """NDCG against what it is paid for, one row an order of the same candidates."""
    found, rows = run.reranking, run.reranking.get("rows", {})
    if UNCHANGED not in rows:
        return Section("reranked", TITLE, "Left out: nothing was re-ranked. Train with rerank=prices to be told.")
    at = "@" + next(key for key in rows[UNCHANGED] if key.startswith("ndcg@")).partition("@")[2]
    order = sorted(
        rows, key=lambda name: (name == SEEN_SHOWN, name != UNCHANGED, name.partition(",")[0], -rows[name][f"ndcg{at}"])
    )
    before = rows[UNCHANGED][f"ndcg{at}"]
    kept = [key for key in MEASURES if any(f"{key}{at}" in row for row in rows.values())]
    cells = [
        [
            shown(name),
            number(rows[name][f"ndcg{at}"]),
            change(rows[name][f"ndcg{at}"], before),
            *(number(rows[name].get(f"{key}{at}"), 1 if key == "mean_age_days" else 3) for key in kept),
        ]
        for name in order
    ]
    columns = ["", f"NDCG{at}", "price", *("age, days" if key == "mean_age_days" else key for key in kept)]
    who = f"{found['users']:,} users" + (
        "" if found["users"] == found["of_all_users"] else f" of {found['of_all_users']:,}"
    )
    sheet = Sheet(f"on {found['part']}, {who}", columns, cells, frozenset([UNCHANGED]))
    return Section("reranked", TITLE, _lead(found, kept), _pictures(rows, order, at), [sheet])


def _pictures(rows: Mapping[str, Mapping[str, float]], order: list[str], at: str) -> list[Picture]:
    bought = f"diversity{at}"
    if bought not in rows[UNCHANGED]:
        return []
    series = {
        words: [
            (rows[name][bought], rows[name][f"ndcg{at}"])
            for name in order
            if name.startswith(kind) and bought in rows[name]
        ]
        for kind, words in KINDS.items()
    }
    start = (rows[UNCHANGED][bought], rows[UNCHANGED][f"ndcg{at}"])
    image = trade(
        start,
        {name: points for name, points in series.items() if points},
        f"diversity of a list ({bought})",
        f"NDCG{at}",
    )
    alt = "; ".join(
        f"{name}: diversity {number(rows[name][bought])}, NDCG {number(rows[name][f'ndcg{at}'])}"
        for name in order
        if bought in rows[name]
    )
    return [Picture(image, f"NDCG against the diversity of a list. {shown(alt, 600)}.")]


def _lead(found: Mapping[str, Any], kept: list[str]) -> str:
    words = [
        "The same candidates in other orders: what a list that repeats itself less, or shows younger items, finds of what users "
        f"went on to consume. MMR lets an item stand back behind those like it, by {shown(str(found['alike_by']))}; lambda 1 keeps "
        f"the order. Diversity is the mean of 1 - cosine over the pairs of a list, by {shown(str(found['diversity_by']))}."
    ]
    if "mean_age_days" in kept:
        words.append("Fresh orders add the youth of an item to its score.")
    if SEEN_SHOWN in found["rows"]:
        words.append(f"“{SEEN_SHOWN}” is what lists would be if they might repeat the history.")
    return " ".join(words)
