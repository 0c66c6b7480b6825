"""Blocks of penalised logistic regressions against numpy and scipy, one at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special

from dbn_jax.embedding import newton

NUM_OBSERVATIONS, NUM_FEATURES, NUM_REGRESSIONS = 25, 3, 7
pytestmark = pytest.mark.usefixtures("x64")


@pytest.fixture
def problem():
    """Features, grey and binary targets, offset and ridge (float64 numpy)."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(NUM_OBSERVATIONS, NUM_FEATURES))
    targets = rng.uniform(size=(NUM_REGRESSIONS, NUM_OBSERVATIONS))
    targets[:3] = np.round(targets[:3])
    return features, targets, rng.normal(size=NUM_OBSERVATIONS), np.array([0.3, 1.0, 2.5])


def objective(c, features, targets, offset, ridge):
    theta = offset + features @ c
    return targets @ theta - np.logaddexp(0, theta).sum() - ridge @ c**2 / 2


def derivatives(c, features, targets, offset, ridge):
    p = scipy.special.expit(offset + features @ c)
    gradient = features.T @ (targets - p) - ridge * c
    return gradient, features.T @ ((p * (1 - p))[:, None] * features) + np.diag(ridge)


def climb(features, targets, c, offset, ridge, **ends):
    features, targets, c, offset, ridge = map(jnp.asarray, (features, targets, c, offset, ridge))
    ends = {"tolerance": 0.0, "max_iterations": 1} | ends
    return newton.solve(features, targets, c, offset=offset, ridge=ridge, **ends)


def solve(features, targets, offset, ridge, tolerance=1e-12, max_iterations=50):
    start = np.zeros((len(targets), features.shape[1]))
    ends = {"tolerance": tolerance, "max_iterations": max_iterations}
    return climb(features, targets, start, offset, ridge, **ends)[0]


def test_a_step_is_newtons_halved_where_it_goes_too_far(problem):
    features, targets, offset, ridge = problem
    c = 8 * np.random.default_rng(2).normal(size=(NUM_REGRESSIONS, NUM_FEATURES))
    found, log_likelihoods = climb(features, targets, c, offset, ridge)
    lengths = []
    for r in range(NUM_REGRESSIONS):
        arguments = features, targets[r], offset, ridge
        gradient, curvature = derivatives(c[r], *arguments)
        direction = np.linalg.solve(curvature, gradient)
        length = 1.0
        while objective(c[r] + length * direction, *arguments) < objective(c[r], *arguments):
            length /= 2
        lengths.append(length)
        expected = c[r] + length * direction
        np.testing.assert_allclose(found[r], expected, rtol=1e-8)
        unpenalised = objective(expected, features, targets[r], offset, 0 * ridge)
        np.testing.assert_allclose(log_likelihoods[r], unpenalised, rtol=1e-8)
    assert min(lengths) < 1 == max(lengths)  # each has its own


def test_maxima_are_scipys(problem):
    features, targets, offset, ridge = problem
    found = solve(features, targets, offset, ridge)
    assert found.shape == (NUM_REGRESSIONS, NUM_FEATURES)
    for r in range(NUM_REGRESSIONS):
        arguments = features, targets[r], offset, ridge
        best = scipy.optimize.minimize(
            lambda *arguments: -objective(*arguments),
            np.zeros(NUM_FEATURES),
            arguments,
            jac=lambda *arguments: -derivatives(*arguments)[0],
            tol=1e-10,
        )
        np.testing.assert_allclose(found[r], best.x, atol=1e-6)


def test_separable_targets_have_finite_maxima(problem):
    features, _, offset, _ = problem
    targets = (features @ np.array([1.0, -2.0, 0.5]) > 0).astype(float)[None]
    ridge = np.full(NUM_FEATURES, 1e-4)
    found = solve(features, targets, offset, ridge)
    assert np.abs(found).max() > 10  # only the ridge holds it
    gradient, _ = derivatives(np.asarray(found[0]), features, targets[0], offset, ridge)
    assert np.abs(gradient).max() < 1e-6


@pytest.mark.parametrize("rows", [1, 2, NUM_REGRESSIONS, 100])
def test_blocks_change_nothing(problem, monkeypatch, rows):
    features, targets, offset, ridge = problem
    expected = solve(features, targets, offset, ridge)
    monkeypatch.setattr(newton, "_BLOCK", rows * NUM_OBSERVATIONS)
    jax.clear_caches()
    np.testing.assert_allclose(solve(features, targets, offset, ridge), expected, rtol=1e-9)
    jax.clear_caches()


def test_tolerance_and_iterations_end_it(problem):
    features, targets, offset, ridge = problem
    exact = solve(features, targets, offset, ridge)
    one, _ = climb(features, targets, np.zeros_like(exact), offset, ridge)
    np.testing.assert_allclose(solve(features, targets, offset, ridge, max_iterations=1), one)
    np.testing.assert_allclose(solve(features, targets, offset, ridge, tolerance=1e3), one)
    # Newton's method squares its error: what a step that promised 1e-5 leaves is about 1e-5 itself.
    rough = solve(features, targets, offset, ridge, tolerance=1e-5)
    assert 0 < np.abs(rough - exact).max() < 1e-4
