"""The bundle's model card: what it is, what was measured, how to load it, and what it cannot do."""

import html

from avrec.bundle.schema import Manifest
from avrec.core.clips import AudioSpec
from avrec.export.parity import ParityReport
from avrec.export.parts import Parts

_LOAD = """```python
from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender

recommender = Recommender(Bundle.open("this folder"))
recommender.for_users(["a user's id"], k=20)
recommender.for_histories([["an item's id", "another"]], k=20)
```"""

_UPLOADS = """
New uploads, by files of which each is decoded in a process of its own (`pip install 'avrec[decode,{extras}]'`):

```python
found = recommender.embed_files({paths}, media_root="a folder")
found.item_vectors, found.problems
```
"""

_LIMITS = """- Scores rank items for one user; they are not probabilities and do not compare between users.
- It learned who consumed what. It does not know whether they liked it, and it repeats the biases of its log.
- A user of whom nothing is known gets the same list as every other such user.
- The folder holds the users' histories, some of them as examples, and what users without one told (interests, friends, fields): keep it as carefully
  as the log it was made from."""


def model_card(manifest: Manifest, parity: ParityReport, parts: Parts | None) -> str:
    """Markdown for `card.md`; names that come from the data are escaped.

    Args:
        manifest: of the bundle.
        parity: of its graphs.
        parts: what was added to tables and graphs; None before.
    """
    dims = manifest.dims
    point = ", ".join(f"{name} {value:.6g}" for name, value in manifest.operating_point.items())
    modalities = ", ".join(f"{_plain(name)} ({_form(manifest, name)})" for name in manifest.modalities)
    paths = "{" + ", ".join(f'"{_plain(name)}": ["a file below it"]' for name in manifest.media) + "}"
    extras = "serve" if parts is None or parts.recall["kind"] == "exact" else "index,serve"
    lists = ", ".join(f"{backend} {count}" for backend, count in parity.equal_lists.items())
    return f"""# A two-tower recommender for {_plain(manifest.data_name)}

Made by avrec {_plain(manifest.avrec_version)}. An item tower and a user tower give vectors; a score is their inner product.

## Data
{dims.num_users} users, {dims.num_items} items, {dims.num_events} events in the users' histories (train, validation and test together).
Modalities: {modalities or "none; ids alone"}. Content hash `{_plain(manifest.data_hash)}`, seed {manifest.seed}.

## What was measured
{_metrics(manifest)}

Operating point `{_plain(manifest.operating_point_name)}`, chosen on validation: {point}.

## Parity
ONNX and TorchScript against PyTorch: worst relative error {parity.worst:.1e} over {parity.num_calls} calls; equal top 20 for {lists} of
{parity.num_users} users. {parity.equal_new_items} of {parity.num_new_items} cold items embed from their content to their rows of the tables. `parity.json`
defines all three.

{_search(parts) if parts else ""}
## How to load it
Without PyTorch, after `pip install 'avrec[{extras}]'`:

{_LOAD}
{_UPLOADS.replace("{paths}", paths).replace("{extras}", extras) if manifest.media else ""}
## Limits
{_LIMITS}
"""


def _metrics(manifest: Manifest) -> str:
    if not manifest.metrics:
        return "Nothing was given to the export."
    rows = [
        f"| {_plain(name)} | {'nothing to measure on' if value is None else f'{value:.4f}'} |"
        for name, value in sorted(manifest.metrics.items())
    ]
    return "\n".join(["The first word names the split.", "", "| metric | value |", "|---|---|", *rows])


def _search(parts: Parts) -> str:
    """How lists are searched."""
    report, owed = parts.recall, parts.licences
    shares = ", ".join(f"{name} {value:.4f}" for name, value in report["recall"].items())
    how = "exact" if report["kind"] == "exact" else "approximate (an inverted file)"
    return f"""
## Search
{how}: {report["reason"]}. Of the exact lists of {report["num_users"]} users it finds: {shares}. `recall_report.json` holds the
measurement.
{_smaller(parts) if parts.smaller else ""}
## Licences
Data: {_plain(owed["data"]["licence"])}.
{chr(10).join(f"{_plain(one['modality'])}: {_plain(one['weights'])}, {_plain(one['licence'])}." for one in owed["encoders"])}
"""


def _smaller(parts: Parts) -> str:
    """What the smaller item towers cost."""
    assert parts.smaller is not None
    whole = parts.smaller["item_tower"]
    rows = [f"| item_tower | {whole['recall@20']:.4f} | | | {whole['bytes'] / 2**20:.1f} | {whole['cpu_ms']:.2f} |"]
    rows += [
        f"| item_tower_{kind} | {costs['recall@20']:.4f} | {costs['recall_loss']:.2%} | {costs['centred_cosine']:.4f} | "
        f"{costs['bytes'] / 2**20:.1f} | {costs['cpu_ms']:.2f} |"
        for kind, costs in parts.smaller["towers"].items()
    ]
    head = "| graph | validation Recall@20 | lost | centred cosine | MiB | CPU ms an item |"
    return "\n".join(["", "## Smaller item towers", head, "|---|---|---|---|---|---|", *rows, ""])


def _form(manifest: Manifest, modality: str) -> str:
    """What a modality is given as."""
    spec = manifest.media.get(modality)
    if spec is None:
        return f"{manifest.feature_dims[modality]} numbers"
    length = "divided over the whole file" if spec.clip_sec is None else f"of {spec.clip_sec:g} s"
    if isinstance(spec, AudioSpec):
        return f"sound: {spec.num_clips} clips {length} at {spec.sample_rate_hz} Hz"
    return (
        f"pictures: {spec.num_clips} clips {length}, {spec.num_frames} frames of {spec.width_px} x {spec.height_px} pixels each, "
        f"sampling {spec.sampling}"
    )


def _plain(text: str) -> str:
    """Text that cannot end a table cell, a line or a tag."""
    return html.escape(" ".join(text.split()), quote=False).replace("|", "&#124;").replace("`", "&#96;")
