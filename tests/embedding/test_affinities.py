"""Probabilities of pairs against a root finder in float64; perplexities; what has none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import sklearn.datasets

from dbn_jax.embedding import affinities


@pytest.fixture(scope="module")
def digits():
    return sklearn.datasets.load_digits().data[:150]


def clusters(seed=0):
    """Distances of very different size: two tight clusters and some points far out."""
    rng = np.random.default_rng(seed)
    parts = [1e-2 * rng.normal(size=(20, 3)), 5 + 1e-1 * rng.normal(size=(20, 3))]
    return np.concatenate([*parts, 100 * rng.normal(size=(13, 3))])


def conditional(x, perplexity):
    """p(j | i), by a root finder."""
    distances = ((x[:, None] - x[None]) ** 2).sum(axis=-1)
    p = np.zeros_like(distances)
    for i, row in enumerate(distances):
        others = np.arange(len(x)) != i
        excess = row[others] - row[others].min()

        def probabilities(log_precision, excess=excess):
            weights = np.exp(-np.exp(log_precision) * excess)
            return weights / weights.sum()

        def surplus(log_precision, probabilities=probabilities):
            q = probabilities(log_precision)
            return -np.sum(q * np.log(np.maximum(q, 1e-300))) - np.log(perplexity)

        p[i, others] = probabilities(scipy.optimize.brentq(surplus, -40, 40, xtol=1e-12))
    return p


@pytest.mark.parametrize("perplexity", [2.5, 10.0, 30.0])
@pytest.mark.parametrize("make", [clusters, None])
def test_probabilities_are_those_of_a_root_finder(digits, make, perplexity):
    x = digits if make is None else make()
    p = conditional(x, perplexity)
    expected = (p + p.T) / (2 * len(x))
    with jax.enable_x64(True):
        found = np.asarray(affinities.joint_probabilities(jnp.asarray(x), perplexity))
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-12)
    np.testing.assert_array_equal(np.diag(found), 0)
    assert found.sum() == pytest.approx(1)


@pytest.mark.parametrize("separation", [None, 10, 100, 1e3, 1e4, 1e5])
def test_single_precision(digits, separation):
    """Perplexities too, beside clusters far apart and a point that is farther out."""
    x = digits
    if separation is not None:
        x = np.repeat(separation * np.eye(4, 6, k=-1), 25, axis=0)
        x = np.append(x + 0.5 * np.random.default_rng(0).normal(size=x.shape), 30 * x[-1:], axis=0)
    x = np.float32(x)
    for perplexity in (5.0, 15.0):
        p = conditional(np.float64(x), perplexity)
        found, reached = affinities.conditional_probabilities(jnp.asarray(x), perplexity)
        np.testing.assert_allclose(found, p, rtol=2e-3, atol=1e-8)
        np.testing.assert_allclose(reached, perplexity, rtol=1e-4)
        entropy = -np.sum(p * np.log(np.maximum(p, 1e-300)), axis=1)
        np.testing.assert_allclose(np.exp(entropy), perplexity, rtol=1e-9)


@pytest.mark.parametrize("perplexity", [1.5, 5.0, 30.0, 100.0])
def test_perplexities_are_met(digits, perplexity):
    x = jnp.asarray(digits, jnp.float32)
    p, reached = affinities.conditional_probabilities(x, perplexity, block=64)
    p = np.float64(p)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    entropy = -np.sum(p * np.log(np.where(p > 0, p, 1)), axis=1)
    np.testing.assert_allclose(np.exp(entropy), perplexity, rtol=2e-5)
    np.testing.assert_allclose(reached, perplexity, rtol=2e-5)


def test_probabilities_depend_on_distances_only(digits):
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(64, 64)))[0]
    with jax.enable_x64(True):
        p = affinities.joint_probabilities(jnp.asarray(digits), 10.0)
        for moved in (digits + 3.5, digits @ rotation, 1e-9 * digits, 1e25 * digits):
            same = affinities.joint_probabilities(jnp.asarray(moved), 10.0)
            np.testing.assert_allclose(same, p, rtol=1e-6, atol=1e-18)
        order = np.random.default_rng(1).permutation(len(digits))
        permuted = affinities.joint_probabilities(jnp.asarray(digits[order]), 10.0)
        np.testing.assert_allclose(permuted, p[order][:, order], rtol=1e-6, atol=1e-18)
    np.testing.assert_allclose(p, p.T, rtol=1e-9)


@pytest.mark.parametrize("block", [1, 40, 149])
def test_blocks_change_nothing(digits, block):
    """Nor does a point's bisection end later for others that share its block."""
    with jax.enable_x64(True):
        x = jnp.asarray(digits)
        whole = affinities.joint_probabilities(x, 10.0, block=150)
        found = affinities.joint_probabilities(x, 10.0, block=block)
        np.testing.assert_allclose(found, whole, rtol=1e-8, atol=1e-18)


