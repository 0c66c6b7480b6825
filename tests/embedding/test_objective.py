"""The divergence of a map and its gradient, against automatic differentiation of the definition."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from dbn_jax.embedding import affinities, objective

NUM_POINTS = 23
BACKGROUNDS = [0.0, 1e-6, 0.2]


def joint(n=NUM_POINTS, seed=0):
    """Any symmetric probabilities of pairs, some of them 0."""
    rng = np.random.default_rng(seed)
    p = rng.exponential(size=(n, n)) * (rng.uniform(size=(n, n)) < 0.7)
    p = np.triu(p, 1) + np.triu(p, 1).T
    return p / p.sum()


def positions(n=NUM_POINTS, scale=1.0, dims=2, seed=1):
    return scale * np.random.default_rng(seed).normal(size=(n, dims))


@functools.partial(jax.jit, static_argnames="kernel")
@jax.value_and_grad
def dense(y, p, background, kernel):
    """The objective as it is defined, over unordered pairs as published; and its gradient."""
    n = len(p)
    upper = np.triu_indices(n, 1)
    distances = jnp.sum((y[upper[0]] - y[upper[1]]) ** 2, axis=-1)
    w = jnp.exp(-distances) if kernel == "gaussian" else 1 / (1 + distances)
    q = (1 - background) * w / jnp.sum(w) + background * 2 / (n * (n - 1))
    p = 2 * p[upper]
    has_any = p > 0
    return jnp.sum(jnp.where(has_any, p * (jnp.log(jnp.where(has_any, p, 1)) - jnp.log(q)), 0))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kernel", objective.KERNELS)
@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize(("scale", "dims"), [(0.01, 2), (1.0, 2), (3.0, 2), (1.0, 3)])
def test_gradient_is_that_of_automatic_differentiation(kernel, background, scale, dims):
    p, y = jnp.asarray(joint()), jnp.asarray(positions(scale=scale, dims=dims))
    value, slope = dense(y, p, background, kernel)
    found = objective.gradient(y, p, background, kernel=kernel, block=7)
    np.testing.assert_allclose(found, slope, rtol=1e-9, atol=1e-9 * np.abs(slope).max())
    total = objective.divergence(y, p, background, kernel=kernel, block=7)
    assert float(total) == pytest.approx(float(value), rel=1e-10)


@pytest.mark.parametrize("kernel", objective.KERNELS)
@pytest.mark.parametrize("background", BACKGROUNDS)
def test_single_precision(kernel, background):
    p, y = joint(), positions(scale=3.0)
    with jax.enable_x64(True):
        value, slope = dense(jnp.asarray(y), jnp.asarray(p), background, kernel)
        value, slope = float(value), np.asarray(slope)
    y, p = jnp.asarray(y, jnp.float32), jnp.asarray(p, jnp.float32)
    found = objective.gradient(y, p, background, kernel=kernel)
    np.testing.assert_allclose(found, slope, rtol=1e-4, atol=1e-5 * np.abs(slope).max())
    assert float(objective.divergence(y, p, background, kernel=kernel)) == pytest.approx(
        value, 1e-5
    )


@pytest.mark.parametrize("background", [0.0, 0.2])
def test_pairs_far_apart_do_not_underflow(background):
    """exp(−d) is 0 in float32 from d = 104 on; the objective goes on."""
    p, y = joint(), positions()
    y[: NUM_POINTS // 2] += 40
    with jax.enable_x64(True):
        expected = float(dense(jnp.asarray(y), jnp.asarray(p), background, "gaussian")[0])
        if background == 0:  # where `dense` underflows as well
            distances = ((y[:, None] - y[None]) ** 2).sum(axis=-1)
            log_total = np.log(np.exp(-distances).sum() - NUM_POINTS)
            has_any = p > 0
            log_p = np.log(p[has_any])
            expected = np.sum(p[has_any] * (log_p + distances[has_any] + log_total))
    y, p = jnp.asarray(y, jnp.float32), jnp.asarray(p, jnp.float32)
    found = objective.divergence(y, p, background, kernel="gaussian")
    assert float(found) == pytest.approx(expected, rel=1e-4)
    assert np.isfinite(objective.gradient(y, p, background, kernel="gaussian")).all()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kernel", objective.KERNELS)
@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("scale", [0.01, 1.0, 3.0])
def test_near_pairs(kernel, background, scale):
    """Attraction over the pairs that there are, and repulsion by a grid."""
    p, y = jnp.asarray(joint()), jnp.asarray(positions(scale=scale))
    near = affinities.in_rows(scipy.sparse.csr_array(joint()))
    value, slope = dense(y, p, background, kernel)
    found = objective.gradient(y, near, background, kernel=kernel)
    np.testing.assert_allclose(found, slope, atol=1e-3 * np.abs(slope).max())
    total = objective.divergence(y, near, background, kernel=kernel)
    assert float(total) == pytest.approx(float(value), rel=1e-4)
    if background == 0:  # where the grid has no part in the attraction
        twice = objective.gradient(y, near, kernel=kernel, exaggeration=2.0)
        all_pairs = [objective.gradient(y, p, kernel=kernel, exaggeration=e) for e in (1.0, 2.0)]
        attraction = all_pairs[1] - all_pairs[0]
        np.testing.assert_allclose(twice - found, attraction, rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kernel", objective.KERNELS)
@pytest.mark.parametrize("block", [1, 7, 22, 99])
def test_blocks_change_nothing(kernel, block):
    p, y = jnp.asarray(joint()), jnp.asarray(positions())
    for background in (0.0, 0.2):
        whole = objective.gradient(y, p, background, kernel=kernel, block=NUM_POINTS)
        found = objective.gradient(y, p, background, kernel=kernel, block=block)
        np.testing.assert_allclose(found, whole, rtol=1e-10, atol=1e-16)
        whole = objective.divergence(y, p, background, kernel=kernel, block=NUM_POINTS)
        found = objective.divergence(y, p, background, kernel=kernel, block=block)
        assert float(found) == pytest.approx(float(whole), rel=1e-12)


def test_memory_is_bounded_by_the_block():
    """Besides P nothing of N² is made."""
    n = 2048
    arguments = jnp.zeros((n, 2)), jnp.zeros((n, n)), 0.2
    program = objective.gradient.lower(*arguments, kernel="student", block=16).compile()
    assert program.memory_analysis().temp_size_in_bytes < 12 * 16 * n * 4 < n * n * 4
    wide = objective.gradient.lower(*arguments, kernel="student", block=n).compile()
    assert wide.memory_analysis().temp_size_in_bytes > n * n * 4


@pytest.mark.usefixtures("x64")
def test_exaggeration_multiplies_the_attraction_alone():
    p, y = jnp.asarray(joint()), jnp.asarray(positions())
    plain, four = (objective.gradient(y, p, kernel="student", exaggeration=e) for e in (1.0, 4.0))
    distances = ((y[:, None] - y[None]) ** 2).sum(axis=-1)
    pull = p / (1 + distances)
    attraction = 4 * jnp.sum(pull[:, :, None] * (y[:, None] - y[None]), axis=1)
    np.testing.assert_allclose(four - plain, 3 * attraction, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("separation", [10.0, 1e3, 1e5])
def test_forces_within_clusters_far_apart(separation):
    """In float32 too they come from the differences of positions, which cancel nothing."""
    y = np.float32(positions(scale=0.3))
    y[: NUM_POINTS // 2] += np.float32(separation)
    near = ((np.float64(y)[:, None] - y) ** 2).sum(axis=-1) < separation
    p = joint() * near
    p /= p.sum()
    for kernel in objective.KERNELS:
        with jax.enable_x64(True):
            exact = objective.gradient(jnp.asarray(np.float64(y)), jnp.asarray(p), kernel=kernel)
            exact = np.asarray(exact)
        found = objective.gradient(jnp.asarray(y), jnp.asarray(p, jnp.float32), kernel=kernel)
        np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-5 * np.abs(exact).max())
