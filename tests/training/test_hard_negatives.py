"""A planted pattern that uniform negatives are blind to: rare twins that only a hard negative tells apart."""

import numpy as np
import torch

from avrec.core.interactions import Interactions
from avrec.data.candidates import Candidates, HardNegatives, SampledNegatives, SharedPool
from avrec.data.samplers import PairPolicy, PairSampler
from avrec.losses.bpr import BPR
from avrec.losses.softmax import Softmax
from avrec.models.id_table import ItemTable, UserTable
from avrec.models.item_tower import ItemTower
from avrec.models.pooling import NormalizedSum
from avrec.models.two_tower import CatalogueFeatures, TwoTower
from avrec.models.user_tower import UserTower
from avrec.training.batches import TensorBatch
from avrec.training.module import LossWeights, TwoTowerModule
from avrec.training.optimiser import ParameterGroups
from avrec.training.row_adam import RowAdam

GENRES, TWINS, EACH, STEPS = 40, 2, 10, 100


def twins():
    """40 genres of 2 x 10 items: users stay within one half of a genre, and leave out one of its items, which is the test.

    Among 800 items a uniform negative is in the user's other half once in 80 draws.
    """
    half = np.arange(GENRES * TWINS).repeat(8)
    users = np.arange(len(half))
    left_out = users % EACH
    taken = np.array([[item for item in range(EACH) if item != out] for out in left_out])
    items = half[:, None] * EACH + taken
    train = Interactions.from_events(users.repeat(EACH - 1), items.ravel(), len(users), GENRES * TWINS * EACH)
    return train, half, half * EACH + left_out


def share_of_best(candidates: Candidates, loss: torch.nn.Module) -> float:
    """Mean reciprocal rank of the item left out among what a user has not met, after some steps."""
    train, half, wanted = twins()
    torch.manual_seed(0)
    # A genre is known from the start: items and users of both halves begin side by side.
    genre = torch.randn(GENRES, 16)
    items = ItemTable(train.num_items, 16, sparse=True)
    users = UserTable(train.num_users, 16, enabled=True, kappa=0.0, sparse=True)
    with torch.no_grad():
        items.output_ND.copy_(genre.repeat_interleave(TWINS * EACH, 0) + 0.1 * torch.randn(train.num_items, 16))
        users.residual_UD.copy_(genre[torch.from_numpy(half) // TWINS] + 0.1 * torch.randn(train.num_users, 16))
    tower = UserTower(16, 0, NormalizedSum(), NormalizedSum(), 0)
    model = TwoTower(ItemTower({}, None, 16), tower, items, users, 0)
    model.user_evidence_U.fill_(EACH - 1.0)
    module = TwoTowerModule(
        model, CatalogueFeatures({}, {}), loss, LossWeights(), ParameterGroups(RowAdam, 0.02), lambda model: {}
    )
    optimizer = ParameterGroups(RowAdam, 0.02)(model)
    sampler = PairSampler(train, candidates, 128, 0, PairPolicy(max_history_items=0))
    for step in range(STEPS):
        batch = TensorBatch.of(sampler.batch(*divmod(step, sampler.num_batches)))
        optimizer.zero_grad()
        module.losses(batch)["id"].backward()
        optimizer.step()
    with torch.no_grad():
        scores = (model.user_vectors() @ items.output_ND.T + items.bias_N).numpy()
    scores[train.user_idx, train.item_idx] = -np.inf
    rank = (scores > scores[np.arange(len(scores)), wanted][:, None]).sum(axis=1)
    return float((1 / (1 + rank)).mean())


def test_the_hardest_of_a_pool_teach_a_softmax_what_the_whole_pool_does_with_8_of_its_600_columns():
    uniform = share_of_best(SampledNegatives(8, 0.0), Softmax())
    hard = share_of_best(HardNegatives(600, 8, 0), Softmax())
    pool = share_of_best(SampledNegatives(600, 0.0), Softmax())
    assert hard > uniform + 0.3, (hard, uniform)
    assert hard > pool - 0.05, (hard, pool)


def test_the_hardest_of_many_draws_teach_bpr_more_than_all_alike():
    even, hard = (share_of_best(SharedPool(400, 0.0), BPR(draws)) for draws in (1, 64))
    assert hard > even + 0.06, (hard, even)
