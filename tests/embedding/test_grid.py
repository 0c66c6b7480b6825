"""Potentials by grids of every size, against sums over all pairs in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax.embedding import grid, objective

# A map without extent, the smallest grid, its largest map, and some of the grids above it.
EXTENTS = (1e-3, 0.1, 3.0, 14.0, 20.0, 90.0, 250.0)
POTENTIAL = {
    kernel: jax.jit(functools.partial(objective.potential, kernel=kernel))
    for kernel in objective.KERNELS
}


def places(extent, n=600, seed=0):
    """Clumps and stragglers over a square."""
    rng = np.random.default_rng(seed)
    y = extent * rng.uniform(size=(n, 2))
    y[: n // 2] += 0.6 * (np.round(y[: n // 2] / extent * 5) * extent / 5 - y[: n // 2])
    return np.float32(y)


def sums(targets, sources, kernel):
    """φ and its slope, in float64."""
    differences = np.float64(targets)[:, None] - np.float64(sources)
    distances = (differences**2).sum(axis=-1)
    w = np.exp(-distances) if kernel == "gaussian" else 1 / (1 + distances)
    falling = w if kernel == "gaussian" else w**2
    return w.sum(axis=1), -2 * (falling[:, :, None] * differences).sum(axis=1)


def share(found, expected):
    """The error in units of the norm of what is expected."""
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("kernel", objective.KERNELS)
@pytest.mark.parametrize("extent", EXTENTS)
def test_forces_of_maps_of_any_size(kernel, extent):
    y = places(extent)
    found, slope = POTENTIAL[kernel](jnp.asarray(y), jnp.asarray(y))
    expected, expected_slope = sums(y, y, kernel)
    assert share(slope, expected_slope) < 1e-3
    assert share(found, expected) < 3e-5
    assert np.sum(np.float64(found) - 1) == pytest.approx(np.sum(expected - 1), rel=3e-4)


@pytest.mark.parametrize("kernel", objective.KERNELS)
def test_targets_need_not_be_sources(kernel):
    sources = places(20.0)
    targets = np.float32([[-6.0, 3.0], [5.0, 5.1], [31.0, 9.0]])
    found, slope = POTENTIAL[kernel](jnp.asarray(targets), jnp.asarray(sources))
    expected, expected_slope = sums(targets, sources, kernel)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(slope, expected_slope, rtol=1e-3, atol=3e-3)


def test_maps_too_large_for_a_grid_are_summed_over_all_pairs():
    far = places(3.0, 50) + np.float32([[0, 0], [600, 0]] * 25)
    found, slope = POTENTIAL["student"](jnp.asarray(far), jnp.asarray(far))
    expected, expected_slope = sums(far, far, "student")
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(slope, expected_slope, rtol=1e-4, atol=1e-4)


def test_points_at_one_place():
    y = jnp.ones((5, 2))
    found, slope = POTENTIAL["gaussian"](y, y)
    np.testing.assert_allclose(found, 5, rtol=1e-5)
    np.testing.assert_allclose(slope, 0, atol=1e-3)


@pytest.mark.usefixtures("unchecked_annotations")
def test_a_grid_has_two_dimensions():
    with pytest.raises(ValueError, match="the map has 3 dimensions, and a grid 2: sum over all"):
        grid.potential(jnp.ones((4, 3)), jnp.ones((4, 3)), jnp.exp, jnp.expm1, None)
