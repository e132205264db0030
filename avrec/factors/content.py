"""Finished feature vectors of several modalities as one vector an item, comparable by cosine."""

from collections.abc import Mapping

import numpy as np

from avrec.core.arrays import Bool, Float32
from avrec.core.dataset import Feature
from avrec.core.errors import ConfigError


def content_vectors(
    features: Mapping[str, Feature], weights: Mapping[str, float], fitted_on: Bool
) -> tuple[Float32, Bool]:
    """Standardise each modality, scale each item's part to length `weight`, and lay the parts end to end.

    The cosine of two items that have every modality is then the average of the modalities' cosines weighted by the squares
    of `weights`. An absent modality is a part of zeros: it adds nothing, and the other parts decide.

    Args:
        features: modality to values (N, F_m), or (N, K, H) of K steps in time, which are laid end to end.
        weights: modality to a positive length of its part; modalities not named are left out.
        fitted_on: (N,) the items whose mean and deviation are taken (trained ones), where they have the modality.

    Returns:
        vectors (N, sum of F_m) and (N,) true for items with at least one of the modalities.

    Raises:
        ConfigError: a modality is not among the features, or none is named.
    """
    absent = sorted(set(weights) - set(features))
    if absent or not weights:
        raise ConfigError(
            f"content modalities {absent or list(weights)} were asked for; the data set has features {sorted(features)}. "
            "Name one or more that exist, or leave this method out."
        )
    parts = [weight * _unit_rows(features[modality], fitted_on) for modality, weight in weights.items()]
    present = np.logical_or.reduce([features[modality].present for modality in weights])
    return np.concatenate(parts, axis=1), present


def _unit_rows(feature: Feature, fitted_on: Bool) -> Float32:
    """Standardised rows of length 1; zeros where absent. In float64: float16 sources overflow in their sums otherwise."""
    values = feature.values.astype(np.float64).reshape(len(feature.values), -1)
    known = feature.present & fitted_on
    sample = values[known if known.sum() > 1 else feature.present]
    deviation = sample.std(axis=0) if len(sample) else np.ones(values.shape[1])
    mean = sample.mean(axis=0) if len(sample) else np.zeros(values.shape[1])
    standard = (values - mean) / np.where(deviation > 0, deviation, 1.0)
    standard[~feature.present] = 0.0
    length = np.linalg.norm(standard, axis=1, keepdims=True)
    return np.asarray(standard / np.where(length > 0, length, 1.0), np.float32)
