"""The pseudo-likelihood, against enumeration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import rbm, units
from dbn_jax.likelihood import pseudo_likelihood
from tests import oracles, significance
from tests.small_rbms import make


@pytest.mark.parametrize("visible", ["bernoulli", "spin"])
def test_pseudo_likelihood(visible):
    params = make(visible, "binomial", scale=0.7)
    model = oracles.Model.of(params)
    states, log_p = model.visible.states, model.log_likelihood(model.visible.states)
    low, high = params.visible.support
    expected = np.zeros(len(states))
    for i in range(states.shape[1]):
        other = states.copy()
        other[:, i] = low + high - other[:, i]
        partner = [int(np.flatnonzero((states == row).all(axis=1))[0]) for row in other]
        expected += log_p - np.logaddexp(log_p, log_p[partner])
    v = jnp.asarray(states, jnp.float32)
    size = v.shape[1]
    exact = pseudo_likelihood.log_pseudo_likelihood(jax.random.key(0), params, v, num_units=size)
    np.testing.assert_allclose(exact, expected, rtol=1e-5)
    grid = jnp.broadcast_to(v, (4000, *v.shape))
    for num_units in (1, 2):
        drawn = pseudo_likelihood.log_pseudo_likelihood(
            jax.random.key(num_units), params, grid, num_units=num_units
        )
        significance.assert_mean(np.asarray(drawn), expected)


def test_what_the_pseudo_likelihood_refuses():
    key = jax.random.key(0)
    params = make("binomial", "spin")
    with pytest.raises(TypeError, match=r"visible units are Binomial; .* Bernoulli or Spin"):
        pseudo_likelihood.log_pseudo_likelihood(key, params, jnp.zeros((3, 2)))
    params, v = make("bernoulli", "spin"), jnp.zeros((2, 3))
    for num_units in (0, 4):
        with pytest.raises(ValueError, match=rf"num_units is {num_units}; it must lie in 1\.\.3"):
            pseudo_likelihood.log_pseudo_likelihood(key, params, v, num_units=num_units)


def test_pseudo_likelihood_of_many_units():
    """All units of 50,000: their number squared is more than 32 bits hold."""
    size = 50_000
    bias = jnp.linspace(-6, 6, size) ** 2 / 4
    params = rbm.RBM(jnp.zeros((size, 1)), units.Bernoulli(bias), units.Bernoulli().init(1))
    found = pseudo_likelihood.log_pseudo_likelihood(
        jax.random.key(0), params, jnp.zeros(size), num_units=size
    )
    expected = -np.logaddexp(0, np.float64(bias)).sum()
    np.testing.assert_allclose(found, expected, rtol=1e-5)
