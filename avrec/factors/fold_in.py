"""User factors from a history and the item factors alone: exactly, by one fixed D x D map, or by a map that is learned.

Notation: Y (N, D) item factors, lambda the regularisation, c_j = alpha * w_j the confidence of history item j. Hu, Koren and
Volinsky (2008), equation 4, gives the user of a history as
`x = (Y'Y + sum_j (c_j - 1) y_j y_j' + lambda I)^-1 sum_j c_j y_j`.
"""

from collections.abc import Iterator

import numpy as np

from avrec.core.arrays import Float32, Int64
from avrec.factors.matrix import Csr

BLOCK_VALUES = 8_000_000


def fold_in_map(item_factors: Float32, regularisation: float) -> Float32:
    """`A = (Y'Y + lambda I)^-1`, so that `u = A sum_j y_j` is the factor of a history.

    Exact only where every confidence is 1 (alpha = 1 and weights 1): then the correction `sum_j (c_j - 1) y_j y_j'` is
    zero. The larger alpha, the more a real ALS factor departs from it; `solve_users` stays exact.

    Returns:
        (D, D) symmetric.
    """
    factors = item_factors.astype(np.float64)
    gram = factors.T @ factors + regularisation * np.eye(factors.shape[1])
    inverse = np.linalg.inv(gram)
    return ((inverse + inverse.T) / 2).astype(np.float32)


def ridge_map(history_UD: Float32, user_UD: Float32, share: float = 0.01) -> Float32:
    """`A = (S'S + lambda I)^-1 S'X`: the map that best gives the trained user factors X from what S says of their histories.

    For a factorisation whose users have no closed form, such as BPR, this is a fold-in: S are, for instance, the mean item
    factors of the histories that X was trained on.

    Args:
        history_UD: S, one row a user.
        user_UD: X, one row a user.
        share: lambda in shares of the mean of the diagonal of S'S.

    Returns:
        (D, D), `S A` being the estimate of X; zeros where S is all zeros.
    """
    inputs, outputs = history_UD.astype(np.float64), user_UD.astype(np.float64)
    gram = inputs.T @ inputs
    scale = float(np.trace(gram)) / len(gram)
    if scale == 0.0:
        return np.zeros((gram.shape[1], outputs.shape[1]), np.float32)
    return np.linalg.solve(gram + share * scale * np.eye(len(gram)), inputs.T @ outputs).astype(np.float32)


def solve_users(item_factors: Float32, regularisation: float, history: Csr, alpha: float = 1.0) -> Float32:
    """The exact least-squares factor of each history, in float64 inside.

    Args:
        item_factors: (N, D).
        regularisation: lambda, positive.
        history: (B, N) weights of the items each user consumed.
        alpha: confidence is `alpha * weight`.

    Returns:
        (B, D); zeros for an empty history.
    """
    factors = item_factors.astype(np.float64)
    num_factors = factors.shape[1]
    gram = factors.T @ factors + regularisation * np.eye(num_factors)
    users = np.zeros((history.shape[0], num_factors), np.float64)
    for rows, item_BL, confidence_BL in _padded(history, alpha, num_factors):
        items_BLD = factors[item_BL]
        correction_BL = np.where(confidence_BL > 0, confidence_BL - 1.0, 0.0)
        weighted_BLD = items_BLD * correction_BL[:, :, None]
        system_BDD = gram + weighted_BLD.transpose(0, 2, 1) @ items_BLD
        right_BD = np.einsum("bl,bld->bd", confidence_BL, items_BLD)
        users[rows] = np.linalg.solve(system_BDD, right_BD[:, :, None])[:, :, 0]
    return users.astype(np.float32)


def _padded(history: Csr, alpha: float, num_factors: int) -> Iterator[tuple[Int64, Int64, np.ndarray]]:
    """Users of similar history length together, padded: their rows, items (B, L) and confidences (B, L), 0 in the padding."""
    counts = np.diff(history.indptr).astype(np.int64)
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] > 0]
    start = 0
    while start < len(order):
        # A user costs a D x D system and L x D gathered factors; the longest history of the block decides L.
        cost = np.maximum.accumulate(counts[order[start:]] * num_factors + num_factors**2)
        fits = cost * np.arange(1, len(cost) + 1) <= BLOCK_VALUES
        stop = start + max(1, int(fits.sum()))
        rows = order[start:stop]
        length = int(counts[rows].max())
        offset = np.arange(length)[None, :]
        valid = offset < counts[rows][:, None]
        position = np.where(valid, history.indptr[rows][:, None] + offset, 0)
        confidence = np.where(valid, alpha * history.data[position].astype(np.float64), 0.0)
        yield rows, history.indices[position].astype(np.int64), confidence
        start = stop
