"""The sections that tell what was measured: the comparison, the slices and the frontier."""

from collections.abc import Iterator, Mapping
from typing import Any

from avrec.report.levels import LEVELS, levels_sentence
from avrec.report.page_data import is_simulated
from avrec.report.page_parts import Picture, Section, Sheet, number, percent, sense, shown
from avrec.report.page_run import COLUMNS, METRIC, PART, RunRecord
from avrec.report.plots_results import Mark, comparison, frontier, slices

CONTROL = "content permuted"
PARTS = tuple(LEVELS)


def headline(run: RunRecord) -> str:
    """The result in two sentences for somebody who reads no table."""
    recall = run.value(METRIC)
    if recall is None:
        return "This run was not evaluated on its test part, so there is no result to tell."
    whose = "simulated users" if is_simulated(run.manifest) else "users"
    words = f"In a list of 20, the model shows {percent(recall)} of what {whose} went on to consume."
    best = run.best_baseline
    if best is None:
        return f"{words} There is no baseline to compare it with."
    other = run.metrics["baselines"][best][f"{PART}/{METRIC}"]
    return f"{words} The best baseline, {shown(best)}, shows {percent(other)}: {_verdict(run, best)}."


def _verdict(run: RunRecord, baseline: str) -> str:
    found = run.metrics.get("comparisons", {}).get(baseline)
    if found is None:
        return "whether that differs by more than chance was not tested"
    low, high = found["interval"]
    if found["p_value"] >= 0.05 or low <= 0 <= high:
        return "a difference that may be chance"
    return f"the model is {'better' if low > 0 else 'worse'} by more than chance would explain"


