"""`model_card.md`: what a model is, what it was made from, what was measured, and what it is not for.

The front matter is that of Hugging Face model cards; its values are JSON, which is YAML too, so that no name can break out.
"""

import html
import importlib.metadata
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from avrec.build.model import ModelFile
from avrec.core.dataset import Dataset
from avrec.core.files import atomic_write
from avrec.models.encoders.base import MediaEncoder
from avrec.models.encoders.checkpoint import WHEEL
from avrec.models.encoders.wheels import WHEELS
from avrec.report.page_data import is_simulated
from avrec.report.page_parts import number, shown
from avrec.report.page_run import COLUMNS, METRIC, PART, RunRecord
from avrec.training.media_store import media_encoders

CARD_FILE = "model_card.md"
UNKNOWN_LICENCE = "not stated by its source"
LIMITS = """- Scores rank items for one user. They are not probabilities, and they do not compare between users.
- The model learned who consumed what, not who liked it, and it repeats the biases of its log: what was shown before, and to whom.
- Offline numbers say how well held-out events are found again. They do not say what a live recommender would change.
- A user of whom nothing is known gets the same list as every other such user.
- `model.pt` was fitted to the histories of the users it names: keep it as carefully as the log."""
USE = """Meant for: choosing, out of the catalogue it was trained on and new items with the same kinds of content, what to show to a
person whose history is known. Not meant for: judging people, deciding about access, price or credit, moderating content, or
lists for children without review."""


def write_card(path: Path, run: RunRecord, found: ModelFile, dataset: Dataset) -> None:
    """Write the card of a run.

    Args:
        path: the file.
        run: the run's own files.
        found: its model.
        dataset: that it was trained on.
    """
    with atomic_write(path) as file:
        file.write(model_card(run, found, dataset).encode("utf-8", "replace"))


def model_card(run: RunRecord, found: ModelFile, dataset: Dataset) -> str:
    """The card as Markdown; names that come from the data are escaped."""
    name = plain(dataset.name)
    parts = ", ".join(f"{len(part):,} {word}" for word, part in _parts(dataset))
    simulated = " **The users are simulated.**" if is_simulated(run.manifest) else ""
    point = ", ".join(f"{key} {value:.6g}" for key, value in vars(found.model.item_tower.operating_point).items())
    parameters = sum(parameter.numel() for parameter in found.model.parameters())
    modalities = ", ".join(plain(one) for one in found.model.item_tower.modalities) or "none; ids alone"
    return f"""{front_matter(run, found, dataset)}
# A two-tower recommender for {name}

An item tower and a user tower give vectors; a score is their inner product. {parameters:,} parameters; modalities: {modalities}.
Made by avrec {plain(found.code_version)}, seed {found.seed}.

## Intended use
{USE}

## Data
{dataset.num_users:,} users, {dataset.num_items:,} items of which {int(dataset.cold_items.sum()):,} have no training event; events: {parts}.{simulated}

- Split: {_split(run)}. Content hash of the data: `{plain(found.data_hash)}`.
{_filters(run)}
## What was measured
{_measured(run)}

Operating point `{plain(run.calibration)}`, chosen on validation: {point}.

## Encoders
{_encoders(found)}

## Limits
{LIMITS}
"""


def front_matter(run: RunRecord, found: ModelFile, dataset: Dataset) -> str:
    """The YAML between `---` lines; the metrics in it name their split."""
    metrics = [
        {"type": key, "name": f"{PART} {key}, all items ranked", "value": run.value(key)}
        for key in COLUMNS.values()
        if run.value(key) is not None
    ]
    name = f"avrec-{dataset.name}"
    value: dict[str, Any] = {
        "library_name": "avrec",
        "license": "other",
        "license_name": "to-be-chosen-by-whoever-publishes-it",
        "tags": ["recommendation", "two-tower", *found.model.item_tower.modalities],
    }
    bases = [one.pretrained.partition("@")[0] for one in media_encoders(found.model).values() if _on_hub(one)]
    if bases:
        value["base_model"] = bases
    if metrics:
        task = {"type": "recommendation", "name": "top-k recommendation"}
        about = {"type": dataset.name, "name": dataset.name, "split": PART, "revision": found.data_hash}
        value["model-index"] = [{"name": name, "results": [{"task": task, "dataset": about, "metrics": metrics}]}]
    lines = [f"{key}: {json.dumps(one, ensure_ascii=True)}" for key, one in value.items()]
    return "\n".join(["---", *lines, "---"])


