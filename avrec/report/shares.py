"""How much each modality makes up of the items' content, as a table."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table

from avrec.evaluation.shares import PERCENTILES

GROUPS = {"complete/": "items with all of them", "": "items with any"}


def shares_table(shares: Mapping[str, float], modalities: Sequence[str]) -> Table:
    """One row a modality and group of items; what `catalogue_shares` found."""
    table = Table(
        title="shares of the modalities in the items' content",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        caption="among items that have all modalities a share tells which one the model leans on",
        caption_justify="left",
    )
    for header in ("", "modality"):
        table.add_column(header)
    for header in ("items", "mean", *(f"p{percent}" for percent in PERCENTILES)):
        table.add_column(header, justify="right")
    for prefix, words in GROUPS.items():
        count = shares[f"{prefix}share/items"]
        for name in modalities if count else ():
            keys = [f"{prefix}share/{name}", *(f"{prefix}share/{name}/p{percent}" for percent in PERCENTILES)]
            table.add_row(words, name, f"{count:,.0f}", *(f"{shares[key]:.3f}" for key in keys))
    return table