def rows(run: RunRecord) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Name, group and metrics of every recommender, the model at its operating point first."""
    yield f"{run.calibration} (this model)", "model", run.metrics
    views = [(name, is_part(name), found) for name, found in run.metrics.get("views", {}).items()]
    for name, part, found in sorted(views, key=lambda view: (view[1], CONTROL in view[0])):
        yield name, "part" if part else "model", found
    baselines = run.metrics.get("baselines", {})
    order = sorted(baselines, key=lambda name: -baselines[name].get(f"{PART}/{METRIC}", 0.0))
    yield from ((name, "baseline", baselines[name]) for name in order)


def is_part(view: str) -> bool:
    """Whether a view is less than the model: one of its halves, or its control."""
    return view in PARTS or CONTROL in view


def comparison_section(run: RunRecord) -> Section:
    """The model at its operating points, its parts and control, and the baselines."""
    title = "Compared with baselines"
    if run.value(METRIC) is None:
        return Section("compared", title, "Left out: the run holds no metrics.json with a test part.")
    marks, cells = [], []
    for name, group, found in rows(run):
        interval = _interval(found)
        marks.append(Mark(shown(name, 34), group, found.get(f"{PART}/{METRIC}", 0.0), interval))
        values = [number(found.get(f"{PART}/{key}")) for key in COLUMNS.values()]
        between = "" if interval is None else f"{number(interval[0])} to {number(interval[1])}"
        cells.append([shown(name), values[0], between, *values[1:], *_difference(run, name, group)])
    columns = ["", "recall@20", "95 % interval", *list(COLUMNS)[1:], "model better by", "p"]
    sheet = Sheet(
        shown(str(run.metrics.get("protocol", {}).get(PART, "")), 400), columns, cells, frozenset([cells[0][0]])
    )
    image = comparison(marks, "recall@20 on the test part, all items ranked")
    alt = "; ".join(f"{mark.name} {mark.value:.3f}" for mark in marks)
    return Section("compared", title, _comparison_lead(run), [Picture(image, f"Recall at 20: {alt}.")], [sheet])


def _comparison_lead(run: RunRecord) -> str:
    words = [
        "Each dot is the share of held-out events found in a list of 20, a bar its 95 % interval over users. Blue is the "
        "trained model at its operating points, amber its halves and control, grey the baselines, each tuned on validation."
    ]
    views = run.metrics.get("views", {})
    levels = levels_sentence([str(run.calibration), *views])
    if levels is not None:
        words.append(f"{levels[0].upper()}{levels[1:]}.")
    control = next((found for name, found in views.items() if CONTROL in name), None)
    if control is not None:
        gain = (run.value(METRIC) or 0.0) - control[f"{PART}/{METRIC}"]
        lost = f"falls by {number(gain)}" if gain > 0 else "does not fall"
        words.append(
            f"With the content of all items shuffled (“{CONTROL}”) recall {lost}: that much is owed to content."
        )
    return " ".join(words)


def _interval(found: Mapping[str, Any]) -> tuple[float, float] | None:
    ends = found.get("intervals", {}).get(f"{PART}/{METRIC}")
    return None if ends is None else (float(ends[0]), float(ends[1]))


def _difference(run: RunRecord, name: str, group: str) -> tuple[str, str]:
    found = run.metrics.get("comparisons", {}).get(name) if group == "baseline" else None
    if found is None:
        return "", ""
    low, high = found["interval"]
    p_value = "< .0001" if found["p_value"] < 1e-4 else number(found["p_value"], 4)
    return f"{found['mean_difference']:+.3f} ({low:+.3f} to {high:+.3f})", p_value


def slices_section(run: RunRecord) -> Section:
    """Recall by kind of item and user."""
    title = "Where it works and where it does not"
    counts = run.metrics.get("counts", {}).get(PART, {})
    names = {"": "all", "cold/": "new items", "warm/": "known items", "tail/": "rare items", "new_users/": "new users"}
    missing = sorted(name.removesuffix("/targets") for name in counts if name.startswith("missing_"))
    names |= {f"{name}/": f"items without {sense(name.removeprefix('missing_'))}" for name in missing}
    present = {prefix: words for prefix, words in names.items() if counts.get(f"{prefix}targets")}
    if run.value(METRIC) is None or not present:
        return Section("slices", title, "Left out: the run was not evaluated on its test part.")
    best, views = run.best_baseline, run.metrics.get("views", {})
    found: dict[str, Mapping[str, Any]] = {"this model": run.metrics}
    found |= {f"{shown(best, 18)} (baseline)": run.metrics["baselines"][best]} if best else {}
    found |= {name: views[name] for name in PARTS if name in views}
    series = {name: [one.get(f"{PART}/{prefix}{METRIC}") for prefix in present] for name, one in found.items()}
    labels = [f"{words} ({counts[f'{prefix}targets']:,})" for prefix, words in present.items()]
    image = slices(labels, series, "recall@20 (in brackets: held-out events)")
    columns = ["", "users", *series]
    cells = [
        [
            words,
            f"{counts[f'{prefix}users']:,}",
            *(number(values[place]) for values in series.values()),
        ]
        for place, (prefix, words) in enumerate(present.items())
    ]
    lead = (
        "The same lists, looked at by kind of item and user. New items had no training event: no method that knows items by "
        "their users alone can show them. Rare items hold at most a fifth of the training events together."
    )
    alt = "; ".join(f"{label}: {number(series['this model'][place])}" for place, label in enumerate(labels))
    picture = Picture(image, f"Recall at 20 of the model by slice. {alt}.")
    return Section("slices", title, lead, [picture], [Sheet("recall@20 by slice", columns, cells)])


def frontier_section(run: RunRecord) -> Section:
    """What recall on cold items costs on warm ones, as the calibration saw it."""
    title = "What showing new items costs"
    points = run.metrics.get("frontier", [])
    if len(points) < 2:
        return Section(
            "frontier", title, "Left out: the calibration had no choice between new and known items to make."
        )
    keys = ("kappa", "content_scale", "cold_offset", "neighbour_weight", "history_smoothing")
    chosen = {
        name: _place(point)
        for name, settings in run.record.get("operating_points", {}).items()
        for point in points
        if all(point.get(key) == settings.get(key) for key in keys)
    }
    if len(set(chosen.values())) < len(chosen):  # two rules that chose the same setting share one mark
        chosen = {", ".join(name for name in chosen if chosen[name] == place): place for place in chosen.values()}
    image = frontier([_place(point) for point in points], chosen)
    rows = [[name, number(cold), number(warm), number((cold + warm) / 2)] for name, (warm, cold) in chosen.items()]
    lead = (
        f"Each of the {len(points)} dots is a way to weigh ids against content that no other beats, on validation. Towards the "
        "upper left, more new items are found and fewer known ones. The marks are the operating points that a rule chose; "
        f"this report is about “{shown(run.calibration)}”."
    )
    alt = "; ".join(f"{name}: known {warm:.3f}, new {cold:.3f}" for name, (warm, cold) in chosen.items())
    picture = Picture(image, f"Recall on known against new items. {alt}.")
    sheet = Sheet("recall@20 on validation", ["operating point", "new items", "known items", "mean of both"], rows)
    return Section("frontier", title, lead, [picture], [sheet] if rows else [])


def _place(point: Mapping[str, float]) -> tuple[float, float]:
    return point["warm/recall@20"], point["cold/recall@20"]
