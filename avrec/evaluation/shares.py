"""How much of an item's content each modality makes up, over the catalogue.

# N items, M modalities
"""

from collections.abc import Sequence

import numpy as np

from avrec.core.arrays import Bool, Float32

PERCENTILES = (10, 50, 90)


def catalogue_shares(share_NM: Float32, present_NM: Bool, modalities: Sequence[str]) -> dict[str, float]:
    """Mean and percentiles of each modality's share: over the items with any content, and over those that have all of it.

    An item that has one modality alone gives it a share of 1, whatever the model thinks of it; only among items that have all
    of them do shares tell which one the model leans on.

    Args:
        share_NM: of the item tower, each row summing to 1, or to 0 for an item without any modality.
        present_NM: which modalities an item has.
        modalities: names of the columns.

    Returns:
        `share/audio`, the mean, and `share/audio/p10`, `p50`, `p90`, over all items that have any modality;
        `complete/share/audio` and so on over those that have every one; and how many these are, `share/items` and
        `complete/share/items`. A group without items has its count alone.
    """
    found: dict[str, float] = {}
    for prefix, chosen in (("", present_NM.any(axis=1)), ("complete/", present_NM.all(axis=1))):
        found[f"{prefix}share/items"] = int(chosen.sum())
        if chosen.any():
            shares = np.asarray(share_NM[chosen], np.float64)
            percentiles = np.percentile(shares, PERCENTILES, axis=0)
            for column, name in enumerate(modalities):
                found[f"{prefix}share/{name}"] = float(shares[:, column].mean())
                found |= {
                    f"{prefix}share/{name}/p{percent}": float(percentiles[row, column])
                    for row, percent in enumerate(PERCENTILES)
                }
    return found
