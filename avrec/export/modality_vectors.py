"""What each modality's encoder makes of the items, by itself: the vectors behind "more like this, by sound".

Axes: N items, F feature dimensions, K steps, H width of a step, T tokens, W width of the tokens.
"""

import torch

from avrec.core.arrays import Float32
from avrec.models.two_tower import CatalogueFeatures, TwoTower

BLOCK_ITEMS = 8192


@torch.no_grad()
def modality_vectors(model: TwoTower, catalogue: CatalogueFeatures) -> dict[str, Float32]:
    """{modality: (N, W)}: the encoder's tokens before fusion, averaged over time; zero for an item without the modality.

    Args:
        model: trained.
        catalogue: features (N, F) or steps (N, K, H) of all items.
    """
    was_training = model.training
    model.eval()
    found = {}
    for name in model.item_tower.modalities:
        values, mask_N = catalogue.values[name], catalogue.masks[name]
        encode = model.item_tower.encoders[name]
        blocks = [
            encode(values[start : start + BLOCK_ITEMS]).mean(dim=1) for start in range(0, len(values), BLOCK_ITEMS)
        ]
        vectors_NW = torch.cat(blocks) * mask_N.unsqueeze(1)
        found[name] = vectors_NW.cpu().float().contiguous().numpy()
    model.train(was_training)
    return found
