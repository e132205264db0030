"""Smaller item towers: made, measured on validation, and refused where they cost more than is allowed.

Axes: N items, D embedding of the ids, C content width.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from avrec.bundle.parts import ITEM_TOWER, SMALLER, SMALLER_REPORT
from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender
from avrec.bundle.session import OnnxGraph
from avrec.bundle.towers import max_rows, open_item_tower
from avrec.core.arrays import Float32, Float64
from avrec.core.dataset import Dataset
from avrec.core.errors import ArtefactError
from avrec.core.files import write_json
from avrec.evaluation.evaluate import evaluate
from avrec.export.half import write_half
from avrec.export.int8 import write_int8
from avrec.export.sample import EveryItem

SmallerKind = Literal["int8", "fp16"]
CUTOFF = 20
TIMED_ITEMS, TIMED_RUNS = 8, 5
DEFINITION = (
    "Every item of the catalogue is embedded by the item tower and by each smaller one. recall@20: on validation, its history "
    "and candidate vectors in place of the tables; recall_loss: the share of the item tower's recall@20 that is lost. "
    "centred_cosine: the mean over items of the cosine between both towers' content segments, each less the catalogue's mean; "
    "centred_cosine_min: of the worst item. cpu_ms: CPU time for one item in a batch of at most 8 on one thread, the median of "
    "5 turns, all towers by turns."
)
_WRITERS: dict[SmallerKind, Callable[[Path, Path], None]] = {"int8": write_int8, "fp16": write_half}


def write_smaller(
    kinds: Sequence[SmallerKind], bundle: Bundle, items: EveryItem, dataset: Dataset, max_loss: float, folder: Path
) -> dict[str, Any]:
    """Write the asked towers and `smaller.json`, and return it.

    Args:
        kinds: which.
        bundle: the bundle as it stands so far.
        items: of its catalogue.
        dataset: whose validation part decides.
        max_loss: the share of Recall@20 that a tower may lose.
        folder: of the bundle.

    Raises:
        ArtefactError: a tower loses more; it is named.
        ConfigError: an item tower without encoders.
    """
    for kind in kinds:
        _WRITERS[kind](folder / f"{ITEM_TOWER}.onnx", folder / f"{SMALLER[kind]}.onnx")
    graphs = {ITEM_TOWER: open_item_tower(bundle)} | {kind: _smaller_graph(folder, kind, bundle) for kind in kinds}
    vectors = {name: _embedded(graph, items, bundle) for name, graph in graphs.items()}
    recalls = {name: _recall(bundle, dataset, *found) for name, found in vectors.items()}
    cpu_ms = _cpu_ms(graphs, items)
    id_dim = bundle.manifest.dims.id_dim
    towers = {}
    for kind in kinds:
        cosine_N = centred_cosine(vectors[ITEM_TOWER][0][:, id_dim + 1 :], vectors[kind][0][:, id_dim + 1 :])
        towers[kind] = {
            "recall@20": recalls[kind],
            "recall_loss": 1 - recalls[kind] / recalls[ITEM_TOWER] if recalls[ITEM_TOWER] else 0.0,
            "centred_cosine": float(cosine_N.mean()),
            "centred_cosine_min": float(cosine_N.min()),
            "bytes": (folder / f"{SMALLER[kind]}.onnx").stat().st_size,
            "cpu_ms": cpu_ms[kind],
        }
    whole = {"recall@20": recalls[ITEM_TOWER], "cpu_ms": cpu_ms[ITEM_TOWER]}
    whole |= {"bytes": (folder / f"{ITEM_TOWER}.onnx").stat().st_size}
    report = {
        "format_version": 1,
        "part": "validation",
        "max_recall_loss": max_loss,
        "item_tower": whole,
        "towers": towers,
        "definition": DEFINITION,
    }
    _refuse_loss(towers, max_loss)
    write_json(folder / SMALLER_REPORT, report)
    return report


def _refuse_loss(towers: Mapping[SmallerKind, Mapping[str, float]], max_loss: float) -> None:
    for kind, costs in towers.items():
        if costs["recall_loss"] > max_loss:
            raise ArtefactError(
                f"smaller: {kind} loses {costs['recall_loss']:.2%} of Recall@20 on validation (centred cosine "
                f"{costs['centred_cosine']:.4f}); at most {max_loss:.2%} is accepted, so no bundle is written. Leave {kind} "
                "out, or raise smaller_max_loss."
            )


def _smaller_graph(folder: Path, kind: SmallerKind, bundle: Bundle) -> OnnxGraph:
    """The session of a file that the manifest does not list yet."""
    path, whole = folder / f"{SMALLER[kind]}.onnx", open_item_tower(bundle)
    inputs, outputs = ([argument.name for argument in side] for side in (whole.arguments, whole.results))
    return OnnxGraph(path.read_bytes(), path, inputs, outputs)


def _embedded(graph: OnnxGraph, items: EveryItem, bundle: Bundle) -> tuple[Float32, Float32]:
    """Item vectors (N, D + 1 + C) and history vectors (N, D + C); ids do not depend on encoders, so theirs are the table's."""
    block, id_dim = max_rows(bundle)[ITEM_TOWER], bundle.manifest.dims.id_dim
    rows = [np.arange(start, min(start + block, len(items))) for start in range(0, len(items), block)]
    found = [graph.run(items.inputs(some)) for some in rows]
    item, history = (np.concatenate([part[name] for part in found]) for name in ("item_vector", "history_vector"))
    return item, np.concatenate([bundle.history_vectors[:, :id_dim], items.smoothed(history[:, id_dim:])], axis=1)


def _recall(bundle: Bundle, dataset: Dataset, item: Float32, history: Float32) -> float:
    """Recall@20 on validation with these tables."""
    scorer = Recommender(replace(bundle, item_vectors=item, history_vectors=history))
    return evaluate(scorer, dataset, "validation", (CUTOFF,)).metrics[f"recall@{CUTOFF}"]


def centred_cosine(reference_NC: Float32, found_NC: Float32) -> Float64:
    """(N,) cosine of each row with the reference's, both less the reference's mean; 1 where both are that mean.

    Content vectors share a large common part, which makes any two of them look alike: it is taken off.
    """
    mean_C = reference_NC.mean(axis=0, dtype=np.float64)
    left, right = reference_NC - mean_C, found_NC - mean_C
    length = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    product = (left * right).sum(axis=1)
    cosine: Float64 = np.where(length > 0, product / np.where(length > 0, length, 1), (left == right).all(axis=1))
    return cosine


def _cpu_ms(graphs: dict[str, OnnxGraph], items: EveryItem) -> dict[str, float]:
    """Median CPU milliseconds for one item."""
    count = min(TIMED_ITEMS, len(items))
    inputs = items.inputs(np.arange(count))
    times: dict[str, list[float]] = {name: [] for name in graphs}
    for _ in range(TIMED_RUNS):
        for name, graph in graphs.items():
            start = time.process_time()
            graph.run(inputs)
            times[name].append(time.process_time() - start)
    return {name: round(1e3 * statistics.median(some) / count, 4) for name, some in times.items()}
