"""Every softmax correction against a brute-force sum over the catalogue, with the batches that the sampler really draws."""

import numpy as np
import pytest
import torch

from avrec.core.interactions import Interactions
from avrec.data.candidates import FullCatalogue, HardNegatives, InBatch, SampledNegatives, SharedPool
from avrec.data.samplers import PairSampler
from avrec.losses.hardest import keep_hardest
from avrec.losses.softmax import Softmax
from avrec.training.batches import TensorBatch

NUM_USERS, NUM_ITEMS, BATCH, EPOCHS = 60, 90, 120, 12


def log():
    """Popular and rare items, 5 events a user."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, NUM_ITEMS + 1) ** 0.7
    items = np.concatenate([rng.choice(NUM_ITEMS, 5, replace=False, p=share / share.sum()) for _ in range(NUM_USERS)])
    return Interactions.from_events(np.repeat(np.arange(NUM_USERS), 5), items, NUM_USERS, NUM_ITEMS)


CANDIDATES = {
    "full": (FullCatalogue(), 1e-9),
    "in-batch": (InBatch(), 0.05),  # a pair's positive leaves one draw fewer for the others: 1 / 120
    "sampled": (SampledNegatives(40, 0.5), 0.05),
    "mixed": (SampledNegatives(40, 0.0), 0.05),
    "pool": (SharedPool(40, 0.5), 0.05),
    "hard": (HardNegatives(60, 20, 10), 0.05),
    "hard, no uniform ones": (HardNegatives(60, 10, 0), 0.05),
}


def ratios(candidates, correct=True):
    """Mean over pairs of the estimated sum of exponentials over what is no positive, as a share of the true one."""
    train = log()
    sampler = PairSampler(train, candidates, BATCH, seed=2)
    scores = np.random.default_rng(1).normal(size=(NUM_USERS, NUM_ITEMS))
    trained = train.item_counts > 0
    estimated, true = [], []
    for epoch in range(EPOCHS):
        for index in range(sampler.num_batches - 1):
            batch = TensorBatch.of(sampler.batch(epoch, index), torch.float64)
            users, positives = batch.user_idx_B.numpy(), batch.positive_B.numpy()
            own = torch.tensor(scores[users, positives])
            columns = batch.columns.expand(len(users), -1)
            scores_BN = torch.tensor(scores[users[:, None], columns.numpy()])
            valid, log_q = batch.valid_BN, batch.log_q_N
            if batch.hard is not None:
                valid, log_q = keep_hardest(
                    scores_BN, valid, batch.hard.mined_N, batch.hard.num_hard, log_q, batch.hard.log_q_hard_N
                )
            loss = Softmax()(scores_BN, batch.target_BN, valid, log_q if correct else torch.zeros_like(log_q))
            estimated += ((loss + own).exp() - own.exp()).tolist()
            for user in users.tolist():
                known = train.item_idx[train.indptr[user] : train.indptr[user + 1]]
                true.append(np.exp(scores[user][trained & ~np.isin(np.arange(NUM_ITEMS), known)]).sum())
    return np.array(estimated) / np.array(true)


@pytest.mark.parametrize("name", CANDIDATES)
def test_the_corrected_sum_is_that_over_the_whole_catalogue(name):
    candidates, tolerance = CANDIDATES[name]
    assert ratios(candidates).mean() == pytest.approx(1, rel=tolerance)


@pytest.mark.parametrize("name", ["in-batch", "sampled", "pool", "hard"])
def test_without_the_correction_it_falls_short(name):
    assert ratios(CANDIDATES[name][0], correct=False).mean() < 0.9


def test_hard_negatives_make_the_estimate_steadier_than_as_many_uniform_ones():
    hard, uniform = (ratios(one).std() for one in (HardNegatives(60, 10, 10), SharedPool(20, 0.0)))
    assert hard < 0.8 * uniform
