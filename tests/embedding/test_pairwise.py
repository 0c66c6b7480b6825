"""All pairs in blocks: the same as all at once; nearest neighbours against their definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax.embedding import pairwise


def points(n=23, dims=5, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dims)).astype(np.float32)


def distances(x):
    x = np.float64(x)
    return ((x[:, None] - x[None]) ** 2).sum(axis=-1)


@pytest.mark.parametrize("block", [1, 7, 22, 23, 100])
def test_blocks_make_the_whole(block):
    x = jnp.asarray(points())

    def of_block(start):
        rows = pairwise.rows_of(x, start, block)
        assert len(rows) == min(block, 23)  # what bounds the memory
        return {"twice": 2 * rows, "sum": jnp.sum(rows, axis=1)}

    whole = pairwise.by_rows(of_block, 23, block)
    np.testing.assert_array_equal(whole["twice"], 2 * x)
    np.testing.assert_array_equal(whole["sum"], jnp.sum(x, axis=1))
    others = pairwise.by_rows(lambda start: pairwise.are_others(start, block, 23), 23, block)
    np.testing.assert_array_equal(others, ~np.eye(23, dtype=bool))


def test_a_block_has_rows():
    with pytest.raises(ValueError, match="block is 0"):
        pairwise.by_rows(lambda start: jnp.zeros(1), 3, 0)


def test_squared_distances():
    a, b = points(9), points(4, seed=1)
    expected = ((np.float64(a)[:, None] - np.float64(b)[None]) ** 2).sum(axis=-1)
    found = pairwise.squared_distances(jnp.asarray(a), jnp.asarray(b))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_copies_are_at_distance_zero_whatever_the_rounding():
    x = 100 + points(60, dims=784)
    found = np.asarray(pairwise.squared_distances(jnp.asarray(x), jnp.asarray(x)))
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


@pytest.mark.parametrize("block", [4, 23])
def test_nearest_neighbours(block):
    x = points()
    squares = distances(x)
    np.fill_diagonal(squares, np.inf)
    found = pairwise.nearest_neighbours(jnp.asarray(x), block=block)
    np.testing.assert_array_equal(found, squares.argmin(axis=1))


def test_of_equally_near_points_the_first_counts():
    x = jnp.asarray([[0.0], [1.0], [-1.0], [1.0]])
    np.testing.assert_array_equal(pairwise.nearest_neighbours(x), [1, 3, 0, 1])


def test_leave_one_out_error():
    x = jnp.asarray([[0.0, 0.0], [0.1, 0.0], [5.0, 0.0], [5.1, 0.0], [5.25, 0.0]])
    assert pairwise.leave_one_out_error(x, np.array([0, 0, 1, 1, 1])) == 0
    # The last one's neighbour is of another class, and it is nobody's.
    assert pairwise.leave_one_out_error(x, np.array([0, 0, 1, 1, 7])) == pytest.approx(0.2)


def test_bad_points_are_named():
    x = jnp.asarray(points())
    with pytest.raises(ValueError, match=r"2 of 23 points in x hold NaN .* the first at row 4"):
        pairwise.leave_one_out_error(
            x.at[4, 1].set(jnp.nan).at[9, 0].set(jnp.inf), np.zeros(23, int)
        )
    with pytest.raises(ValueError, match="x holds 1 points; there must be at least 2"):
        pairwise.leave_one_out_error(x[:1], np.zeros(1, int))
    jax.eval_shape(lambda x: pairwise.check_points(x, "x", least=2), x)
