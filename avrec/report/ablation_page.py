"""`ablation.html`: a study on one page that holds everything and loads nothing."""

from collections.abc import Sequence
from pathlib import Path

from avrec.core.files import atomic_write
from avrec.report.ablation import JSON_FILE, Measure, Row, StudyResult, Verdict
from avrec.report.ablation_plots import COLOURS, Effect, forest
from avrec.report.ablation_table import SLICES, honesty, p_text
from avrec.report.page import render
from avrec.report.page_parts import Page, Picture, Section, Sheet, number, percent, shown

FILE = "ablation.html"
MAX_NAME = 30
MAX_CELL = 100  # characters; the whole text stands in the JSON file
NAMED = 3  # variants that the summary calls by name
TITLES = {"cold": " of new items", "cold_only": " of new items among themselves"}
FIRST_LEAD = (
    "Each dot is a variant's mean difference from the reference over users and seeds, its bar the 95 % interval over users, small "
    "ticks are the single seeds. Left of the line the change costs, right of it it gains."
)
WORDS: dict[Verdict, str] = {
    "better": "better",
    "worse": "worse",
    "same": "equal",
    "unclear": "may be chance",
    "untested": "not tested",
}


def write_page(folder: Path, result: StudyResult) -> Path:
    """Write `ablation.html` into a folder and return its path."""
    with atomic_write(folder / FILE) as file:
        file.write(render(page(result)))
    return folder / FILE


def page(result: StudyResult) -> Page:
    """The page of a study."""
    sections = [*(_effect_section(result, metric) for metric in result.metrics), _seeds_section(result)]
    sections += [_change_section(result), _missing_section(result)]
    footer = (
        f"Content hash of the data {str(result.about['data_hash'])[:16]}, protocol "
        f"{result.about['protocol']}, operating point {result.about['calibration']}."
    )
    title = f"What each part is worth: {shown(result.name)}"
    return Page(title, headline(result), _figures(result), sections, shown(footer, 600))


def headline(result: StudyResult) -> str:
    """The result in a few sentences: what raises and lowers each metric, and how much is undecided."""
    own = [row for row in result.rows if row.entry.study != "views"]
    tested = [row for row in own if any(one.comparison for one in row.measures.values())]
    if not tested:
        return "No variant could be compared with the reference; below stands why."
    words = [
        f"{len(tested)} {_plural(len(tested), 'change was', 'changes were')} tried on the model, over {_count(result)}."
    ]
    for metric in result.metrics:
        rows = [row for row in tested if metric in row.measures]
        rows.sort(key=lambda row: -abs(_difference(row, metric)))
        changed = [
            f"{len(found)} {_plural(len(found), f'{verb}s', verb)} it ({_names(found, metric)})"
            for verdict, verb in (("worse", "lower"), ("better", "raise"))
            if (found := [row for row in rows if row.measures[metric].verdict == verdict])
        ]
        words.append(f"{title_of(metric)}: {' and '.join(changed) or 'none moves it'} by more than chance explains.")
    return " ".join(words)


def _names(rows: Sequence[Row], metric: str) -> str:
    names = [f"{shown(row.entry.name, MAX_NAME)} {_difference(row, metric):+.3f}" for row in rows[:NAMED]]
    return ", ".join(names) + (f" and {len(rows) - NAMED} more" if len(rows) > NAMED else "")


def title_of(metric: str) -> str:
    """A metric in words.

    >>> title_of("recall@20"), title_of("cold/recall@20"), title_of("tail/recall@20")
    ('Recall@20', 'Recall@20 of new items', 'Recall@20, slice tail')
    """
    part, _, name = metric.rpartition("/")
    name = shown(name.replace("recall", "Recall").replace("ndcg", "NDCG").replace("mrr", "MRR"))
    return name + (TITLES.get(part) or f", slice {shown(part)}" if part else "")


def _plural(count: int, one: str, many: str) -> str:
    return one if count == 1 else many


def _count(result: StudyResult) -> str:
    seeds = len(result.about["seeds"])
    return f"{seeds} {_plural(seeds, 'seed', 'seeds')}"


def _difference(row: Row, metric: str) -> float:
    found = row.measures[metric].comparison
    return 0.0 if found is None else found.mean_difference


def _figures(result: StudyResult) -> list[tuple[str, str, str]]:
    figures = []
    for metric in result.metrics:
        one = result.reference.measures.get(metric)
        if one is not None:
            spread = f", {number(one.sd)} from seed to seed" if len(one.by_seed) > 1 else ""
            figures.append(
                (percent(one.mean), title_of(metric), f"of the reference, on {result.about['part']}{spread}")
            )
    figures.append((str(len(result.rows)), "variants", "compared with it, user by user"))
    figures.append((str(len(result.about["seeds"])), "seeds", "a user's differences are averaged over them"))
    return figures


