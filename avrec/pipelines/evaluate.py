"""`avrec evaluate`: a trained model on the test part, beside baselines tuned on validation."""

import hashlib
import itertools
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from avrec import __version__
from avrec.build.instantiate import instantiate
from avrec.build.model import ModelFile, load
from avrec.core.dataset import Dataset, Feature
from avrec.core.files import read_json, write_json
from avrec.core.order import generator
from avrec.core.query import Recommender
from avrec.evaluation.evaluate import Evaluation, evaluate
from avrec.evaluation.significance import adjusted, compare
from avrec.evaluation.tuning import tune
from avrec.models.two_tower import TwoTower
from avrec.pipelines.media import media_store
from avrec.pipelines.prepare import dataset_of_checkpoint
from avrec.report.frontier import frontier_table
from avrec.report.metrics_file import Measured, write_metrics
from avrec.report.tables import comparison_table
from avrec.training.media_store import with_steps
from avrec.training.scorer import TwoTowerScorer, View, catalogue_features


def run(config: DictConfig) -> dict[str, float]:
    """Evaluate `config.ckpt` and write `metrics.json` into the run's folder.

    Returns:
        The test metrics at the operating point that `config.calibration` names.
    """
    torch.set_num_threads(int(config.num_threads))
    found = load(config.ckpt, config.calibration)
    dataset = dataset_of_checkpoint(config, found.data_hash)
    dataset = with_steps(dataset, found.model, media_store(config, dataset, found.model))
    return evaluate_model_file(Path(config.ckpt), dataset, config, Path(config.run_dir))


def evaluate_model_file(path: Path, dataset: Dataset, config: DictConfig, folder: Path) -> dict[str, float]:
    """Rank the catalogue for every test user, print the table and write `metrics.json`.

    Args:
        path: a model file.
        dataset: the data set it was trained on, with the steps of its media encoders.
        config: `calibration` and `baseline`.
        folder: where `metrics.json` goes.

    Returns:
        The metrics under keys such as `test/recall@20`.
    """
    rule = str(config.calibration)
    found = load(path, rule)
    models = {f"{rule} *": evaluate_view(found.model, dataset)}
    for name in found.operating_points:
        if name != rule and found.operating_points[name] != found.operating_points[rule]:
            models[name] = evaluate_view(load(path, name).model, dataset)
    if found.model.item_tower.modalities:
        models["ids only"] = evaluate_view(found.model, dataset, "collaborative")
        models["content only"] = evaluate_view(found.model, dataset, "content")
        models[f"{rule}, content permuted"] = evaluate_permuted(found, dataset)
    baselines = tuned_baselines(config, dataset)
    evaluations = {name: baseline.evaluations[-1] for name, baseline in baselines.items()}

    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(comparison_table(f"{dataset.name}, test part, seed {found.seed}", models, evaluations))
    if found.frontier:
        console.print(frontier_table(found.frontier))
    main = next(iter(models.values()))
    point = asdict(found.operating_points[rule])
    model = Measured([main], {"calibration": rule, "operating_point": point, "config": found.config})
    comparisons = (
        adjusted({name: compare(main, other, "recall@20") for name, other in evaluations.items()})
        if evaluations
        else {}
    )
    views = {name: Measured([one], {}) for name, one in models.items() if one is not main}
    write_metrics(
        folder / "metrics.json", model, baselines, found.data_hash, [found.seed], comparisons, found.frontier, views
    )
    print(f"metrics: {folder / 'metrics.json'}")
    return model.metrics


def evaluate_view(model: TwoTower, dataset: Dataset, view: View = "hybrid") -> Evaluation:
    """The test evaluation of a model at its operating point, or of one part of it."""
    return evaluate(
        TwoTowerScorer(model, catalogue_features(dataset, model.item_tower.modalities), view), dataset, "test"
    )


def evaluate_permuted(found: ModelFile, dataset: Dataset) -> Evaluation:
    """The control: the same model and operating point with the content rows of all items permuted.

    What a cold item borrows from its content neighbours is permuted with them.
    """
    rows = generator(found.seed, 0, "permuted content").permutation(dataset.num_items)
    features = {
        name: Feature(feature.values[rows], feature.present[rows]) for name, feature in dataset.features.items()
    }
    model = found.model
    before = model.neighbour_vector_ND.clone()
    model.neighbour_vector_ND.copy_(before[torch.from_numpy(rows)])
    try:
        return evaluate_view(model, replace(dataset, features=features))
    finally:
        model.neighbour_vector_ND.copy_(before)


def tuned_baselines(config: DictConfig, dataset: Dataset) -> dict[str, Measured]:
    """Every baseline of the configuration, tuned on validation over its grid and evaluated on test.

    The choice depends on data and grid alone, so it is kept below `data_dir`: later runs fit the chosen setting only.
    """
    measured: dict[str, Measured] = {}
    for name, node in (config.get("baseline") or {}).items():
        if node.get("needs_features") and not dataset.features:
            print(f"baseline {name}: left out, the data set has no features")
            continue
        began = time.monotonic()
        record = _choice_file(config, node, dataset)
        tried = candidates(node)
        settings = read_json(record)["settings"] if record.is_file() else None
        remembered = [pair for pair in tried if pair[0] == settings]
        tuned = tune(remembered or tried, dataset)
        if not remembered:
            write_json(
                record,
                {
                    "format_version": 1,
                    "settings": dict(tuned.settings),
                    "trials": [asdict(trial) for trial in tuned.trials],
                },
            )
        measured[str(name)] = Measured([tuned.validation, evaluate(tuned.scorer, dataset, "test")], tuned.settings)
        how = f"the best of {len(tried)} on validation" + (", chosen earlier" if remembered else "")
        print(
            f"baseline {name}: {time.monotonic() - began:.1f} s, {dict(tuned.settings) or 'no settings'}, {how}",
            flush=True,
        )
    return measured


def _choice_file(config: DictConfig, node: DictConfig, dataset: Dataset) -> Path:
    """Where the choice for one baseline on one data set is kept."""
    plain = OmegaConf.to_container(node, resolve=True)
    text = json.dumps([__version__, dataset.content_hash, plain], sort_keys=True)
    return Path(config.data_dir) / "tuned" / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"


def candidates(node: DictConfig) -> list[tuple[Mapping[str, Any], Recommender]]:
    """Every combination of a baseline's grid with the recommender built from it."""
    plain = OmegaConf.to_container(node, resolve=True)
    assert isinstance(plain, dict)
    grid: dict[str, list[Any]] = plain.get("grid") or {}
    settings = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    return [(setting, instantiate({**plain["recommender"], **setting})) for setting in settings]
