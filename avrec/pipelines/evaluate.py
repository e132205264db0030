"""`avrec evaluate`: a trained model on the test part, beside baselines tuned on validation."""

import hashlib
import itertools
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from avrec import __version__
from avrec.build.instantiate import instantiate
from avrec.build.model import ModelFile, load
from avrec.core.dataset import Dataset, Feature
from avrec.core.errors import ConfigError
from avrec.core.files import read_json, write_json
from avrec.core.order import generator
from avrec.core.query import Recommender, Scorer
from avrec.data.layout import MANIFEST
from avrec.evaluation.evaluate import Evaluation, evaluate
from avrec.evaluation.lists import ListMeasures
from avrec.evaluation.new_users import NewUsers, new_users
from avrec.evaluation.protocols import HONEST, Protocol, protocol_named
from avrec.evaluation.rerank_prices import rerank_prices
from avrec.evaluation.shares import catalogue_shares
from avrec.evaluation.significance import adjusted, compare
from avrec.evaluation.tuning import tune
from avrec.models.two_tower import CatalogueFeatures, TwoTower
from avrec.pipelines.media import media_store
from avrec.pipelines.prepare import RUN_FILE, dataset_of_checkpoint
from avrec.pipelines.side import side_of_model
from avrec.report.frontier import frontier_table
from avrec.report.metrics_file import Measured, write_metrics
from avrec.report.new_users import new_users_table
from avrec.report.rerank import rerank_document, rerank_table
from avrec.report.shares import shares_table
from avrec.report.tables import beyond_table, comparison_table
from avrec.report.user_files import Reported, write_per_user, write_shares, write_top_items
from avrec.retrieval.rerank import unit_vectors
from avrec.training.media_store import with_steps
from avrec.training.scorer import TwoTowerScorer, View, catalogue_features, comparable_content

KEPT_ITEMS = 20


@dataclass(frozen=True)
class Asked:
    """How every recommender of a run is asked about the test part.

    Attributes:
        protocol: by name.
        measures: of lists; the metrics of ranks and coverage alone when None.
    """

    protocol: Protocol = HONEST
    measures: ListMeasures | None = None

    def evaluate(self, scorer: Scorer, dataset: Dataset, keep: int = 0) -> Evaluation:
        """The test evaluation of a scorer."""
        return evaluate(scorer, dataset, "test", protocol=self.protocol, measures=self.measures, keep=keep)


ASKED = Asked()


def run(config: DictConfig) -> dict[str, float]:
    """Evaluate `config.ckpt` and write what it found into the run's folder.

    Returns:
        The test metrics at the operating point that `config.calibration` names.
    """
    torch.set_num_threads(int(config.num_threads))
    found = load(config.ckpt, config.calibration)
    dataset = side_of_model(config, found, dataset_of_checkpoint(config, found.data_hash))
    chosen_protocol(config, dataset, prepared_of(config, Path(config.ckpt)))  # before any media are read
    check_reranking(config, found.model, dataset)
    dataset = with_steps(dataset, found.model, media_store(config, dataset, found.model))
    return evaluate_model_file(Path(config.ckpt), dataset, config, Path(config.run_dir))


def check_reranking(config: DictConfig, model: TwoTower, dataset: Dataset) -> None:
    """Refuse what re-ranking cannot do before anything is paid for."""
    if config.get("rerank"):
        instantiate(config.rerank).check(dataset, bool(model.item_tower.modalities))


def chosen_protocol(config: DictConfig, dataset: Dataset, prepared: Path) -> Protocol:
    """The protocol that `config.protocol` names, if the data set fits it.

    Raises:
        ConfigError: there is no such protocol, or the data set was split in another way than it means.
    """
    protocol = protocol_named(str(config.get("protocol", HONEST.name)))
    protocol.check(read_json(prepared / MANIFEST)["split"], dataset)
    return protocol


def prepared_of(config: DictConfig, path: Path) -> Path:
    """The folder of the prepared data set that a model file was made from, as the configuration or its run names it."""
    if config.data.get("source") is None and config.data.get("path") is not None:
        return Path(config.data.path)
    return Path(read_json(path.parent / RUN_FILE)["prepared"])


