"""The comparison that ends an evaluation in the terminal: the model beside the tuned baselines."""

from collections.abc import Mapping

from rich import box
from rich.table import Table

from avrec.evaluation.evaluate import Evaluation
from avrec.evaluation.intervals import METHOD, mean_interval
from avrec.evaluation.significance import Comparison, adjusted, compare
from avrec.report.levels import levels_sentence


def comparison_table(
    title: str, models: Mapping[str, Evaluation], baselines: Mapping[str, Evaluation], cutoff: int = 20
) -> Table:
    """One row a recommender; fits 80 columns. Differences and p-values are against the best baseline.

    Args:
        title: what was measured on which data; say here when the data are simulated.
        models: evaluations of the trained model by name, such as its operating points.
        baselines: evaluations of the baselines, of the same part and protocol.
        cutoff: length of the list.
    """
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, caption_justify="left")
    columns = {
        f"Recall\n@{cutoff}": f"recall@{cutoff}",
        f"NDCG\n@{cutoff}": f"ndcg@{cutoff}",
        "cold": f"cold/recall@{cutoff}",
        "warm": f"warm/recall@{cutoff}",
        "cold\nonly": f"cold_only/recall@{cutoff}",
        "cover-\nage": f"coverage@{cutoff}",
    }
    table.add_column("", overflow="fold")
    for header in [*columns, "differ-\nence", "p"]:
        table.add_column(header, justify="right", no_wrap=True)
    metric = f"recall@{cutoff}"
    reference = best_baseline(baselines, metric)
    comparisons = _comparisons(models, baselines, metric, reference)
    for place, rows in enumerate((models, baselines)):
        for name, evaluation in rows.items():
            numbers = [_number(evaluation.metrics.get(key)) for key in columns.values()]
            table.add_row(name, *numbers, *_difference(comparisons.get(name)), style="bold" if place == 0 else "")
        if place == 0:
            table.add_section()
    shown = next(iter([*models.values(), *baselines.values()]), None)
    levels = levels_sentence(models) if models else None
    table.caption = _caption(shown, comparisons, metric, reference) + (f"\n{levels}." if levels else "")
    return table


def beyond_table(models: Mapping[str, Evaluation], baselines: Mapping[str, Evaluation], cutoff: int = 20) -> Table:
    """The other metrics of the same recommenders, with how sure Recall is; fits 80 columns.

    Args:
        models: evaluations of the trained model by name, made with `ListMeasures`.
        baselines: evaluations of the baselines.
        cutoff: length of the list.
    """
    table = Table(
        title=f"the same lists of {cutoff}, seen from other sides",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        caption_justify="left",
    )
    columns = {
        "hit\nrate": f"hit_rate@{cutoff}",
        "MAP": f"map@{cutoff}",
        "Gini": f"gini@{cutoff}",
        "novel-\nty": f"novelty@{cutoff}",
        "diver-\nsity": f"diversity@{cutoff}",
        "popular\n-ity KL": f"popularity_kl@{cutoff}",
    }
    table.add_column("", overflow="fold")
    for header in [f"Recall@{cutoff},\n95 %", *columns]:
        table.add_column(header, justify="right", no_wrap=True)
    for place, rows in enumerate((models, baselines)):
        for name, evaluation in rows.items():
            low, high = mean_interval(evaluation.per_user[f"recall@{cutoff}"])
            numbers = [_number(evaluation.metrics.get(key)) for key in columns.values()]
            interval = f"{_number(low)} to {_number(high)}"
            table.add_row(name, interval, *numbers, style="bold" if place == 0 else "")
        if place == 0:
            table.add_section()
    space = next((one.diversity_by for one in [*models.values(), *baselines.values()]), None)
    table.caption = (
        f"{METHOD}.\nGini: 0 if every item is shown equally often, 1 if one fills all lists.\nnovelty: bits of surprise of an "
        f"item shown, by train events.\ndiversity: mean of 1 - cosine over the pairs of a list, by {space}.\npopularity KL: of "
        "a list from its user's history over head, middle, tail and new items; 0 is calibrated."
    )
    return table


def best_baseline(baselines: Mapping[str, Evaluation], metric: str) -> str | None:
    """The name of the baseline with the largest value, the hardest opponent on this very part; None without baselines."""
    if not baselines:
        return None
    return max(baselines, key=lambda name: baselines[name].metrics.get(metric, 0.0))


def _comparisons(
    models: Mapping[str, Evaluation], baselines: Mapping[str, Evaluation], metric: str, reference: str | None
) -> dict[str, Comparison]:
    if reference is None:
        return {}
    others = {name: evaluation for name, evaluation in baselines.items() if name != reference} | dict(models)
    return adjusted({name: compare(one, baselines[reference], metric) for name, one in others.items()})


def _number(value: float | None) -> str:
    return "-" if value is None else _short(f"{value:.4f}")


def _difference(comparison: Comparison | None) -> tuple[str, str]:
    if comparison is None:
        return "", ""
    p_value = "<.0001" if comparison.p_value < 1e-4 else _short(f"{comparison.p_value:.4f}")
    return _short(f"{comparison.mean_difference:+.4f}"), p_value


def _short(number: str) -> str:
    """`.1071` and `+.0139`: eight columns of numbers and a name fit a terminal of 80 characters."""
    return number.replace("0.", ".", 1) if number.lstrip("+-").startswith("0.") else number


def _caption(
    shown: Evaluation | None, comparisons: Mapping[str, Comparison], metric: str, reference: str | None
) -> str:
    words = [] if shown is None else [shown.protocol]
    words.append(f"cold, warm: {metric} of never-trained and of trained targets, all items ranked")
    words.append(f"cold only: {metric} of cold targets among cold items alone")
    if comparisons and reference is not None:
        test = next(iter(comparisons.values())).test
        words.append(
            f"difference and p: {metric} against {reference}, the best baseline on this part ({test}; paired over users)"
        )
    return ".\n".join(words) + "."
