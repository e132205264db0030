"""A catalogue in clusters with users who lean towards some of them, and search written as plain loops."""

import numpy as np


def catalogue(num_items=3000, num_queries=300, dim=20, seed=0):
    """Items around 60 centres with lengths like popularities; users near mixtures of two centres, who ignore 4 coordinates.

    All numbers are eighths, so that every product and sum is exact in float32, whatever its order, and ties are ties.
    """
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((60, dim))
    items = centres[rng.integers(0, 60, num_items)] + 0.4 * rng.standard_normal((num_items, dim))
    items *= np.exp(0.3 * rng.standard_normal((num_items, 1)))
    items[:, -4:] *= 8  # loud coordinates that no user looks at
    queries = centres[rng.integers(0, 60, num_queries)] + centres[rng.integers(0, 60, num_queries)]
    queries += 0.5 * rng.standard_normal((num_queries, dim))
    queries[:, -4:] = 0
    return (np.round(8 * items) / 8).astype(np.float32), (np.round(8 * queries) / 8).astype(np.float32)


def naive_search(queries, items, k, seen=None, allowed=None, tie_order=None):
    """One query at a time, every score, a full sort by (-score, tie number)."""
    order = np.arange(len(items)) if tie_order is None else tie_order
    found = np.full((len(queries), k), -1)
    for row, query in enumerate(queries):
        scores = items.astype(np.float64) @ query.astype(np.float64)
        hidden = set() if seen is None else set(seen[1][seen[0][row] : seen[0][row + 1]].tolist())
        ranked = [
            item
            for item in np.lexsort((order, -scores)).tolist()
            if item not in hidden and (allowed is None or allowed[item])
        ]
        found[row, : len(ranked[:k])] = ranked[:k]
    return found


def share_found(found, true):
    """Mean share of each true list that was found."""
    return float(
        np.mean(
            [
                len(set(mine) & set(theirs) - {-1}) / (theirs >= 0).sum()
                for mine, theirs in zip(found, true, strict=True)
            ]
        )
    )