def test_some_copies_do_no_harm(digits):
    x = jnp.asarray(np.repeat(digits[:30], 4, axis=0), jnp.float32)
    p = np.asarray(affinities.joint_probabilities(x, 8.0))
    assert np.isfinite(p).all()
    copies = np.kron(np.eye(30), np.ones((4, 4))) - np.eye(120)
    assert p[copies == 1].min() >= p[copies == 0].max()
    assert p.sum() == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("scale", [0.0, 1.0, 255.0])
def test_more_copies_than_the_perplexity_are_equal_neighbours(digits, scale):
    """Exact copies, though products of them differ by rounding."""
    x = np.concatenate([np.tile(digits[:1], (40, 1)), digits[1:21]]) * scale / 16
    x = jnp.asarray(x, jnp.float32)
    p, reached = affinities.conditional_probabilities(x, 30.0)
    np.testing.assert_allclose(p[:40, :40], (1 - np.eye(40)) * p[0, 1], rtol=1e-4)
    if scale:
        assert float(p[0, 1]) == pytest.approx(1 / 39, rel=1e-4)
        np.testing.assert_allclose(reached[:40], 39, rtol=1e-4)
    p, near = affinities.conditional_near(x, 10.0)
    assert near.shape == (60, 30)
    if scale:
        assert np.asarray(near[:40]).max() < 40
    np.testing.assert_allclose(p[:40], 1 / 30, rtol=1e-4)


def as_matrix(p, n):
    """Near probabilities as a matrix."""
    matrix = np.zeros((n, n))
    points = np.repeat(p.points, p.values.shape[1])
    np.add.at(matrix, (points, np.ravel(p.neighbours)), np.ravel(p.values))
    return matrix


@pytest.mark.parametrize("make", [clusters, None])
def test_near_probabilities_are_those_of_the_nearest(digits, make):
    """Of all points where three times the perplexity are all, and of the 15 nearest of many."""
    x = digits if make is None else make()
    n = len(x)
    with jax.enable_x64(True):
        x = jnp.asarray(x)
        wide = n / 3
        found = as_matrix(affinities.near_probabilities(x, wide), n)
        np.testing.assert_allclose(found, affinities.joint_probabilities(x, wide), 1e-6, 1e-20)
        few, near = map(np.asarray, affinities.conditional_near(x, 5.0))
        found = as_matrix(affinities.near_probabilities(x, 5.0), n)
    distances = ((np.asarray(x)[:, None] - np.asarray(x)) ** 2).sum(axis=-1)
    np.fill_diagonal(distances, np.inf)
    nearest = np.sort(distances, axis=1)[:, :15]
    np.testing.assert_allclose(np.take_along_axis(distances, near, axis=1), nearest, rtol=1e-9)
    entropy = -np.sum(few * np.log(np.maximum(few, 1e-300)), axis=1)
    np.testing.assert_allclose(np.exp(entropy), 5, rtol=1e-4)
    # Logarithms of the probabilities are linear in the squared distances.
    ratio = np.log(np.maximum(few, 1e-300) / few[:, :1])
    slopes = ratio[:, 5:6] / (nearest[:, 5:6] - nearest[:, :1])
    np.testing.assert_allclose(ratio, slopes * (nearest - nearest[:, :1]), rtol=1e-4, atol=1e-4)
    one_way = np.zeros((n, n))
    np.put_along_axis(one_way, near, few, axis=1)
    np.testing.assert_allclose(found, (one_way + one_way.T) / (2 * n), rtol=1e-9)


@pytest.mark.parametrize("origin", [0.0, 1e3, 1e5])
def test_near_probabilities_in_single_precision(digits, origin):
    """Of all points, far from the origin too."""
    x, n = np.float32(digits / 7 + origin), len(digits)
    p, near = affinities.conditional_near(jnp.asarray(x), n / 3)
    found = np.zeros((n, n))
    np.put_along_axis(found, np.asarray(near), np.asarray(p, np.float64), axis=1)
    np.testing.assert_allclose(found, conditional(np.float64(x), n / 3), rtol=2e-3, atol=1e-8)


def test_bad_input_is_refused(digits):
    x = jnp.asarray(digits, jnp.float32)
    with pytest.raises(ValueError, match=r"x: 1 of 150 rows hold NaN or infinity.* at row 7"):
        affinities.joint_probabilities(x.at[7, 0].set(jnp.nan))
    for perplexity in (1.0, 29.0, 0.0, float("nan")):
        with pytest.raises(ValueError, match=r"perplexity is .* each of 30 points has 29"):
            affinities.joint_probabilities(x[:30], perplexity)
    with pytest.raises(ValueError, match="x holds 3 points"):
        affinities.joint_probabilities(x[:3], 1.5)
