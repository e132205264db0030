"""CPU time of a training step on id tables, and how it grows with them: ours against `nn.Embedding` under dense Adam.

`python benchmarks/id_step.py [--rows 100000] [--batch 2048] [--turns 7]` prints, for each objective, milliseconds of forward, loss,
backward and optimiser step on the same batches, and the ratios. `--growth` prints ours at 10 thousand, 1 million and 10 million
rows with the largest tensor a step makes. The peer is the same model written plainly: `nn.Embedding` tables, the same scores and
loss, `torch.optim.Adam` as it comes (a loop over parameters), and fused. Both start equal, and their losses are compared before
anything is timed. Run with OMP_NUM_THREADS=1 on an idle core.
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch
from pairs import in_turns, machine, medians
from torch import Tensor, nn

from avrec.core.interactions import Interactions
from avrec.data.candidates import Candidates, SharedPool
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
from avrec.training.row_adagrad import RowAdagrad
from avrec.training.row_adam import RowAdam

DIM, RATE, KAPPA, STEPS = 64, 0.003, 5.0, 8
GROWTH = (10_000, 1_000_000, 10_000_000)
BARS = {"Adam": 4.0, "fused Adam": 1.8}

# name: (candidates, loss, longest history, share of the rows that are users)
OBJECTIVES: dict[str, tuple[Candidates, nn.Module, int, float]] = {
    "BPR, user table, a pool of 16": (SharedPool(16), BPR(), 0, 0.75),
    "BPR, user table, a pool of 64": (SharedPool(64), BPR(), 0, 0.75),
    "softmax, user table, a pool of 128": (SharedPool(128), Softmax(), 0, 0.75),
    "softmax, histories of 20, a pool of 512": (SharedPool(512), Softmax(), 20, 0.0),
}


class World:
    """Batches over a catalogue of `rows` users and items, and what both sides train on."""

    def __init__(self, name: str, rows: int, batch_size: int) -> None:
        candidates, self.loss, self.history, user_share = OBJECTIVES[name]
        self.num_users = max(int(rows * user_share), 4 * batch_size)
        self.num_items = rows - int(rows * user_share)
        rng = np.random.default_rng(0)
        events = np.repeat(np.arange(4 * batch_size), 24) * (self.num_users // (4 * batch_size))
        items = (self.num_items * rng.random(len(events)) ** 2).astype(np.int64)
        pairs = np.unique(np.stack([events, items], axis=1), axis=0)
        train = Interactions.from_events(pairs[:, 0], pairs[:, 1], self.num_users, self.num_items)
        policy = PairPolicy(max_history_items=self.history)
        self.sampler = PairSampler(train, candidates, batch_size, 0, policy)
        self.batches = [TensorBatch.of(self.sampler.batch(0, index)) for index in range(STEPS)]
        self.has_users = user_share > 0


class Ours:
    """A step as `TwoTowerModule` makes it."""

    def __init__(self, world: World, start: Callable[[Tensor], object], optimizer: type[RowAdam] = RowAdam) -> None:
        users = UserTable(world.num_users, DIM, enabled=world.has_users, kappa=KAPPA, sparse=True)
        items = ItemTable.__new__(ItemTable)
        nn.Module.__init__(items)
        items.dim, items.tied, items.sparse, items.dropout, items.history_ND = DIM, True, True, 0.0, None
        items.output_ND = nn.Parameter(torch.zeros(world.num_items, DIM))
        items.bias_N = nn.Parameter(torch.zeros(world.num_items))
        tower = UserTower(DIM, 0, NormalizedSum(), NormalizedSum(), world.history)
        self.model = TwoTower(ItemTower({}, None, DIM), tower, items, users, 0)
        self.model.user_evidence_U.fill_(24.0)
        with torch.no_grad():
            start(items.output_ND)
            start(users.residual_UD)
        groups = ParameterGroups(optimizer, RATE)
        nothing = CatalogueFeatures({}, {})
        self.module = TwoTowerModule(self.model, nothing, world.loss, LossWeights(), groups, lambda model: {})
        self.optimizer = groups(self.model)

    def step(self, batch: TensorBatch) -> Tensor:
        """One step; the loss."""
        loss = self.module.losses(batch)["id"]
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()


class Peer:
    """The same model as anyone would write it."""

    def __init__(self, world: World, ours: Ours, fused: bool) -> None:
        self.world = world
        self.items = nn.Embedding(world.num_items, DIM, _weight=ours.model.item_table.output_ND.detach().clone())
        self.bias = nn.Embedding(world.num_items, 1, _weight=torch.zeros(world.num_items, 1))
        residual_UD = ours.model.user_table.residual_UD
        self.users = nn.Embedding(*residual_UD.shape, _weight=residual_UD.detach().clone())
        self.constant = nn.Parameter(torch.zeros(DIM))
        tables = [self.items, self.bias, *([self.users] if world.has_users else [])]
        parameters = [self.constant, *(table.weight for table in tables)]
        self.optimizer = torch.optim.Adam(parameters, RATE, fused=fused or None)

    def step(self, batch: TensorBatch) -> Tensor:
        """One step; the loss."""
        user_BD = self.constant.expand(len(batch.user_idx_B), DIM)
        if self.world.has_users:
            user_BD = user_BD + self.users(batch.user_idx_B) * (24.0 / (24.0 + KAPPA))
        if self.world.history:
            weights_BL = batch.history_weight_BL * batch.history_mask_BL
            pooled_BD = (weights_BL.unsqueeze(2) * self.items(batch.history_idx_BL)).sum(dim=1)
            user_BD = user_BD + pooled_BD / weights_BL.sum(dim=1, keepdim=True).clamp(min=1e-12) ** 0.5
        scores_BN = user_BD @ self.items(batch.candidate_idx_N).T + self.bias(batch.candidate_idx_N).T
        if batch.own_column:
            own_B = (user_BD * self.items(batch.positive_B)).sum(dim=1) + self.bias(batch.positive_B)[:, 0]
            scores_BN = torch.cat([own_B.unsqueeze(1), scores_BN], dim=1)
        loss = self.world.loss(scores_BN, batch.target_BN, batch.valid_BN, batch.log_q_N).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def race(name: str, rows: int, batch_size: int, turns: int) -> None:
    """Print the milliseconds of a step of all three."""
    torch.manual_seed(0)
    world = World(name, rows, batch_size)
    ours = Ours(world, lambda table: nn.init.normal_(table, std=0.05))
    start = ours.model.state_dict()
    sides: dict[str, Ours | Peer] = {"RowAdam": ours, "RowAdagrad": Ours(world, lambda table: None, RowAdagrad)}
    sides["RowAdagrad"].model.load_state_dict(start)
    sides |= {"Adam": Peer(world, ours, False), "fused Adam": Peer(world, ours, True)}
    first = {side: float(runner.step(world.batches[0])) for side, runner in sides.items()}
    assert np.allclose(list(first.values()), first["Adam"], rtol=1e-5), first
    calls = {
        side: (lambda runner=runner: [runner.step(one) for one in world.batches]) for side, runner in sides.items()
    }
    found = {side: 1000 * cpu / STEPS for side, (cpu, _) in medians(in_turns(calls, turns)).items()}
    print(
        f"{name}: {world.num_items:,} items, {world.num_users if world.has_users else 0:,} users, batch {batch_size:,}"
    )
    for side, spent in found.items():
        ratios = ", ".join(f"{spent / found[one]:.2f} x {one}" for one in ("RowAdam", "RowAdagrad"))
        bar = f"  {ratios}, bar {BARS[side]}" if side in BARS else ""
        print(f"  {side:12} {spent:8.2f} CPU ms a step{bar}")


def grow(name: str, rows: int, batch_size: int, turns: int) -> None:
    """Print ours for one number of rows; tables start at zero, whose untouched pages take no memory."""
    world = World(name, rows, batch_size)
    ours = Ours(world, lambda table: None)
    calls = {"step": lambda: [ours.step(one) for one in world.batches], "batch": lambda: world.sampler.batch(0, 0)}
    found = medians(in_turns(calls, turns))
    touched = ours.model.item_table.output_ND.grad._nnz()
    print(
        f"  {rows:>10,} rows: step {1000 * found['step'][0] / STEPS:7.2f} CPU ms, {touched:,} item rows touched; "
        f"drawing a batch {1000 * found['batch'][0]:7.2f} CPU ms"
    )


def main() -> None:
    """Print the races, or the growth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--growth", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(machine("torch", "numpy"))
    for name in OBJECTIVES:
        if given.growth:
            print(name)
            for rows in GROWTH:
                grow(name, rows, given.batch, given.turns)
        else:
            race(name, given.rows, given.batch, given.turns)


if __name__ == "__main__":
    main()
