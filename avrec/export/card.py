"""The bundle's model card: what it is, what was measured, how to load it, and what it cannot do."""

import html

from avrec.bundle.schema import Manifest
from avrec.core.clips import AudioSpec
from avrec.export.parity import ParityReport

_LOAD = """```python
from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender

recommender = Recommender(Bundle.open("this folder"))
recommender.for_users(["a user's id"], k=20)
recommender.for_histories([["an item's id", "another"]], k=20)
```"""

_UPLOADS = """
New uploads, by files of which each is decoded in a process of its own (`pip install 'avrec[decode,serve]'`):

```python
found = recommender.embed_files({paths}, media_root="a folder")
found.item_vectors, found.problems
```
"""

_LIMITS = """- Scores rank items for one user; they are not probabilities and do not compare between users.
- It learned who consumed what. It does not know whether they liked it, and it repeats the biases of its log.
- A user of whom nothing is known gets the same list as every other such user.
- The folder holds the users' histories: keep it as carefully as the log it was made from."""


def model_card(manifest: Manifest, parity: ParityReport) -> str:
    """Markdown for `card.md`; names that come from the data are escaped."""
    dims = manifest.dims
    point = ", ".join(f"{name} {value:.6g}" for name, value in manifest.operating_point.items())
    modalities = ", ".join(f"{_plain(name)} ({_form(manifest, name)})" for name in manifest.modalities)
    paths = "{" + ", ".join(f'"{_plain(name)}": ["a file below it"]' for name in manifest.media) + "}"
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

## How to load it
Without PyTorch, after `pip install 'avrec[serve]'`:

{_LOAD}
{_UPLOADS.replace("{paths}", paths) if manifest.media else ""}
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