def _parts(dataset: Dataset) -> Iterator[tuple[str, Any]]:
    yield from (("train", dataset.train), ("validation", dataset.validation), ("test", dataset.test))


def _split(run: RunRecord) -> str:
    split = run.manifest.get("split")
    if not split:
        return "not known, the prepared data set is not where the run had it"
    settings = ", ".join(f"{plain(str(key))} {plain(str(value))}" for key, value in split.items() if key != "name")
    return f"{plain(str(split['name']))} ({settings})"


def _filters(run: RunRecord) -> str:
    lines = [
        f"- Filter {plain(str(one['name']))} ({plain(str(one.get('setting', '')))}): {one['rows']:,} events, "
        f"{one.get('users', 0):,} users, {one.get('items', 0):,} items removed."
        for one in run.manifest.get("filters", [])
    ]
    return "".join(f"{line}\n" for line in lines)


def _measured(run: RunRecord) -> str:
    if run.value(METRIC) is None:
        return "Nothing: the run was not evaluated on its test part."
    best = run.best_baseline
    baseline = run.metrics["baselines"][best] if best else {}
    head = f"best baseline: {plain(best)}" if best else "no baseline"
    rows = [
        f"| {plain(f'{PART}/{key}')} | {number(run.value(key), 4)} | {_between(run, key)} | {number(baseline.get(f'{PART}/{key}'), 4)} |"
        for key in COLUMNS.values()
    ]
    protocol = plain(str(run.metrics.get("protocol", {}).get(PART, "")))
    words = f"The first word names the split. {protocol}." if protocol else "The first word names the split."
    return "\n".join([words, "", f"| metric | this model | 95 % interval | {head} |", "|---|---|---|---|", *rows])


def _between(run: RunRecord, key: str) -> str:
    ends = run.metrics.get("intervals", {}).get(f"{PART}/{key}")
    return "–" if ends is None else f"{number(ends[0], 4)} to {number(ends[1], 4)}"


def _on_hub(encoder: MediaEncoder) -> bool:
    """Whether the checkpoint came from the hub: its revision is a commit, not a checksum."""
    return not encoder.pretrained.startswith(WHEEL) and ":" not in encoder.checkpoint.revision


def _encoders(found: ModelFile) -> str:
    encoders = media_encoders(found.model)
    if not encoders:
        return "None are pretrained: content is read as finished features."
    rows = [
        f"| {plain(name)} | {plain(type(one).__name__)} | {plain(_source(one))} | {plain(one.checkpoint.revision)} | {plain(licence(one))} |"
        for name, one in encoders.items()
    ]
    words = "Their licences bind whoever passes the model on."
    return "\n".join(
        [words, "", "| modality | encoder | weights | revision | licence |", "|---|---|---|---|---|", *rows]
    )


def _source(encoder: MediaEncoder) -> str:
    """The hub id or wheel; of a folder its last name, since the rest belongs to one machine."""
    if encoder.pretrained.startswith(WHEEL) or _on_hub(encoder):
        return encoder.pretrained
    return f"folder {Path(encoder.pretrained).name}"


def licence(encoder: MediaEncoder) -> str:
    """What the source says of its licence."""
    if not encoder.pretrained.startswith(WHEEL):
        return "see the source's own card"
    wheel = WHEELS.get(encoder.pretrained.removeprefix(WHEEL))
    try:
        about = importlib.metadata.metadata(wheel.package) if wheel else None
    except importlib.metadata.PackageNotFoundError:
        about = None
    named = [about[field] for field in ("License-Expression", "License") if about is not None and field in about]
    if wheel is None or not named or named[0].upper() == "UNKNOWN":
        return UNKNOWN_LICENCE
    return f"{named[0]}, as the package {wheel.package} says"


def plain(text: str) -> str:
    """Text that can end neither a table cell, a line, a tag, a code span nor a link."""
    escaped = html.escape(shown(text, 400), quote=False)
    for character in "|`[]*\\":
        escaped = escaped.replace(character, f"&#{ord(character)};")
    return escaped
