"""Distances by products; nearest neighbours against scikit-learn; votes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from dbn_jax.embedding import pairwise


def points(n=23, dims=5, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dims)).astype(np.float32)


def distances(a, b):
    return ((np.float64(a)[:, None] - np.float64(b)[None]) ** 2).sum(axis=-1)


def all_distances(a, b):
    return np.asarray(jax.vmap(pairwise.squared_distances, (0, None))(jnp.asarray(a), b))


def test_squared_distances():
    a, b = points(9), points(4, seed=1)
    np.testing.assert_allclose(all_distances(a, jnp.asarray(b)), distances(a, b), rtol=1e-5)


def test_copies_are_at_distance_zero_whatever_the_rounding():
    x = 100 + points(60, dims=784)
    found = all_distances(x, jnp.asarray(x))
    np.testing.assert_array_equal(np.diag(found), 0)
    assert found[~np.eye(60, dtype=bool)].min() > 1000
    # The power: the product alone leaves something.
    plain = np.asarray(jnp.diag(2 * jnp.sum(x * x, axis=1)[:, None] - 2 * jnp.matmul(x, x.T)))
    assert np.abs(plain).max() > 0


@pytest.mark.parametrize("unit", [1e-30, 1.0, 1e30])
def test_centred_has_one_size(unit):
    x = np.float32(unit) * (points() + 3)
    found = np.asarray(pairwise.centred(jnp.asarray(x)))
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-6)
    assert np.abs(found).max() == pytest.approx(1)
    expected = points() - points().mean(axis=0)
    np.testing.assert_allclose(found, expected / np.abs(expected).max(), atol=1e-5)


def test_centred_copies_of_one_point_are_zero():
    np.testing.assert_allclose(pairwise.centred(jnp.full((5, 2), 3.0)), 0, atol=1e-6)
    np.testing.assert_array_equal(pairwise.centred(jnp.zeros((5, 2))), 0)


@pytest.mark.parametrize("block", [1, 4, 23, 100])
def test_nearest_are_those_of_scikit_learn(block):
    """Among others, for queries of their own; and among themselves, where none is its own."""
    x, queries = points(40), points(23, seed=1)
    neighbours = NearestNeighbors(n_neighbors=6).fit(x)
    found = pairwise.nearest(jnp.asarray(x), jnp.asarray(queries), count=6, block=block)
    np.testing.assert_array_equal(found, neighbours.kneighbors(queries)[1])
    found = pairwise.nearest(jnp.asarray(x), count=6, block=block)
    np.testing.assert_array_equal(found, neighbours.kneighbors()[1])


def test_of_equally_near_points_the_first_counts():
    x = jnp.asarray([[0.0], [1.0], [-1.0], [1.0]])
    np.testing.assert_array_equal(pairwise.nearest(x)[:, 0], [1, 3, 0, 1])


def test_memory_is_bounded_by_the_block():
    x = jnp.zeros((2048, 4))
    sizes = [
        pairwise.nearest.lower(x, block=block).compile().memory_analysis().temp_size_in_bytes
        for block in (16, 2048)
    ]
    assert sizes[0] < 12 * 16 * 2048 * 4 < 2048 * 2048 * 4 < sizes[1]


def test_leave_one_out_error():
    x = jnp.asarray([[0.0, 0.0], [0.1, 0.0], [5.0, 0.0], [5.1, 0.0], [5.25, 0.0]])
    assert pairwise.leave_one_out_error(x, np.array([0, 0, 1, 1, 1])) == 0
    # The last one's neighbour is of another class, and it is nobody's.
    assert pairwise.leave_one_out_error(x, np.array([0, 0, 1, 1, 7])) == pytest.approx(0.2)


def test_votes_and_ties():
    votes = np.array([[3, 1, 1, 0], [1, 2, 2, 1], [2, 1, 1, 2], [0, 1, 2, 3], [4, 0, 0, 0]])
    np.testing.assert_array_equal(pairwise._elected(votes), [1, 1, 2, 0, 0])
    np.testing.assert_array_equal(pairwise._elected(votes[:, :1]), [3, 1, 2, 0, 4])
    # However many there are: 25 votes against 25, of which one has the nearest.
    many = np.tile([1, 0], (1, 25))
    np.testing.assert_array_equal(pairwise._elected(many), [1])
    np.testing.assert_array_equal(pairwise._elected(1 - many), [0])


def test_classification_error():
    x, labels = np.float32([[0], [1], [2], [9]]), np.array([5, 7, 7, 5])
    queries, wanted = np.float32([[0.1], [8.0]]), np.array([5, 5])
    for num_neighbours, error in ((1, 0.0), (3, 1.0), (4, 0.0)):  # of four, two votes each
        found = pairwise.classification_error(
            x, labels, queries, wanted, num_neighbours=num_neighbours
        )
        assert found == error
    with pytest.raises(ValueError, match="x holds 4 points; there must be at least 5"):
        pairwise.classification_error(x, labels, queries, wanted, num_neighbours=5)
    with pytest.raises(ValueError, match="2 of 2 points in queries hold NaN"):
        pairwise.classification_error(x, labels, queries * np.nan, wanted, num_neighbours=1)


def test_bad_points_are_named():
    x = jnp.asarray(points())
    with pytest.raises(ValueError, match=r"2 of 23 points in x hold NaN .* the first at row 4"):
        pairwise.leave_one_out_error(
            x.at[4, 1].set(jnp.nan).at[9, 0].set(jnp.inf), np.zeros(23, int)
        )
    with pytest.raises(ValueError, match="x holds 1 points; there must be at least 2"):
        pairwise.leave_one_out_error(x[:1], np.zeros(1, int))
    jax.eval_shape(lambda x: pairwise.check_points(x, "x", least=2), x)
