import numpy as np
import pytest

from avrec.core.errors import AvrecError
from avrec.retrieval.clusters import clusters, k_means, nearest


def planted(sizes, dim=8, seed=0):
    """Items around one axis each, whatever their lengths."""
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    vectors = np.eye(dim)[label] + 0.05 * rng.standard_normal((len(label), dim))
    return (vectors * np.exp(rng.standard_normal((len(label), 1)))).astype(np.float32), label


def test_planted_groups_are_found_whatever_their_lengths_and_the_largest_comes_first():
    vectors, label = planted([50, 200, 100])
    found = clusters(vectors, 3, num_representatives=5)
    assert found.sizes_K.tolist() == [200, 100, 50]
    for cluster, truth in enumerate([1, 2, 0]):
        assert (label[found.cluster_N == cluster] == truth).all()
        assert (label[found.representatives_KR[cluster]] == truth).all()


def test_representatives_are_the_nearest_to_the_centre_nearest_first():
    vectors, label = planted([30, 20])
    found = clusters(vectors, 2, num_representatives=25)
    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for cluster, group in enumerate([0, 1]):
        members = np.flatnonzero(label == group)
        centre = directions[members].sum(axis=0)
        order = members[np.argsort(-(directions[members] @ centre))]
        shown = found.representatives_KR[cluster]
        assert shown[: min(25, len(order))].tolist()[:10] == order[:10].tolist()
        assert (shown[len(order) :] == -1).all()


def test_the_same_seed_gives_the_same_clusters():
    vectors = np.random.default_rng(0).standard_normal((500, 6)).astype(np.float32)
    first, again, other = (clusters(vectors, 12, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.cluster_N, again.cluster_N)
    np.testing.assert_array_equal(first.representatives_KR, again.representatives_KR)
    assert (first.cluster_N != other.cluster_N).any()


def test_every_item_has_a_cluster_even_without_content():
    vectors, _ = planted([40, 40])
    vectors[:3] = 0
    found = clusters(vectors, 2)
    assert found.cluster_N.shape == (80,)
    assert found.sizes_K.sum() == 80
    assert set(found.cluster_N.tolist()) <= {0, 1}


@pytest.mark.parametrize("number", [0, 81])
def test_a_number_of_clusters_that_cannot_be_is_refused(number):
    with pytest.raises(AvrecError, match=f"num_clusters is {number}; expected 1 to 80"):
        clusters(planted([40, 40])[0], number)


def test_vectors_that_are_not_finite_are_refused():
    vectors, _ = planted([40, 40])
    vectors[9, 1] = np.nan
    with pytest.raises(AvrecError, match="item_vectors row 9 holds a value that is not finite"):
        clusters(vectors, 2)


def test_nearest_by_distance_and_by_direction():
    centres = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    points = np.array([[0.2, 0.1], [3.0, 4.0], [-5.0, -9.0]], np.float32)
    distances = ((points[:, None] - centres) ** 2).sum(axis=2)
    assert nearest(centres, points).tolist() == distances.argmin(axis=1).tolist() == [0, 1, 0]
    assert nearest(centres, points, directions=True).tolist() == (points @ centres.T).argmax(axis=1).tolist()


def test_as_many_cells_as_items():
    vectors = np.arange(10, dtype=np.float32)[:, None]
    _, cell = k_means(vectors, 10, 0)
    assert len(set(cell.tolist())) == 10