def _effect_section(result: StudyResult, metric: str) -> Section:
    rows = [row for row in result.rows if metric in row.measures and row.measures[metric].comparison is not None]
    if not rows:
        lead = "Left out: no variant has results to compare with those of the reference."
        return Section(_anchor(metric), title_of(metric), lead)
    effects = [_effect(row, metric, result) for row in rows]
    breaks = [place for place in range(1, len(rows)) if rows[place].entry.study != rows[place - 1].entry.study]
    image = forest(effects, breaks, "variant - reference")
    alt = "; ".join(f"{one.name} {one.difference:+.3f}, {WORDS[one.verdict]}" for one in effects)
    columns = ["", metric, "difference", "95 % interval", "p", "users better / worse", "verdict"]
    reference = result.reference
    cells = [[shown(reference.entry.name), _mean(reference.measures[metric]), "", "", "", "", ""]]
    cells += [_cells(row, metric) for row in rows]
    lead = SLICES.get(metric.partition("/")[0], FIRST_LEAD if metric == result.metrics[0] else "")
    sheet = Sheet(f"{metric} on {result.about['part']}; p: {result.test}", columns, cells, frozenset([cells[0][0]]))
    keys = [(WORDS[verdict], COLOURS[verdict]) for verdict in dict.fromkeys(one.verdict for one in effects)]
    picture = Picture(image, f"Differences in {metric}. {alt}.")
    return Section(_anchor(metric), title_of(metric), lead, [picture], [sheet], keys=keys)


def _anchor(metric: str) -> str:
    return "effect-" + "".join(letter if letter.isalnum() else "-" for letter in metric)


def _effect(row: Row, metric: str, result: StudyResult) -> Effect:
    one, base = row.measures[metric], result.reference.measures[metric]
    assert one.comparison is not None
    by_seed = [value - base.by_seed[seed] for seed, value in one.by_seed.items() if seed in base.by_seed]
    found = one.comparison
    return Effect(shown(row.entry.name, MAX_NAME), found.mean_difference, found.interval, one.verdict, by_seed)


def _mean(one: Measure) -> str:
    return f"{number(one.mean, 4)} ± {number(one.sd, 4)}" if len(one.by_seed) > 1 else number(one.mean, 4)


def _cells(row: Row, metric: str) -> list[str]:
    one = row.measures[metric]
    found = one.comparison
    assert found is not None
    low, high = found.interval
    return [
        shown(row.entry.name),
        _mean(one),
        f"{found.mean_difference:+.4f}",
        f"{low:+.4f} to {high:+.4f}",
        p_text(found.p_value),
        f"{found.wins:,} / {found.losses:,}",
        WORDS[one.verdict],
    ]


def _seeds_section(result: StudyResult) -> Section:
    """Every seed by itself, and whether another seed would show the same."""
    metric, seeds = result.metrics[0], result.about["seeds"]
    columns = ["", *(f"seed {seed}" for seed in seeds), "p over seeds"]
    rows = []
    for row in (result.reference, *result.rows):
        one = row.measures.get(metric)
        if one is not None:
            p_value = None if one.comparison is None else one.comparison.p_value_seeds
            values = [number(one.by_seed.get(seed), 4) for seed in seeds]
            rows.append([shown(row.entry.name), *values, "–" if p_value is None else p_text(p_value)])
    lead = (
        "The p-values above ask whether other users would show the same; those here whether another seed of training would, by a "
        "paired t-test over the seeds' means with the same correction. Few seeds can tell little."
    )
    return Section("seeds", "Seed by seed", lead, sheets=[Sheet(title_of(metric), columns, rows)] if rows else [])


def _change_section(result: StudyResult) -> Section:
    """The words of each variant."""
    entries = [row.entry for row in (result.reference, *result.rows)]
    noted = any(one.note for one in entries)
    rows = [
        [shown(one.name), shown(one.study), shown(" ".join(one.words), MAX_CELL) or "nothing"]
        + ([shown(one.note, MAX_CELL)] if noted else [])
        for one in entries
    ]
    lead = f"The line of this study: {shown(str(result.about['command']), 400)}. {' '.join(honesty(result))}"
    columns = ["", "study", "words", *(["note"] if noted else [])]
    caption = f"what each variant adds to the line; whole in {JSON_FILE}"
    return Section("changes", "What was changed", lead, sheets=[Sheet(caption, columns, rows)])


def _missing_section(result: StudyResult) -> Section:
    """Runs that failed, and variants that were left out."""
    failed = [
        [shown(row.entry.name), f"seed {seed}", shown(reason, MAX_CELL)]
        for row in (result.reference, *result.rows)
        for seed, reason in row.entry.failed.items()
    ]
    left_out = [[shown(name), shown(study), shown(reason, MAX_CELL)] for name, study, reason in result.left_out]
    sheets: list[Sheet] = []
    for caption, columns, rows in (
        ("runs that failed", ["", "run", "why"], failed),
        ("variants that were left out", ["", "study", "why"], left_out),
    ):
        sheets += [Sheet(caption, columns, rows)] if rows else []
    lead = _missing_lead(failed, left_out)
    return Section("missing", "What is missing", lead, sheets=sheets)


def _missing_lead(failed: Sequence[object], left_out: Sequence[object]) -> str:
    if not failed and not left_out:
        return "Nothing: every variant was trained over every seed."
    words = [f"{len(failed)} {_plural(len(failed), 'run', 'runs')} failed."] if failed else ["No run failed."]
    if left_out:
        words.append(
            f"{len(left_out)} {_plural(len(left_out), 'variant does', 'variants do')} not apply here, or would change nothing."
        )
    return " ".join(words)
