"""Fusion: `fusion({modality: tokens_NKD}, {modality: mask_N}) -> (vector_ND, share_NM)`; `base.Fusion` says what holds for all.

| class | the vector | share |
|---|---|---|
| `WeightedSum` | `sum_m w_m * part_m` of unit-length parts | energy |
| `ConcatenationFusion` | weighted parts laid end to end | energy |
| `GatedFusion` | the weighted sum with weights chosen for each item | gate |
| `AttentionFusion` | one learned query looks at all tokens | attention mass |
| `LatentFusion` | several learned queries, then a feed-forward layer | attention mass |
| `CrossAttentionFusion` | tokens look at the other modalities' tokens, then one query looks at them | attention mass |
"""
