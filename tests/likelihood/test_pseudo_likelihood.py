"""The pseudo-likelihood, against enumeration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from dbn_jax import rbm, units
from dbn_jax.likelihood import log_pseudo_likelihood
from tests import oracles, significance
from tests.small_rbms import make, some_states

MIXED = units.Concat(
    (units.Gaussian(learn_sigma=True), units.Softmax(num_classes=3), units.Spin()), (1, 3, 2)
)
PAIRS = {
    "bernoulli": ("bernoulli", "binomial"),
    "spin": ("spin", "binomial"),
    "softmax groups": ("softmax", "relu"),
    "binomial": ("binomial", "gaussian"),
    "concat": ("concat", "spin"),
    "gaussian": ("gaussian", "concat"),
    "gaussian learnt": ("gaussian learnt", "bernoulli"),
    "mixed": ((MIXED, 6), "binomial"),
}


def conditionals(model, x):
    """log p(x_i | all other x) by its definition: for each variable, of one example x (V,)."""
    start, found = 0, []
    for block in model.visible.blocks:
        for values, log_nodes in block.variables(20.0):
            columns = slice(start, start := start + values.shape[1])
            all_values = np.tile(x, (len(values), 1))
            all_values[:, columns] = values
            total = scipy.special.logsumexp(log_nodes - model.free_energy(all_values))
            found.append(-model.free_energy(x) - total)
    return found


@pytest.mark.parametrize("pair", PAIRS)
def test_pseudo_likelihood(pair):
    params = make(*PAIRS[pair], scale=0.7)
    model = oracles.Model.of(params, max_input=20.0)
    states = some_states(model.visible, 12)
    each = [conditionals(model, x) for x in states]
    v = jnp.asarray(states, jnp.float32)
    size = max(len(block.variables(1.0)) for block in model.visible.blocks)
    exact = log_pseudo_likelihood(jax.random.key(0), params, v, num_units=size)
    np.testing.assert_allclose(exact, np.sum(each, axis=1), rtol=1e-5, atol=1e-5)
    grid = jnp.broadcast_to(v, (4000, *v.shape))
    drawn = log_pseudo_likelihood(jax.random.key(1), params, grid)
    significance.assert_mean(np.asarray(drawn), np.sum(each, axis=1))


@pytest.mark.parametrize("weight", [0.1, 3.0, 30.0])
def test_pseudo_likelihood_of_gaussian_units_between_far_modes(weight):
    """Of a unit and 2^3 normal densities, up to 90 standard deviations apart, by their sum."""
    with jax.enable_x64(True):
        weights = weight * jnp.array([[1.0, -0.5, 0.7]])
        visible = units.Gaussian(sigma=0.01).init(1, "float64").add_to_bias(jnp.array([4.0]))
        params = rbm.RBM(weights, visible, units.Spin().init(3, "float64"))
        h = oracles.Layer.of(params.hidden).states
        z = 4.0 + h @ np.asarray(weights)[0]
        log_p = 0.5 * z**2 - scipy.special.logsumexp(0.5 * z**2)
        v = 0.01 * jnp.asarray(np.concatenate([z, z + 1.3]))[:, None]
        density = scipy.stats.norm.logpdf(v, 0.01 * z, 0.01)
        expected = scipy.special.logsumexp(log_p + density, axis=1)
        found = log_pseudo_likelihood(jax.random.key(0), params, v)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)


def test_what_the_pseudo_likelihood_refuses():
    key = jax.random.key(0)
    for visible, hidden, words in [
        ("poisson", "spin", "visible units are Poisson; .* finitely many values, and for Gaussian"),
        ("relu", "spin", "visible units are ReLU; .* finitely many values, and for Gaussian"),
        ("gaussian", "relu", "hidden units are ReLU; beside Gaussian visible units"),
    ]:
        with pytest.raises(TypeError, match=words):
            log_pseudo_likelihood(key, make(visible, hidden), jnp.zeros((3, 2)))
    for visible, size, most in [("bernoulli", 3, 3), ("softmax", 6, 2), ("concat", 5, 2)]:
        params, v = make(visible, "spin"), jnp.zeros((3, size))
        for num_units in (0, most + 1):
            with pytest.raises(ValueError, match=rf"num_units is {num_units}; .* 1\.\.{most}"):
                log_pseudo_likelihood(key, params, v, num_units=num_units)


def test_pseudo_likelihood_of_many_units():
    """All units of 50,000: their number squared is more than 32 bits hold."""
    size = 50_000
    bias = jnp.linspace(-6, 6, size) ** 2 / 4
    params = rbm.RBM(jnp.zeros((size, 1)), units.Bernoulli(bias), units.Bernoulli().init(1))
    found = log_pseudo_likelihood(jax.random.key(0), params, jnp.zeros(size), num_units=size)
    expected = -np.logaddexp(0, np.float64(bias)).sum()
    np.testing.assert_allclose(found, expected, rtol=1e-5)