def evaluate_model_file(path: Path, dataset: Dataset, config: DictConfig, folder: Path) -> dict[str, float]:
    """Rank the catalogue for every test user, print the tables, and write `metrics.json` and the files by user and item.

    Args:
        path: a model file.
        dataset: the data set it was trained on, with the steps of its media encoders.
        config: `calibration`, `protocol` and `baseline`.
        folder: where the files go.

    Returns:
        The metrics under keys such as `test/recall@20`.
    """
    rule = str(config.calibration)
    found = load(path, rule)
    protocol = chosen_protocol(config, dataset, prepared_of(config, path))
    asked = Asked(protocol, ListMeasures.of(dataset))
    catalogue = catalogue_features(dataset, found.model.item_tower.modalities)
    scorer = TwoTowerScorer(found.model, catalogue)
    models = {rule: asked.evaluate(scorer, dataset, KEPT_ITEMS)} | other_views(found, path, rule, dataset, asked)
    baselines = tuned_baselines(config, dataset, asked)
    evaluations = {name: baseline.evaluations[-1] for name, baseline in baselines.items()}
    shares = _shares(scorer, catalogue)
    newcomers = new_users(scorer, dataset, "test", protocol)
    if newcomers is not None:
        models[rule] = replace(models[rule], metrics={**models[rule].metrics, **newcomers.metrics})

    title = f"{dataset.name}, test part, seed {found.seed}, protocol {protocol.name}"
    _print(title, models, evaluations, found, shares, newcomers)
    reported = Reported(rule, models, evaluations, found.seed)
    model = Measured(
        [reported.main],
        {"calibration": rule, "operating_point": asdict(found.operating_points[rule]), "config": found.config},
        shares,
    )
    comparisons = adjusted({name: compare(reported.main, other, "recall@20") for name, other in evaluations.items()})
    views = {name: Measured([one], {}) for name, one in models.items() if name != rule}
    write_per_user(folder / "per_user.parquet", reported, dataset)
    write_top_items(folder / "top_items.parquet", reported, dataset)
    if shares:
        share_NM = scorer.share.float().cpu().numpy()
        write_shares(folder / "shares.parquet", share_NM, found.model.item_tower.modalities, reported, dataset)
    write_metrics(
        folder / "metrics.json", model, baselines, found.data_hash, [found.seed], comparisons, found.frontier, views
    )
    print(f"metrics: {folder / 'metrics.json'}")
    if config.get("rerank"):
        _price_reranking(config, scorer, dataset, catalogue, folder)
    return model.metrics


def _price_reranking(
    config: DictConfig, scorer: TwoTowerScorer, dataset: Dataset, catalogue: CatalogueFeatures, folder: Path
) -> None:
    """Print what diversity, freshness and hiding what was seen cost, and write `rerank.json`."""
    trials, model = instantiate(config.rerank), scorer.model
    protocol = protocol_named(str(config.get("protocol", HONEST.name)))
    by = trials.by or ("content" if model.item_tower.modalities else "taste")
    ids_ND = model.id_vectors().float().cpu().numpy() * ~dataset.cold_items[:, None]
    alike = (by, unit_vectors(comparable_content(model, catalogue) if by == "content" else ids_ND))
    prices = rerank_prices(scorer, dataset, trials, alike, ListMeasures.of(dataset), protocol=protocol)
    Console(width=None if sys.stdout.isatty() else 110).print(rerank_table(prices, trials))
    write_json(folder / "rerank.json", rerank_document(prices, trials))


def other_views(found: ModelFile, path: Path, rule: str, dataset: Dataset, asked: Asked) -> dict[str, Evaluation]:
    """The model at its other operating points, its parts alone, and its control."""
    views = {}
    for name, point in found.operating_points.items():
        if name != rule and point != found.operating_points[rule]:
            views[name] = evaluate_view(load(path, name).model, dataset, asked=asked)
    if found.model.item_tower.modalities:
        views["ids only"] = evaluate_view(found.model, dataset, "collaborative", asked)
        views["content only"] = evaluate_view(found.model, dataset, "content", asked)
        views[f"{rule}, content permuted"] = evaluate_permuted(found, dataset, asked)
    return views


