import numpy as np
import pytest

from avrec.core.dataset import Feature
from avrec.core.errors import ConfigError
from avrec.factors.content import content_vectors


def feature(rows: int, dim: int, seed: int, absent: tuple[int, ...] = ()) -> Feature:
    rng = np.random.default_rng(seed)
    values = (5 + 3 * rng.standard_normal((rows, dim))).astype(np.float32)
    present = np.ones(rows, np.bool_)
    present[list(absent)] = False
    values[~present] = 0
    return Feature(values, present)


def test_parts_are_standardised_by_the_named_items_and_have_the_asked_length():
    features = {"audio": feature(8, 3, 0), "visual": feature(8, 5, 1)}
    fitted = np.array([True] * 6 + [False] * 2)
    vectors, present = content_vectors(features, {"visual": 1.0, "audio": 0.5}, fitted)
    assert vectors.shape == (8, 8) and vectors.dtype == np.float32 and present.all()
    values = features["visual"].values.astype(np.float64)
    standard = (values - values[:6].mean(axis=0)) / values[:6].std(axis=0)
    expected = standard / np.linalg.norm(standard, axis=1, keepdims=True)
    assert np.allclose(vectors[:, :5], expected, atol=1e-6)
    assert np.allclose(np.linalg.norm(vectors[:, 5:], axis=1), 0.5, atol=1e-6)


def test_the_scale_of_a_modality_does_not_matter():
    small = feature(9, 4, 2)
    large = Feature(small.values * 1000, small.present)
    everything = np.ones(9, np.bool_)
    one, _ = content_vectors({"audio": small}, {"audio": 1.0}, everything)
    other, _ = content_vectors({"audio": large}, {"audio": 1.0}, everything)
    assert np.allclose(one, other, atol=1e-5)


def test_an_absent_modality_is_zeros_and_an_item_without_any_is_not_present():
    features = {"audio": feature(6, 2, 0, absent=(1, 2)), "visual": feature(6, 3, 1, absent=(2,))}
    vectors, present = content_vectors(features, {"audio": 1.0, "visual": 1.0}, np.ones(6, np.bool_))
    assert present.tolist() == [True, True, False, True, True, True]
    assert not vectors[1, :2].any() and vectors[1, 2:].any() and not vectors[2].any()


def test_absent_rows_do_not_enter_the_statistics():
    whole = feature(7, 3, 4)
    padded = Feature(np.vstack([whole.values, np.zeros((3, 3), np.float32)]), np.arange(10) < 7)
    one, _ = content_vectors({"audio": whole}, {"audio": 1.0}, np.ones(7, np.bool_))
    other, _ = content_vectors({"audio": padded}, {"audio": 1.0}, np.ones(10, np.bool_))
    assert np.allclose(other[:7], one, atol=1e-6)


def test_a_constant_column_and_a_single_item_are_finite():
    constant = Feature(np.full((4, 2), 3, np.float32), np.ones(4, np.bool_))
    vectors, _ = content_vectors({"audio": constant}, {"audio": 1.0}, np.ones(4, np.bool_))
    assert not vectors.any()
    nobody = Feature(np.zeros((4, 2), np.float32), np.zeros(4, np.bool_))
    vectors, present = content_vectors({"audio": nobody}, {"audio": 1.0}, np.ones(4, np.bool_))
    assert not vectors.any() and not present.any()


def test_unknown_modality_is_named_with_those_that_exist():
    with pytest.raises(ConfigError, match=r"\['smell'\].*\['audio'\]"):
        content_vectors({"audio": feature(4, 2, 0)}, {"smell": 1.0}, np.ones(4, np.bool_))
    with pytest.raises(ConfigError, match="features \\[\\]"):
        content_vectors({}, {}, np.ones(4, np.bool_))
