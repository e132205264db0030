import numpy as np
import pytest
from scipy.sparse import csr_array, random_array

from avrec.factors import similarity
from avrec.factors.similarity import cosine_similarity, nearest_rows, product_similarity, top_k_rows


def naive_top_k(dense: np.ndarray, k: int) -> np.ndarray:
    kept = np.zeros_like(dense)
    for row, values in enumerate(dense):
        best = sorted((j for j in range(len(values)) if values[j] > 0), key=lambda j: (-values[j], j))[:k]
        kept[row, best] = values[best]
    return kept


def random_ties(seed: int, shape: tuple[int, int] = (20, 15)) -> csr_array:
    rng = np.random.default_rng(seed)
    matrix = csr_array(random_array(shape, density=0.5, rng=rng, dtype=np.float32))
    matrix.data = rng.integers(1, 4, len(matrix.data)).astype(np.float32) / 7
    matrix.sort_indices()
    return matrix


@pytest.mark.parametrize("k", [1, 3, 8, 50])
def test_top_k_keeps_the_largest_and_of_ties_the_first(k: int):
    for seed in range(20):
        matrix = random_ties(seed)
        assert np.array_equal(top_k_rows(matrix, k).toarray(), naive_top_k(matrix.toarray(), k))


def test_top_k_of_nothing_is_nothing():
    assert top_k_rows(csr_array((3, 4), dtype=np.float32), 2).nnz == 0


@pytest.mark.parametrize("block_products", [1, 50, 10**9])
def test_nearest_rows_keep_the_diagonal_and_need_no_square(monkeypatch, block_products):
    monkeypatch.setattr(similarity, "BLOCK_PRODUCTS", block_products)
    left, right = random_ties(1, (12, 9)), random_ties(2, (9, 30))
    found = nearest_rows(left, right, lambda row, column, value: value + column + 100 * row, 4)
    product = left.toarray().astype(np.float64) @ right.toarray().astype(np.float64)
    shifted = np.where(product > 0, product + np.arange(30) + 100 * np.arange(12)[:, None], 0)
    assert found.shape == (12, 30)
    assert np.allclose(found.toarray(), naive_top_k(shifted.astype(np.float32), 4), rtol=1e-6)


def test_nearest_rows_of_no_row_are_none():
    empty = csr_array((0, 9), dtype=np.float32)
    assert nearest_rows(empty, random_ties(2, (9, 30)), lambda row, column, value: value, 4).shape == (0, 30)


def test_similarities_take_eight_bytes_an_entry():
    found = product_similarity(random_ties(1, (12, 9)), random_ties(2, (9, 12)), lambda row, column, value: value, None)
    assert (found.data.itemsize, found.indices.itemsize) == (4, 4)


@pytest.mark.parametrize("num_neighbours", [None, 3])
@pytest.mark.parametrize("block_products", [1, 50, 10**9])
def test_product_equals_the_dense_product_in_any_blocks(monkeypatch, num_neighbours, block_products):
    monkeypatch.setattr(similarity, "BLOCK_PRODUCTS", block_products)
    left, right = random_ties(1, (12, 9)), random_ties(2, (9, 12))
    dense = left.toarray().astype(np.float64) @ right.toarray().astype(np.float64)
    np.fill_diagonal(dense, 0)
    expected = (2 * dense).astype(np.float32)
    if num_neighbours is not None:
        expected = naive_top_k(expected, num_neighbours)
    found = product_similarity(left, right, lambda row, column, value: 2 * value, num_neighbours)
    assert found.dtype == np.float32
    assert np.allclose(found.toarray(), expected, rtol=1e-6)


def test_product_hands_global_rows_and_columns_to_the_rescaling(monkeypatch):
    monkeypatch.setattr(similarity, "BLOCK_PRODUCTS", 1)
    full = csr_array(np.ones((4, 4), np.float32))
    found = product_similarity(full, full, lambda row, column, value: 10.0 * row + column, None)
    expected = 10.0 * np.arange(4)[:, None] + np.arange(4)
    np.fill_diagonal(expected, 0)
    assert np.array_equal(found.toarray(), expected)


def naive_cosine(vectors, present, candidates, k):
    cosine = np.zeros((len(vectors), len(vectors)))
    for i in range(len(vectors)):
        for j in range(len(vectors)):
            if i != j and present[i] and present[j] and candidates[j]:
                length = np.linalg.norm(vectors[i]) * np.linalg.norm(vectors[j])
                cosine[i, j] = vectors[i] @ vectors[j] / length if length else 0.0
    return naive_top_k(np.round(cosine, 6), k)


@pytest.mark.parametrize("block_scores", [1, 64, 10**9])
def test_cosine_equals_a_loop_in_any_blocks(monkeypatch, block_scores):
    monkeypatch.setattr(similarity, "BLOCK_SCORES", block_scores)
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((15, 4)).astype(np.float32)
    vectors[3] = 0
    present, candidates = rng.random(15) < 0.8, rng.random(15) < 0.7
    found = cosine_similarity(vectors, present, candidates, 3)
    assert np.allclose(found.toarray(), naive_cosine(vectors, present, candidates, 3), atol=2e-6)


def test_equal_rows_tie_and_the_smaller_index_wins():
    rng = np.random.default_rng(1)
    vectors = np.repeat(rng.standard_normal((3, 64)).astype(np.float32), 5, axis=0)  # five copies of three sounds
    everything = np.ones(15, np.bool_)
    found = cosine_similarity(vectors, everything, everything, 2).toarray()
    assert [np.flatnonzero(row).tolist() for row in found[:3]] == [[1, 2], [0, 2], [0, 1]]
    assert np.flatnonzero(found[9]).tolist() == [5, 6]


def test_no_candidates_no_neighbours():
    everything, nothing = np.ones(4, np.bool_), np.zeros(4, np.bool_)
    assert cosine_similarity(np.ones((4, 2), np.float32), everything, nothing, 2).nnz == 0
    assert cosine_similarity(np.ones((4, 2), np.float32), nothing, everything, 2).nnz == 0
