"""The sections about the data: what the log became, and which media files could not be used."""

from collections import Counter
from typing import Any

from avrec.data.media_errors import NOTE
from avrec.report.page_parts import Section, Sheet, percent, sense, shown
from avrec.report.page_run import RunRecord
from avrec.report.page_subject import Subject

DATA_TITLE = "Data, and what was filtered"
MEDIA_TITLE = "Damaged media"
MAX_FILES = 20
REASON = 160  # characters


def data_section(run: RunRecord) -> Section:
    """From the log as it was read to the three parts."""
    manifest = run.manifest
    if not manifest:
        return Section("data", DATA_TITLE, "Left out: the prepared data set is not where the run had it.")
    counts, steps = manifest["counts"], manifest["lineage"]
    rows = [
        ["read" if at == 0 else f"after: {shown(step['step'])}", *_step(steps, at)] for at, step in enumerate(steps)
    ]
    filters = [
        [
            shown(one["name"]),
            shown(str(one.get("setting", ""))),
            *(f"{one.get(key, 0):,}" for key in ("rows", "users", "items")),
        ]
        for one in manifest.get("filters", [])
    ]
    parts = [
        [part, *(f"{counts[part][key]:,}" for key in ("rows", "users", "items", "rows_of_items_without_train"))]
        for part in ("train", "validation", "test")
    ]
    kept = steps[-1]["rows"] / steps[0]["rows"] if steps and steps[0]["rows"] else 1.0
    split = manifest.get("split", {})
    settings = ", ".join(f"{key} {value}" for key, value in split.items() if key.endswith("share"))
    lead = (
        f"{counts['users']:,} users, {counts['items']:,} items of which {counts['items_without_train']:,} have no training "
        f"event; {percent(kept)} of the events that were read are kept. Split by {shown(str(split.get('name', 'unknown')))}"
        f"{f' ({settings})' if settings else ''}. {_origin(manifest)}"
    )
    sheets = [
        Sheet("Events", ["step", "events", "removed"], rows),
        Sheet("Filters, and what each removed", ["filter", "setting", "events", "users", "items"], filters),
        Sheet("Parts", ["part", "events", "users", "items", "events of new items"], parts),
    ]
    return Section("data", DATA_TITLE, lead.strip(), sheets=[sheet for sheet in sheets if sheet.rows])


def _step(steps: list[dict[str, Any]], at: int) -> tuple[str, str]:
    removed = steps[at - 1]["rows"] - steps[at]["rows"] if at else 0
    return f"{steps[at]['rows']:,}", f"{removed:,}"


def is_simulated(manifest: Any) -> bool:
    """Whether a generator made the data."""
    return "generator" in manifest.get("source", {})


def _origin(manifest: Any) -> str:
    if not is_simulated(manifest):
        return ""
    return "The users are simulated: the numbers are about this program, not about people."


def media_section(subject: Subject) -> Section:
    """How many files of each kind were damaged, and the first of them."""
    kinds = list(subject.dataset.media)
    if not kinds:
        return Section("media", MEDIA_TITLE, "Left out: this data set names no media files.")
    rows, files = [], []
    for kind in kinds:
        problems = subject.problems.get(kind, {})
        damaged = {path: one for path, one in problems.items() if one.is_damage}
        counts = Counter(one.kind for one in problems.values())
        named = {path for path in subject.dataset.media[kind].paths if path is not None}
        told = ", ".join(f"{number} {name}" for name, number in counts.most_common()) or "none"
        rows.append([sense(kind), f"{len(named):,}", f"{len(damaged):,}", told])
        files += [
            [shown(path), sense(kind), one.kind, shown(one.reason, REASON)] for path, one in sorted(damaged.items())
        ]
    missing = [
        shown(line, REASON) for lines in subject.run.manifest.get("missing_media", {}).values() for line in lines
    ]
    number = len(files)
    lead = "Every file that was named could be used."
    if number:
        which = "One file" if number == 1 else f"{number:,} files"
        lead = f"{which} could not be used; what is lost is that modality, and the items stay in the catalogue."
    if number > MAX_FILES:
        lead += f" The first {MAX_FILES} stand here, all in media_errors.csv in the folder of the media caches."
    if missing:
        lead += f" Told when the data were prepared: {'; '.join(missing[:5])}."
    sheets = [Sheet(f"Files (a “{NOTE}” is no damage)", ["kind", "files", "damaged", "what was found"], rows)]
    if files:
        sheets.append(Sheet("Damaged files", ["file", "kind", "class", "reason"], files[:MAX_FILES]))
    return Section("media", MEDIA_TITLE, lead, sheets=sheets)
