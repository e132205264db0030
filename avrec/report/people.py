"""Who is shown with his history and his list, and what each suggestion's score is made of.

# B users, L suggestions, M modalities, D width of the ids
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from avrec.core.arrays import Float32, Float64, Int64
from avrec.evaluation.evaluate import Evaluation
from avrec.evaluation.question import Question
from avrec.training.scorer import TwoTowerScorer

NUM_PEOPLE = 10
NUM_TILES = 6
IDS, BIAS = "ids", "bias"


@dataclass(frozen=True)
class Person:
    """One test user.

    Attributes:
        user: dense index.
        history: items, newest first, at most `NUM_TILES`.
        num_history: of all.
        suggestions: items, best first, at most `NUM_TILES`.
        hits: whether each of them is held out.
        reasons: of each, part -> share of what lifts it above the average item of its kind: `ids`, `bias`, and each
            modality. They sum to 1, or all are 0 where nothing does.
        recall: of his whole list.
        num_targets: what was to be found.
    """

    user: int
    history: Sequence[int]
    num_history: int
    suggestions: Sequence[int]
    hits: Sequence[bool]
    reasons: Sequence[Mapping[str, float]]
    recall: float
    num_targets: int


def people(
    question: Question, evaluation: Evaluation, scorer: TwoTowerScorer, number: int = NUM_PEOPLE
) -> list[Person]:
    """Users drawn evenly from the worst served to the best served, by recall@20 and then by index.

    Args:
        question: of the test part.
        evaluation: of `scorer` on it, with lists kept.
        scorer: the model.
        number: of users.
    """
    assert evaluation.top is not None
    recall = evaluation.per_user["recall@20"]
    order = np.lexsort((question.users, recall))
    places = np.unique(np.linspace(0, len(order) - 1, min(number, len(order))).round().astype(np.int64))
    rows = order[places][::-1]
    users = question.users[rows]
    lists = evaluation.top.item_idx[rows, :NUM_TILES]
    parts = reasons(scorer, np.ascontiguousarray(scorer.user_vectors(question.query(users))), lists)
    history = question.history
    found = []
    for place, row in enumerate(rows):
        start, end = history.indptr[users[place] : users[place] + 2]
        shown = lists[place] >= 0
        found.append(
            Person(
                int(users[place]),
                history.item_idx[start:end][::-1][:NUM_TILES].tolist(),
                int(end - start),
                lists[place][shown].tolist(),
                evaluation.top.hit[row, :NUM_TILES][shown].tolist(),
                [{name: float(values[place, at]) for name, values in parts.items()} for at in np.flatnonzero(shown)],
                float(recall[row]),
                int(question.targets_of(users[place : place + 1])[0][-1]),
            )
        )
    return found


def reasons(scorer: TwoTowerScorer, user_vectors: Float32, lists_BL: Int64) -> dict[str, Float64]:
    """What lifts each suggestion above the average item of its kind, as shares of the parts that do.

    A score is an inner product of segments, so its difference from the user's mean score is a sum: of ids, of the bias, and of
    content, which is divided among modalities by their shares of the item's vector. Parts that speak against the item count
    as nothing. Trained and cold items are compared with their own kind: else the offset, which all cold items share, would
    stand for popularity.

    Args:
        scorer: gives item vectors, shares and the widths of the segments.
        user_vectors: (B, D + 1 + C).
        lists_BL: items; -1 is answered with numbers that mean nothing.

    Returns:
        part -> (B, L).
    """
    vectors, dim = scorer.item_vectors, scorer.model.item_tower.id_dim
    cold_N = (scorer.model.item_evidence_N <= 0).cpu().numpy()
    means = [vectors[kind].mean(axis=0, dtype=np.float64) if kind.any() else vectors[0] for kind in (~cold_N, cold_N)]
    above = vectors[lists_BL] - np.stack(means)[cold_N[lists_BL].astype(np.int64)]  # (B, L, D + 1 + C)
    product = above * user_vectors[:, None, :]
    content_BL = product[..., dim + 1 :].sum(axis=2)
    found: dict[str, Float64] = {IDS: product[..., :dim].sum(axis=2), BIAS: product[..., dim]}
    share_BLM = scorer.share.float().cpu().numpy()[lists_BL]
    for place, name in enumerate(scorer.model.item_tower.modalities):
        found[name] = content_BL * share_BLM[..., place]
    lifting = {name: np.maximum(values, 0.0) for name, values in found.items()}
    total = np.sum(list(lifting.values()), axis=0)
    return {name: values / np.where(total > 0, total, 1.0) for name, values in lifting.items()}