def evaluate_view(model: TwoTower, dataset: Dataset, view: View = "hybrid", asked: Asked = ASKED) -> Evaluation:
    """The test evaluation of a model at its operating point, or of one part of it."""
    catalogue = catalogue_features(dataset, model.item_tower.modalities)
    return asked.evaluate(TwoTowerScorer(model, catalogue, view), dataset)


def evaluate_permuted(found: ModelFile, dataset: Dataset, asked: Asked = ASKED) -> Evaluation:
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
        return evaluate_view(model, replace(dataset, features=features), asked=asked)
    finally:
        model.neighbour_vector_ND.copy_(before)


def _shares(scorer: TwoTowerScorer, catalogue: CatalogueFeatures) -> dict[str, float]:
    """What each modality makes up of the content, over the catalogue; nothing for a model of ids alone."""
    modalities = scorer.model.item_tower.modalities
    if not modalities:
        return {}
    present_NM = torch.stack([catalogue.masks[name] for name in modalities], dim=1).cpu().numpy()
    return catalogue_shares(scorer.share.float().cpu().numpy(), present_NM, modalities)


def _print(
    title: str,
    models: Mapping[str, Evaluation],
    baselines: Mapping[str, Evaluation],
    found: ModelFile,
    shares: Mapping[str, float],
    newcomers: NewUsers | None,
) -> None:
    """The tables that end a run; the first of `models` is the one that is reported."""
    shown = {f"{name} *" if place == 0 else name: one for place, (name, one) in enumerate(models.items())}
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(comparison_table(title, shown, baselines))
    console.print(beyond_table(shown, baselines))
    if newcomers is not None:
        console.print(new_users_table(newcomers))
    if shares:
        console.print(shares_table(shares, found.model.item_tower.modalities))
    if found.frontier:
        console.print(frontier_table(found.frontier))


def tuned_baselines(config: DictConfig, dataset: Dataset, asked: Asked = ASKED) -> dict[str, Measured]:
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
        try:
            tuned = tune(remembered or tried, dataset)
        except (
            ConfigError
        ) as error:  # a setting that can be built, but not on this data set; the model is trained by now
            print(f"baseline {name}: left out. {error}")
            continue
        if not remembered:
            write_json(
                record,
                {
                    "format_version": 1,
                    "settings": dict(tuned.settings),
                    "trials": [asdict(trial) for trial in tuned.trials],
                },
            )
        measured[str(name)] = Measured([tuned.validation, asked.evaluate(tuned.scorer, dataset)], tuned.settings)
        how = f"the best of {len(tried)} on validation" + (", chosen earlier" if remembered else "")
        print(
            f"baseline {name}: {time.monotonic() - began:.1f} s, {dict(tuned.settings) or 'no settings'}, {how}",
            flush=True,
        )
    return measured


def _choice_file(config: DictConfig, node: DictConfig, dataset: Dataset) -> Path:
    """Where the choice for one baseline is kept, by the grid, the data and the vectors, which are not told by their names."""
    plain = OmegaConf.to_container(node, resolve=True)
    features = {
        name: hashlib.sha256(np.ascontiguousarray(found.values).data).hexdigest()
        for name, found in dataset.features.items()
    }
    text = json.dumps([__version__, dataset.content_hash, features, plain], sort_keys=True)
    return Path(config.data_dir) / "tuned" / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"


def candidates(node: DictConfig) -> list[tuple[Mapping[str, Any], Recommender]]:
    """Every combination of a baseline's grid with the recommender built from it."""
    plain = OmegaConf.to_container(node, resolve=True)
    assert isinstance(plain, dict)
    grid: dict[str, list[Any]] = plain.get("grid") or {}
    settings = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    return [(setting, instantiate({**plain["recommender"], **setting})) for setting in settings]
