"""Fusion: `fusion({modality: tokens_NTD}, {modality: mask_N}) -> (vector_ND, share_NM)`.

An absent modality is a mask; an item with none gets a defined vector, never NaN. A share says how much of the vector came
from each modality, in the order of the tower's modalities; it sums to 1, or to 0 where nothing is present.
"""
