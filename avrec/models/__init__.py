"""Models: tensors in, tensors out, so that every part exports. Nothing here knows ids, files or configuration.

Axes: B users in the batch, N items, D embedding, M modalities, T tokens, L history length, F feature dimensions.
"""
