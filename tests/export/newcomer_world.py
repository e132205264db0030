"""A tiny world whose users and items have tags, friends and fields: two tastes, and three users without any history.

Users 0 to 9 consume items 0 to 9, which are tagged `calm`; users 10 to 19 items 10 to 19, tagged `loud`. Users 20 to 22 have
no event: 20 told an interest, 21 has a friend, 22 has told his age and country; 23 nothing. Item 25 is new, `calm` too.
"""

from pathlib import Path

import numpy as np
import torch

from avrec.core.dataset import Dataset
from avrec.core.ids import IdMap
from avrec.core.interactions import Interactions
from avrec.core.side import CategoryField, NumericField, Tags
from avrec.core.sparse import SparseRows
from avrec.export.writer import write_bundle
from avrec.models.id_table import ItemTable, UserTable
from avrec.models.item_tower import ItemTower, OperatingPoint
from avrec.models.pooling import NormalizedSum
from avrec.models.two_tower import CatalogueFeatures, TwoTower
from avrec.models.user_tower import UserTower
from tests.export.world import INFO, World

NUM_USERS, NUM_ITEMS, ID_DIM = 24, 26, 4
CALM, LOUD = range(10), range(10, 20)
TAGS = ("calm", "loud", "of nobody")
CATALOGUE = CatalogueFeatures({}, {})


def newcomer_dataset() -> Dataset:
    draw = np.random.default_rng(5)
    rows = []
    for user in range(20):
        items = draw.permutation(10)[:6] + (0 if user < 10 else 10)
        rows += [(user, item, 1_700_000_000 + 86_400 * (user + place)) for place, item in enumerate(items)]
    user, item, time = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    everything = Interactions.from_events(user, item, NUM_USERS, NUM_ITEMS, timestamp=time)
    left = np.repeat(everything.indptr[1:], everything.user_counts) - np.arange(len(everything))
    tags = IdMap(TAGS)
    tagged_item = np.array([*CALM, *LOUD, 25, 24])
    tagged_tag = np.array([0] * 10 + [1] * 10 + [0, 2])
    ages = np.array([20.0] * 10 + [60.0] * 10 + [0.0, 0.0, 61.0, 0.0])
    friends = SparseRows.from_entries(np.array([0, 21, 21]), np.array([1, 12, 23]), NUM_USERS, NUM_USERS)
    country = IdMap(["NO", "SE"])
    return Dataset(
        name="two tastes",
        content_hash="1" * 64,
        users=IdMap([f"user {index}" for index in range(NUM_USERS)]),
        items=IdMap([f"item {index:02d}" for index in range(NUM_ITEMS)]),
        train=everything.select(left > 2),
        validation=everything.select(left == 2),
        test=everything.select(left == 1),
        item_tags=Tags(tags, SparseRows.from_entries(tagged_item, tagged_tag, NUM_ITEMS, 3)),
        user_interests=Tags(tags, SparseRows.from_entries(np.array([0, 20]), np.array([1, 0]), NUM_USERS, 3)),
        social=friends,
        user_fields={
            "age": NumericField(ages, ages > 0),
            "country": CategoryField(np.array([0] * 10 + [1] * 10 + [-1, -1, 1, -1]), country),
        },
    )


def newcomer_world(folder: Path, dataset: Dataset | None = None) -> World:
    """A model whose first two columns are the two tastes, with a little noise, and its bundle."""
    dataset = newcomer_dataset() if dataset is None else dataset
    torch.manual_seed(2)
    item_tower = ItemTower({}, None, ID_DIM)
    user_tower = UserTower(ID_DIM, 0, NormalizedSum(0.5), NormalizedSum(0.5), max_history_items=6)
    model = TwoTower(item_tower, user_tower, ItemTable(NUM_ITEMS, ID_DIM), UserTable(NUM_USERS, ID_DIM, enabled=False))
    with torch.no_grad():
        vectors = 0.05 * torch.randn(NUM_ITEMS, ID_DIM)
        vectors[:10, 0] += 1.0
        vectors[10:20, 1] += 1.0
        model.item_table.set_vectors(vectors)
        model.item_evidence_N.copy_(torch.from_numpy(dataset.train.item_counts))
        model.user_evidence_U.copy_(torch.from_numpy(dataset.train.user_counts))
    model.set_operating_point(OperatingPoint(0.0, 1.0, 0.0))
    return World(model, CATALOGUE, dataset, write_bundle(model, CATALOGUE, dataset, folder, info=INFO))
