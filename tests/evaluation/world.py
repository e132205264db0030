"""Hand-made data sets and scorers, and naive loops that measure the same things in another way."""

import math

import numpy as np

from avrec.core.dataset import Dataset, Feature, tie_order
from avrec.core.ids import IdMap
from avrec.core.interactions import Interactions


def dataset(train, validation, test, num_users, num_items, features=None):
    """A data set from lists of (user, item) pairs."""

    def part(pairs):
        users, items = np.array(pairs, np.int64).reshape(-1, 2).T
        return Interactions.from_events(users, items, num_users, num_items)

    return Dataset(
        name="hand-made",
        content_hash="0" * 64,
        users=IdMap([f"u{user}" for user in range(num_users)]),
        items=IdMap([f"i{item}" for item in range(num_items)]),
        train=part(train),
        validation=part(validation),
        test=part(test),
        features=features or {},
    )


def random_dataset(seed, num_users=60, num_items=80, num_cold=12):
    """Users with several targets, new users, cold items at the end of the catalogue, and a modality that some items lack."""
    rng = np.random.default_rng(seed)

    def pairs(users, items, count):
        codes = rng.choice(len(users) * len(items), count, replace=False)
        return [(users[code // len(items)], items[code % len(items)]) for code in codes]

    warm, everything = range(num_items - num_cold), range(num_items)
    train = pairs(range(num_users - 5), warm, 6 * num_users)
    held_out = [pair for pair in pairs(range(num_users), everything, 7 * num_users) if pair not in set(train)]
    present = rng.random(num_items) < 0.7
    features = {"audio": Feature(np.zeros((num_items, 2), np.float32), present)}
    return dataset(train, held_out[::3], held_out[1::3] + held_out[2::3], num_users, num_items, features)


class Matrix:
    """A scorer that looks its answers up in a (num_users, num_items) matrix."""

    def __init__(self, scores):
        self.scores = np.asarray(scores, np.float32)

    def score(self, query):
        return self.scores[query.user_idx]


class Vectors:
    """A scorer that is an inner product."""

    def __init__(self, users, items):
        self.users, self.item_vectors = np.asarray(users, np.float32), np.asarray(items, np.float32)

    def user_vectors(self, query):
        return self.users[query.user_idx]

    def score(self, query):
        raise AssertionError("the fast path was not taken")


def events(interactions):
    """The items of each user as a list of sets."""
    return [
        set(interactions.item_idx[start:end].tolist())
        for start, end in zip(interactions.indptr[:-1], interactions.indptr[1:], strict=True)
    ]


def naive_rank(scores, target, candidates):
    """1 + greater + half of the other equals, by a loop over the candidates."""
    rank = 1.0
    for item in candidates:
        if item != target:
            rank += 1.0 if scores[item] > scores[target] else 0.5 if scores[item] == scores[target] else 0.0
    return rank


def naive_metrics(ranks, cutoff):
    """Recall, NDCG, MRR, average precision and hit of one user by their definitions."""
    ideal = sum(1 / math.log2(place + 1) for place in range(1, min(len(ranks), cutoff) + 1))
    gain = sum(1 / math.log2(rank + 1) for rank in ranks if rank <= cutoff)
    hits = [rank for rank in ranks if rank <= cutoff]
    above = {
        rank: sum(1.0 if other < rank else 0.5 if other == rank else 0.0 for other in ranks) + 0.5 for rank in hits
    }
    return {
        f"recall@{cutoff}": len(hits) / len(ranks),
        f"ndcg@{cutoff}": gain / ideal,
        f"mrr@{cutoff}": 1 / min(hits) if hits else 0.0,
        f"map@{cutoff}": sum(above[rank] / rank for rank in hits) / len(ranks),
        f"hit_rate@{cutoff}": float(bool(hits)),
    }


def naive_lists(scores, data, part):
    """What each user with a target would be shown, the whole catalogue long: {user: items}."""
    history, target, order = events(data.history(part)), events(data.target(part)), tie_order(data.items)
    return {
        user: sorted(
            (item for item in range(data.num_items) if item not in history[user] or item in target[user]),
            key=lambda item: (-scores[user][item], order[item]),
        )
        for user in range(data.num_users)
        if target[user]
    }


def naive_evaluation(scores, data, part, cutoffs, more=False):
    """All metrics of ranks of `evaluate` by loops over users, targets and items; `more` as with measures, of the whole alone."""
    history, target = events(data.history(part)), events(data.target(part))
    trained = set(data.train.item_idx.tolist())
    active = set(np.flatnonzero(data.train.user_counts).tolist())
    count = {item: int((data.train.item_idx == item).sum()) for item in range(data.num_items)}
    tail = {
        item
        for item in trained
        if sum(count[other] for other in trained if count[other] <= count[item]) <= 0.2 * len(data.train)
    }
    values, shown = {}, {cutoff: set() for cutoff in cutoffs}
    for user in range(data.num_users):
        if not target[user]:
            continue
        candidates = [item for item in range(data.num_items) if item not in history[user] or item in target[user]]
        cold_candidates = [item for item in candidates if item not in trained]
        ranks = {item: naive_rank(scores[user], item, candidates) for item in target[user]}
        cold_ranks = {
            item: naive_rank(scores[user], item, cold_candidates) for item in target[user] if item not in trained
        }
        groups = {
            "": ranks,
            "cold/": {item: rank for item, rank in ranks.items() if item not in trained},
            "warm/": {item: rank for item, rank in ranks.items() if item in trained},
            "tail/": {item: rank for item, rank in ranks.items() if item in tail},
            "new_users/": ranks if user not in active else {},
            "cold_only/": cold_ranks,
        }
        for name, feature in data.features.items():
            groups[f"missing_{name}/"] = {item: rank for item, rank in ranks.items() if not feature.present[item]}
        for prefix, group in groups.items():
            for cutoff in cutoffs if group else ():
                for name, value in naive_metrics(list(group.values()), cutoff).items():
                    if name.startswith(("recall", "ndcg", "mrr")) or (more and not prefix):
                        values.setdefault(prefix + name, []).append(value)
    for items in naive_lists(scores, data, part).values():
        for cutoff in cutoffs:
            shown[cutoff] |= set(items[:cutoff])
    means = {name: float(np.mean(of_users)) for name, of_users in values.items()}
    return means | {f"coverage@{cutoff}": len(items) / data.num_items for cutoff, items in shown.items()}
