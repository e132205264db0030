"""Triplets a CPU second of BPR: ours against `implicit`, one thread each, and what both have learned after equal CPU time.

`python benchmarks/bpr_triplets.py [--pool 128] [--seconds 20]` prints, for simulated logs,
- triplets (user, item, negative) with a gradient, a CPU second, sampling included. Ours share a pool of negatives among the pairs
  of a batch, so they are cheap and not independent; `implicit` draws a negative for each pair. So pairs a second stand beside.
- NDCG@20 on held-out events after `--seconds` of CPU time each, on a smaller log that both can learn in that time.
Run with OMP_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from id_step import DIM, Ours
from implicit.cpu.bpr import BayesianPersonalizedRanking
from pairs import machine
from scipy.sparse import csr_matrix

from avrec.core.arrays import Float32
from avrec.core.interactions import Interactions
from avrec.data.candidates import SharedPool
from avrec.data.samplers import PairPolicy, PairSampler
from avrec.losses.bpr import BPR
from avrec.training.batches import TensorBatch

LARGE, SMALL = (70_000, 25_000, 650_000), (10_000, 3_000, 300_000)  # users, items, events before repetitions
TASTES, CUTOFF, IMPLICIT_EPOCHS, OUR_STEPS = 30, 20, 5, 20


def simulated(num_users: int, num_items: int, num_events: int) -> tuple[Interactions, Interactions]:
    """Train and held-out events of users who take items of a taste, popular ones more often; one held-out event a user."""
    rng = np.random.default_rng(0)
    users = np.concatenate([np.repeat(np.arange(num_users), 3), rng.integers(0, num_users, num_events - 3 * num_users)])
    taste = np.where(rng.random(len(users)) < 0.8, users % TASTES, rng.integers(0, TASTES, len(users)))
    items = taste + TASTES * (num_items // TASTES * rng.random(len(users)) ** 2).astype(np.int64)
    pairs = np.unique(np.stack([users, items], axis=1), axis=0)
    pairs = pairs[rng.permutation(len(pairs))]
    last = np.zeros(len(pairs), np.bool_)
    last[np.unique(pairs[:, 0], return_index=True)[1]] = True
    train, held = (
        Interactions.from_events(*pairs[rows].T, num_users, num_items) for rows in (~last, np.flatnonzero(last)[:4000])
    )
    return train, held


def ndcg(user_UD: Float32, item_ND: Float32, train: Interactions, held: Interactions) -> float:
    """NDCG@20 of one held-out event a user among the items he has not met."""
    users = held.user_idx
    scores = user_UD[users] @ item_ND.T
    indptr, position = train.positions(users)
    scores[np.repeat(np.arange(len(users)), np.diff(indptr)), train.item_idx[position]] = -np.inf
    rank = (scores > scores[np.arange(len(users)), held.item_idx][:, None]).sum(axis=1)
    return float(np.where(rank < CUTOFF, 1 / np.log2(rank + 2), 0.0).mean())


class Towers:
    """Our step with a user table and no histories."""

    def __init__(self, train: Interactions, batch_size: int, pool: int) -> None:
        self.sampler = PairSampler(train, SharedPool(pool, 0.0), batch_size, 0, PairPolicy(1_000_000, 0))
        self.side = Ours(_Sizes(self.sampler), lambda table: torch.nn.init.normal_(table, std=0.05))
        self.done, self.pairs, self.triplets = 0, 0, 0

    def step(self) -> None:
        """Draw the next batch and train on it."""
        epoch, index = divmod(self.done, self.sampler.num_batches)
        batch = TensorBatch.of(self.sampler.batch(epoch, index))
        self.side.step(batch)
        self.done += 1
        self.pairs += len(batch.user_idx_B)
        self.triplets += int((batch.valid_BN & ~batch.target_BN).sum())

    def vectors(self) -> tuple[Float32, Float32]:
        """Users and items, with the bias as a last column."""
        model = self.side.model
        with torch.no_grad():
            users = model.user_vectors() + model.user_tower.constant_D
        items = torch.cat([model.item_table.output_ND, model.item_table.bias_N.unsqueeze(1)], dim=1).detach()
        return np.hstack([users.numpy(), np.ones((len(users), 1), np.float32)]), items.numpy()


class _Sizes:
    def __init__(self, sampler: PairSampler) -> None:
        self.num_users, self.num_items = sampler.train.num_users, sampler.train.num_items
        self.has_users, self.history, self.loss = True, 0, BPR()


def implicit_model(train: Interactions, iterations: int) -> BayesianPersonalizedRanking:
    """Fitted with one thread, defaults otherwise (learning rate .01, regularisation .01)."""
    shape = (train.num_users, train.num_items)
    matrix = csr_matrix((np.ones(len(train), np.float32), train.item_idx, train.indptr), shape)
    model = BayesianPersonalizedRanking(factors=DIM, iterations=iterations, num_threads=1, random_state=0)
    model.fit(matrix, show_progress=False)
    return model


def spent(call: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    began = time.process_time()
    call()
    return time.process_time() - began


def throughput(batch_size: int, pool: int) -> None:
    """Print triplets and pairs a CPU second of both."""
    train, _ = simulated(*LARGE)
    start = spent(lambda: implicit_model(train, 1))
    each = (spent(lambda: implicit_model(train, 1 + IMPLICIT_EPOCHS)) - start) / IMPLICIT_EPOCHS
    towers = Towers(train, batch_size, pool)
    towers.step()
    towers.pairs = towers.triplets = 0
    cpu = spent(lambda: [towers.step() for _ in range(OUR_STEPS)])
    theirs, ours, pairs = len(train) / each / 1e6, towers.triplets / cpu / 1e6, towers.pairs / cpu / 1e6
    print(f"implicit {theirs:6.2f} M triplets a CPU second, as many pairs")
    print(f"ours     {ours:6.2f} M triplets a CPU second ({ours / theirs:.1f} x, bar .6), {pairs:.3f} M pairs")


def quality(batch_size: int, pool: int, seconds: float) -> None:
    """Print what both have learned after equal CPU time."""
    train, held = simulated(*SMALL)
    each = spent(lambda: implicit_model(train, IMPLICIT_EPOCHS)) / IMPLICIT_EPOCHS
    model = implicit_model(train, max(1, round(seconds / each)))
    towers, cpu = Towers(train, batch_size, pool), 0.0
    while cpu < seconds:
        cpu += spent(towers.step)
    ones = np.ones((train.num_users, 1), np.float32)
    found = {
        "popular": (ones, train.item_counts.astype(np.float32)[:, None]),
        "implicit": (model.user_factors, model.item_factors),
        "ours": towers.vectors(),
    }
    for name, (users, items) in found.items():
        print(f"{name:8} NDCG@{CUTOFF} {ndcg(users, items, train, held):.4f}")


def main() -> None:
    """Print both races."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--pool", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(machine("torch", "implicit", "numpy"))
    throughput(given.batch, given.pool)
    print(f"after {given.seconds:.0f} CPU seconds each:")
    quality(given.batch, given.pool, given.seconds)


if __name__ == "__main__":
    main()
