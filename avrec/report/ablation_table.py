"""The table that ends a study in the terminal."""

from rich import box
from rich.table import Table
from rich.text import Text

from avrec.report.ablation import Measure, Row, StudyResult, Verdict

MIN_NAME = 24
SLICES = {
    "cold": "New items, without a training event, among all items. How high they are placed is part of the operating point.",
    "cold_only": "New items ranked among themselves, which no operating point can move.",
}
MARKS: dict[Verdict, str] = {"better": " *", "worse": " *", "same": " =", "unclear": "", "untested": ""}
STYLES: dict[Verdict, str] = {"better": "green", "worse": "red", "same": "dim", "unclear": "", "untested": ""}


def study_table(result: StudyResult) -> Table:
    """One row a variant: the main metric with its difference from the reference, interval and corrected p-value, then the others.

    Args:
        result: what was measured.
    """
    about = result.about
    table = Table(
        title=Text(
            f"{result.name}, {about['part']} part, seeds {about['seeds']}, operating point {about['calibration']}"
        ),
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        caption_justify="left",
    )
    table.add_column("", overflow="fold", min_width=MIN_NAME)
    for header in (result.metrics[0], "difference, 95 %", "p"):
        table.add_column(header, justify="right", no_wrap=True)
    for metric in result.metrics[1:]:
        table.add_column("\n".join(metric.split("/")), justify="right", no_wrap=True)
        table.add_column("differ-\nence", justify="right", no_wrap=True)
    _add(table, result.reference, result, "bold")
    study = None
    for row in result.rows:
        if row.entry.study != study:
            study = row.entry.study
            table.add_section()
        _add(table, row, result)
    table.caption = Text("\n".join(caption(result)))
    return table


def _add(table: Table, row: Row, result: StudyResult, style: str = "") -> None:
    failed = f" ({len(row.entry.failed)} of {len(result.about['seeds'])} seeds failed)" if row.entry.failed else ""
    cells = [Text(row.entry.name + failed, style)]
    for place, metric in enumerate(result.metrics):
        one = row.measures.get(metric)
        numbers = _main_numbers(one) if place == 0 else _numbers(one)
        cells += [Text(text, STYLES[one.verdict] if one else "") for text in numbers]
    table.add_row(*cells)


def _main_numbers(one: Measure | None) -> list[str]:
    if one is None:
        return ["", "", ""]
    mean, found = short(f"{one.mean:.4f}"), one.comparison
    if found is None:
        return [mean, "", ""]
    low, high = found.interval
    between = f"{short(f'{found.mean_difference:+.4f}')} ({short(f'{low:+.3f}')} to {short(f'{high:+.3f}')})"
    return [mean, between, p_text(found.p_value) + MARKS[one.verdict]]


def _numbers(one: Measure | None) -> list[str]:
    if one is None:
        return ["", ""]
    found = one.comparison
    return [
        short(f"{one.mean:.4f}"),
        "" if found is None else short(f"{found.mean_difference:+.4f}") + MARKS[one.verdict],
    ]


def short(number: str) -> str:
    """`.1071` and `+.0139`."""
    return number.replace("0.", ".", 1) if number.lstrip("+-").startswith("0.") else number


def p_text(p_value: float) -> str:
    """A p-value with as many digits as it is worth."""
    return "<.0001" if p_value < 1e-4 else short(f"{p_value:.4f}")


def caption(result: StudyResult) -> list[str]:
    """How to read the numbers, and what failed, a line each."""
    lines = [
        *honesty(result),
        f"difference: variant - reference; p: {result.test}; * more than chance, = equal for every user.",
        *(f"{metric}: {words}" for metric in result.metrics[1:] if (words := SLICES.get(metric.partition("/")[0]))),
    ]
    return lines + [
        f"failed: {row.entry.name}, seed {seed}: {' '.join(reason.split())}"
        for row in (result.reference, *result.rows)
        for seed, reason in row.entry.failed.items()
    ]


def honesty(result: StudyResult) -> list[str]:
    """Which part was read, in sentences."""
    if result.about["part"] == "test":
        return ["The test part was read once for each run, after everything had been chosen on validation."]
    words = ["This is validation, on which epochs and operating points were chosen too, for every variant alike."]
    return words + ([] if result.about["test_read"] else ["The test part was not read; read_test=true reads it."])
