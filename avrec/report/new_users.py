"""How a recommender does for new users, as a table in the terminal."""

from rich import box
from rich.table import Table

from avrec.evaluation.new_users import MAX_EVENTS, NewUsers
from avrec.evaluation.stated_tags import NUM_STATED


def new_users_table(found: NewUsers) -> Table:
    """One row an amount of knowledge, with popularity's recall for the same users; fits 80 columns."""
    table = Table(
        title=f"new users: what {found.num_users:,} users of the {found.part} part get of whom little is told",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        caption_justify="left",
    )
    table.add_column("told")
    metrics = list(next(iter(found.rows.values())).recall)
    for metric in metrics:
        for header in (metric.replace("@", "\n@"), "popu-\nlarity", "times"):
            table.add_column(header, justify="right", no_wrap=True)
    table.add_column("answered from", overflow="fold")
    for name, row in found.rows.items():
        numbers = []
        for metric in metrics:
            ours, popular = row.recall[metric], row.popularity[metric]
            numbers += [f"{ours:.4f}", f"{popular:.4f}", f"{ours / popular:.2f}" if popular else "-"]
        table.add_row(_words(name), *numbers, ", ".join(row.answered_by))
    table.caption = (
        f"users with {MAX_EVENTS} known events or more, who were in training; all that they are known to have consumed stays masked.\n"
        "events: the last ones, or drawn ones where there is no time. Tags and groups are learned from the users of other\n"
        "folds, friends from their own histories."
    )
    return table


def _words(name: str) -> str:
    if name == "interests":
        return f"{NUM_STATED} tags"
    return "1 event" if name == "1" else f"{name} events"
