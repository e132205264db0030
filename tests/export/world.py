"""Three tiny models with their data: attention over two modalities, concatenation, and ids alone."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from avrec.core.dataset import Dataset, Feature
from avrec.core.ids import IdMap
from avrec.core.interactions import Interactions
from avrec.export.writer import BundleInfo, write_bundle
from avrec.models.encoders.feature import FeatureEncoder
from avrec.models.fusion.attention import AttentionFusion
from avrec.models.fusion.concatenation import ConcatenationFusion
from avrec.models.id_table import ItemTable, UserTable
from avrec.models.item_tower import ItemTower, OperatingPoint
from avrec.models.pooling import AttentionPooling, NormalizedSum
from avrec.models.two_tower import CatalogueFeatures, TwoTower
from avrec.models.user_tower import UserTower
from avrec.training.propagation import Mix, Neighbourhoods, apply_mix
from avrec.training.scorer import TwoTowerScorer, content_table

NUM_USERS, NUM_ITEMS, ID_DIM, MAX_HISTORY_ITEMS = 20, 30, 6, 6
FEATURE_DIMS = {"audio": 5, "video": 7}
INFO = BundleInfo(
    seed=3,
    config={"model": {"dim": ID_DIM}},
    operating_point_name="cold98",
    metrics={"test/recall@20": 0.25, "test/cold/recall@20": float("nan")},
)


@dataclass(frozen=True)
class World:
    """A model, its data, and the bundle written from them."""

    model: TwoTower
    catalogue: CatalogueFeatures
    dataset: Dataset
    folder: Path

    @property
    def scorer(self) -> TwoTowerScorer:
        return TwoTowerScorer(self.model, self.catalogue)

    @property
    def history(self) -> Interactions:
        return self.dataset.train.merged(self.dataset.validation).merged(self.dataset.test)


def make_dataset(with_features: bool = True, with_time: bool = True) -> Dataset:
    """20 users with up to 12 events, one without any; 30 items, the last four cold, some without a modality, 4 and 29 without any."""
    draw = np.random.default_rng(0)
    counts = np.append(draw.integers(1, 13, NUM_USERS - 1), 0)
    user_idx = np.repeat(np.arange(NUM_USERS), counts)
    item_idx = np.concatenate([draw.permutation(NUM_ITEMS - 4)[:count] for count in counts])
    stamps = draw.integers(1_600_000_000, 1_600_000_000 + 90 * 86_400, len(user_idx)) if with_time else None
    weight = draw.integers(1, 4, len(user_idx)).astype(np.float32)
    everything = Interactions.from_events(user_idx, item_idx, NUM_USERS, NUM_ITEMS, weight, stamps)
    place = np.arange(len(everything)) - np.repeat(everything.indptr[:-1], everything.user_counts)
    left = np.repeat(everything.user_counts, everything.user_counts) - place
    features = {}
    for name, width in FEATURE_DIMS.items() if with_features else ():
        present = draw.random(NUM_ITEMS) > 0.2
        present[[4, 29]] = False
        present[26:29] = name == "audio"
        values = draw.standard_normal((NUM_ITEMS, width)).astype(np.float32) * present[:, None]
        features[name] = Feature(values, present)
    return Dataset(
        name="tiny <world>",
        content_hash="0" * 64,
        users=IdMap([f"user {index}" for index in range(NUM_USERS)]),
        items=IdMap([f"item {index}" for index in range(NUM_ITEMS)]),
        train=everything.select((left > 2) | (place == 0)),
        validation=everything.select((left == 2) & (place > 0)),
        test=everything.select((left == 1) & (place > 0)),
        features=features,
    )


def make_model(dataset: Dataset, kind: str) -> TwoTower:
    """A model whose every number is random, at an operating point where every term counts."""
    torch.manual_seed(1)
    if kind == "attention":
        encoders = {name: FeatureEncoder(width, 8) for name, width in FEATURE_DIMS.items()}
        fusion = AttentionFusion(dict.fromkeys(FEATURE_DIMS, 8), num_heads=2)
        pooling = AttentionPooling(ID_DIM), NormalizedSum(0.5, half_life_days=20.0)
    elif kind == "concatenation":
        encoders = {name: FeatureEncoder(width) for name, width in FEATURE_DIMS.items()}
        fusion = ConcatenationFusion(FEATURE_DIMS, {"video": 0.5})
        pooling = NormalizedSum(0.5), AttentionPooling(sum(FEATURE_DIMS.values()))
    else:
        encoders, fusion, pooling = {}, None, (NormalizedSum(0.0), NormalizedSum(0.5))
    item_tower = ItemTower(encoders, fusion, ID_DIM)
    user_tower = UserTower(ID_DIM, item_tower.content_dim, *pooling, max_history_items=MAX_HISTORY_ITEMS)
    tables = (
        ItemTable(NUM_ITEMS, ID_DIM, tied=kind != "ids"),
        UserTable(NUM_USERS, ID_DIM, enabled=kind != "concatenation"),
    )
    model = TwoTower(item_tower, user_tower, *tables)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
        model.item_evidence_N.copy_(torch.from_numpy(dataset.train.item_counts))
        model.user_evidence_U.copy_(torch.from_numpy(dataset.train.user_counts))
        if kind != "attention":  # what friends lend, with a residual and without one
            if kind == "concatenation":  # a factorisation beside the ids
                model.set_factors(0.5 * torch.randn(NUM_ITEMS, 4), 0.5 * torch.randn(4, 4))
            model.set_friends(0.5 * torch.randn(NUM_USERS, model.item_tower.id_dim))
    model.set_operating_point(OperatingPoint(2.0, 0.7, 0.4, neighbour_weight=0.3, history_smoothing=0.25))
    return model


def borrow_from_neighbours(model: TwoTower, catalogue: CatalogueFeatures, dataset: Dataset) -> None:
    """Propagated tables, stand-ins of the cold items and smoothed histories, as training leaves them."""
    content = None
    if model.item_tower.modalities:
        present = np.logical_or.reduce([feature.present for feature in dataset.features.values()])
        content = content_table(model, catalogue) * present[:, None]
    start = {name: value.clone() for name, value in model.item_table.state_dict().items()}
    neighbourhoods = Neighbourhoods(dataset.train, content, ~dataset.cold_items)
    apply_mix(model, start, neighbourhoods, Mix(p3=0.3, jaccard=0.1, content=0.3))


def make_world(kind: str, folder: Path) -> World:
    """Build a model of the kind and write its bundle into `folder`."""
    dataset = make_dataset(with_features=kind != "ids", with_time=kind != "ids")
    model = make_model(dataset, kind)
    catalogue = CatalogueFeatures(
        {name: torch.tensor(feature.values) for name, feature in dataset.features.items()},
        {name: torch.tensor(feature.present) for name, feature in dataset.features.items()},
    )
    borrow_from_neighbours(model, catalogue, dataset)
    return World(model, catalogue, dataset, write_bundle(model, catalogue, dataset, folder, info=INFO))


_WORLDS: dict[str, World] = {}


def world_of(kind: str, folder: Path) -> World:
    """One world of each kind in a test session, wherever it is asked for first."""
    if kind not in _WORLDS:
        _WORLDS[kind] = make_world(kind, folder / kind)
    return _WORLDS[kind]
