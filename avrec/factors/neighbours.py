"""Item-item neighbour matrices over which a trained item table can be propagated.

All are (N, N) scipy CSR over the whole catalogue with rows that sum to 1, or to 0 where an item has no neighbour. The recipe
that was measured on short videos mixes them as `M = .3 P3 + .1 Jaccard + .3 content` over trained items and replaces the item
table E by `E + M (E + M E)`.
"""

import numpy as np
from scipy.sparse import csr_array

from avrec.core.arrays import Bool, Float32, Float64, Int64
from avrec.core.interactions import Interactions
from avrec.factors.matrix import Csr, interaction_matrix, row_normalised
from avrec.factors.similarity import cosine_similarity, product_similarity


def p3_neighbours(train: Interactions, user_power: float = -1.5, num_neighbours: int = 5) -> Csr:
    """The items reached most from each item over the users they share.

    `P = R' diag(n_u ^ user_power) R` without its diagonal, where R is 1 for every event and n_u counts a user's items; a
    negative power keeps users with long histories from dominating (the three-step walk of Cooper et al., 2014, has -1 and
    divides by item counts as well).

    Returns:
        (N, N), at most `num_neighbours` a row; items without a training event have an empty row and are nobody's neighbour.
    """
    seen = interaction_matrix(train, weighted=False)
    counts = np.diff(seen.indptr).astype(np.float64)
    per_user = np.power(counts, user_power, out=np.zeros_like(counts), where=counts > 0)
    weighted: csr_array[np.float64, tuple[int, int]] = csr_array(
        (np.repeat(per_user, np.diff(seen.indptr)), seen.indices, seen.indptr), shape=seen.shape
    )
    product = product_similarity(csr_array(seen.T), weighted, _unchanged, num_neighbours)
    return row_normalised(product)


def jaccard_neighbours(train: Interactions, num_neighbours: int = 20) -> Csr:
    """The items whose audiences overlap most with each item's: `|A and B| / |A or B|` over sets of users (Jaccard, 1901).

    Returns:
        (N, N), at most `num_neighbours` a row.
    """
    seen = interaction_matrix(train, weighted=False)
    counts = np.bincount(seen.indices, minlength=train.num_items).astype(np.float64)

    def jaccard(row: Int64, column: Int64, shared: Float64) -> Float64:
        return np.asarray(shared / (counts[row] + counts[column] - shared), np.float64)

    return row_normalised(product_similarity(csr_array(seen.T), seen, jaccard, num_neighbours))


def content_neighbours(vectors: Float32, present: Bool, candidates: Bool, num_neighbours: int = 10) -> Csr:
    """The candidates that resemble each item most by cosine, with the cosines as weights.

    Rows are made for every present item, candidate or not: with trained items as candidates, the rows of cold items lead
    to what stands in for their missing factors, and the rows of trained items are the content part of the mix.

    Args:
        vectors: (N, F), for instance `avrec.factors.content.content_vectors`.
        present: (N,) items that have a vector.
        candidates: (N,) items that may be a neighbour.
        num_neighbours: entries a row keeps at most; only positive cosines count.
    """
    return row_normalised(cosine_similarity(vectors, present, candidates, num_neighbours))


def _unchanged(row: Int64, column: Int64, value: Float64) -> Float64:
    return value
