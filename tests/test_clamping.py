"""Gibbs sampling with units held, against enumeration of a small RBM."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import clamping, label_units, units
from tests import oracles, significance
from tests.missing_values import KNOWN, completions
from tests.random_models import random_net
from tests.small_learning import draw_batch, make

NUM_LABELS = 3


@pytest.fixture(scope="module")
def params():
    """3 features beside 3 labels, and 4 hidden units."""
    return random_net(5, (3, 4), NUM_LABELS).top


def test_any_subset_is_clamped(params):
    clamped = jnp.array([True, False, True, False, False, False])
    x = jnp.tile(jnp.array([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]), (20_000, 1))
    after, h = jax.jit(clamping.gibbs)(jax.random.key(0), params, x, clamped, 60)
    np.testing.assert_array_equal(after[:, [0, 2]], x[:, [0, 2]])
    assert h.shape == (20_000, 4)
    model = oracles.Model.of(params)
    states, p = model.visible.states, model.visible_marginal()
    p = np.where((states[:, 0] == 1) & (states[:, 2] == 0), p, 0)
    significance.assert_mean(after[:, 1], (p / p.sum() @ states)[1])
    significance.assert_mean(after[:, 3:], (p / p.sum() @ states)[3:])


@pytest.mark.parametrize("visible", [units.Bernoulli(), units.Gaussian(sigma=0.7)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_stands_in_a_free_unit_is_forgotten(visible, value):
    """It starts at its mean without input, and the chain forgets that."""
    params = random_net(5, (3, 4), NUM_LABELS, visible=visible).top
    clamped = jnp.array([True, False, True, False, False, False])
    start = params.visible.mean(jnp.zeros(6))
    states = jnp.array([1.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    gibbs = jax.jit(clamping.gibbs)
    found = gibbs(jax.random.key(0), params, jnp.where(clamped, states, value), clamped, 3)
    expected = gibbs(jax.random.key(0), params, jnp.where(clamped, states, start), clamped, 3)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.isfinite(a).all()
    # What is clamped cannot be forgotten; the other chain does not mind.
    x = jnp.stack([states, states.at[0].set(value)])
    for after in gibbs(jax.random.key(0), params, x, clamped, 3):
        assert np.isfinite(after[0]).all()
        assert np.isnan(after[1]).all()


def test_what_is_missing_is_drawn_given_what_is_known():
    params = make("bernoulli", scale=1.0)
    model, rows = oracles.Model.of(params), np.asarray(draw_batch(params, 5))
    holes = jnp.broadcast_to(jnp.where(KNOWN, rows, jnp.nan), (4000, 5, 4))
    found = np.asarray(clamping.impute(jax.random.key(1), params, holes, jnp.asarray(KNOWN), 50))
    for row, mask, draws in zip(rows, KNOWN, found.swapaxes(0, 1), strict=True):
        np.testing.assert_array_equal(draws[:, mask], np.tile(row[mask], (4000, 1)))
        states, p = completions(model, row, mask)
        if len(states) > 1:
            counts = [np.all(draws == state, axis=1).sum() for state in states]
            assert sum(counts) == 4000
            assert significance.chi_squared(counts, p) > 1e-6


@pytest.mark.usefixtures("unchecked_annotations")
def test_bad_input(params):
    x = jnp.ones((2, 6))
    with pytest.raises(TypeError, match="clamped is int32; give a boolean for each visible unit"):
        clamping.gibbs(jax.random.key(0), params, x, jnp.arange(6), 1)
    with pytest.raises(ValueError, match="number of Gibbs steps is 0"):
        clamping.gibbs(jax.random.key(0), params, x, label_units.mask(params), 0)
