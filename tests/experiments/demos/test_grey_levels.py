"""Free energies of a pixel's value against the units' own energies, and all inputs tried out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import rbm, units
from experiments.demos import grey_levels

X = np.linspace(0, 1, 101)
H = np.array([1.0, 0.0, 1.0])


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def one_pixel(visible):
    """An RBM of one pixel and three hidden units, in float64."""
    params = rbm.init_params(
        jax.random.key(0), 1, 3, visible=visible, weight_scale=2.0, dtype=jnp.float64
    )
    return rbm.RBM(params.weights, params.visible.add_to_bias(jnp.array([0.3])), params.hidden)


def energy(params, h):
    values = jnp.asarray(X)[:, None]
    return np.asarray(rbm.energy(params, values, jnp.broadcast_to(jnp.asarray(h), (len(X), 3))))


def test_logistic_is_the_energy_of_a_binary_unit_and_the_entropy():
    params = one_pixel(units.Bernoulli())
    inputs = rbm.visible_inputs(params, jnp.asarray(H))[0] + params.visible.bias[0]
    found = grey_levels.logistic_free_energy(jnp.asarray(X), inputs)
    p = np.clip(X, 1e-300, 1 - 1e-16)
    entropy = -X * np.log(p) - (1 - X) * np.log(1 - p)
    difference = np.asarray(found) - (energy(params, H) - entropy)
    np.testing.assert_allclose(difference, difference[0], atol=1e-12)
    assert X[np.argmin(found)] == pytest.approx(float(jax.nn.sigmoid(inputs)), abs=0.01)


@pytest.mark.parametrize("sigma", [0.05, 0.4])
def test_gaussian_is_the_energy_of_a_gaussian_unit(sigma):
    params = one_pixel(units.Gaussian(sigma=sigma))
    mean = rbm.visible_mean(params, jnp.asarray(H))[0]
    found = grey_levels.gaussian_free_energy(jnp.asarray(X), mean, jnp.asarray(sigma))
    difference = np.asarray(found) - energy(params, H)
    np.testing.assert_allclose(difference, difference[0], atol=1e-9)
    gap = grey_levels.gaussian_preference(jnp.asarray(0.1), jnp.asarray(sigma))
    at = grey_levels.gaussian_free_energy(
        jnp.array([0.6, 0.7, 0.8]), jnp.asarray(0.7), jnp.asarray(sigma)
    )
    np.testing.assert_allclose(at - at[1], [gap, 0, gap], atol=1e-12)


def test_no_input_prefers_the_middle_by_more():
    x = jnp.array([0.6, 0.7, 0.8])
    inputs = np.linspace(-30, 30, 60_001)
    low, middle, high = np.asarray(
        jax.vmap(grey_levels.logistic_free_energy, (None, 0), 1)(x, jnp.asarray(inputs))
    )
    most = np.max(np.minimum(low, high) - middle)
    bound = float(grey_levels.logistic_preference(jnp.asarray(0.7), jnp.asarray(0.1)))
    assert bound == pytest.approx(most, abs=1e-4)
    assert most <= bound
    assert 0.024 < bound < 0.0245
