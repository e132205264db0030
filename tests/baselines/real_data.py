"""Real logs as data sets, and an evaluator written as plain loops: the ruler that the published floors were read with."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from avrec.core.dataset import Dataset, Feature, HeldOut
from avrec.core.ids import IdMap
from avrec.core.interactions import Interactions
from avrec.core.query import Scorer, UserQuery


def _ids(number: int) -> IdMap:
    return IdMap([f"{row:05d}" for row in range(number)])


def tiktok(shared: Path) -> Dataset:
    """The given split; users and items are numbered from 0 without gaps."""
    folder = shared / "data" / "tiktok"
    table = pq.read_table(folder / "interactions.parquet")
    user, item, split = (table[name].to_numpy(zero_copy_only=False) for name in ("user_id", "item_id", "split"))
    num_users, num_items = 9308, 6710
    parts = [
        Interactions.from_events(user[split == name], item[split == name], num_users, num_items)
        for name in ("train", "val", "test")
    ]
    everything = np.ones(num_items, np.bool_)
    features = {
        name: Feature(np.load(folder / f"{name}.npy", allow_pickle=False), everything) for name in ("audio", "visual")
    }
    return Dataset("tiktok", "tiktok", _ids(num_users), _ids(num_items), *parts, features)


def movielens(shared: Path, validation_share: float) -> Dataset:
    """Each user's last fifth by time is test (rounded; ties in file order), and before it perhaps a part for validation."""
    table = pq.read_table(shared / "data" / "ml-100k" / "interactions.parquet")
    user, item, time = (table[name].to_numpy() for name in ("user_id", "item_id", "timestamp"))
    order = np.lexsort((np.arange(len(user)), time, user))
    user, item, time = user[order] - 1, item[order] - 1, time[order]
    counts = np.bincount(user)
    left = (np.cumsum(counts) - 1)[user] - np.arange(len(user))  # events of the user that come later
    num_test, num_validation = (np.round(share * counts).astype(int)[user] for share in (0.2, validation_share))
    test = left < num_test
    validation = ~test & (left < num_test + num_validation)
    parts = [
        Interactions.from_events(user[chosen], item[chosen], 943, 1682, None, time[chosen])
        for chosen in (~test & ~validation, validation, test)
    ]
    return Dataset("ml-100k", "ml-100k", _ids(943), _ids(1682), *parts)


def evaluate(scorer: Scorer, dataset: Dataset, part: HeldOut, k: int = 20) -> tuple[float, float, float]:
    """Recall@k, NDCG@k over users, and recall of hits on cold items; the history is masked and a tie counts half."""
    history, target = dataset.history(part), dataset.target(part)
    users = np.flatnonzero(target.user_counts)
    recall, ndcg, cold = [], [], []
    for block in np.array_split(users, -(-len(users) // 512)):
        query = UserQuery.of_users(block, history)
        scores = scorer.score(query).astype(np.float64)
        assert np.isfinite(scores).all()
        scores[query.row, query.item_idx] = -np.inf
        for row, user in zip(scores, block, strict=True):
            items = target.item_idx[target.indptr[user] : target.indptr[user + 1]]
            rank = np.array([1 + (row > row[item]).sum() + 0.5 * ((row == row[item]).sum() - 1) for item in items])
            hit = rank <= k
            ideal = sum(1 / np.log2(place + 2) for place in range(min(len(items), k)))
            recall.append(hit.mean())
            ndcg.append((1 / np.log2(rank[hit] + 1)).sum() / ideal)
            cold.extend(hit[dataset.cold_items[items]])
    return float(np.mean(recall)), float(np.mean(ndcg)), float(np.mean(cold)) if cold else 0.0
