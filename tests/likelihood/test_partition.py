"""Exact log Z, its gradient and likelihoods, against enumeration and quadrature."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import rbm, units
from dbn_jax.likelihood import partition
from tests import oracles
from tests.small_rbms import LAYERS, make

log_partition = jax.jit(partition.exact_log_partition)
log_partition_and_gradient = jax.value_and_grad(partition.exact_log_partition)


@functools.cache
def solved(side):
    """By name of its type on one side: a model, its log Z, and the gradient of that."""
    models = {
        name: make(name, "bernoulli") if side == "visible" else make("bernoulli", name)
        for name in LAYERS
    }

    @jax.jit  # one program: many cost more
    def solve(models):
        return {name: log_partition_and_gradient(params) for name, params in models.items()}

    return {name: (models[name], *found) for name, found in solve(models).items()}


@pytest.mark.parametrize("side", ["visible", "hidden"])
@pytest.mark.parametrize("name", LAYERS)
def test_log_partition_and_its_gradient(side, name):
    # ∂ log Z/∂θ = −E[∂E/∂θ]: the negative phase of learning.
    params, log_z, gradient = solved(side)[name]
    assert (log_z.shape, log_z.dtype) == ((), jnp.float32)
    np.testing.assert_allclose(log_z, oracles.Model.of(params).log_z(), rtol=3e-6, atol=3e-6)
    assert_model_expectation(gradient, params, tolerance=2e-5)


def assert_model_expectation(gradient, params, *, tolerance):
    model = oracles.Model.of(params)
    expected = model.free_energy_gradient(model.visible.states, model.visible_marginal())
    for name, value in oracles.leaves(gradient).items():
        np.testing.assert_allclose(
            value, -expected[name], rtol=tolerance, atol=tolerance, err_msg=name
        )


# More states than one block holds, on either side, and a number of them that no block divides.
LARGE = {
    "hidden": (LAYERS["gaussian learnt"][0], 1, units.Bernoulli(), 13),
    "visible": (units.Bernoulli(), 13, LAYERS["gaussian learnt"][0], 1),
    "hidden_uneven": (units.Poisson(), 1, units.Softmax(num_classes=3), 24),
    "visible_uneven": (units.Softmax(num_classes=3), 24, units.ReLU(), 1),
}


@pytest.mark.parametrize("case", LARGE)
def test_many_blocks(case):
    visible, num_visible, hidden, num_hidden = LARGE[case]
    params = make((visible, num_visible), (hidden, num_hidden))
    side = params.visible if case.startswith("visible") else params.hidden
    assert side.num_states > partition._BLOCK
    assert (side.num_states % partition._BLOCK != 0) == case.endswith("uneven")
    log_z, gradient = jax.jit(log_partition_and_gradient)(params)
    np.testing.assert_allclose(log_z, oracles.Model.of(params).log_z(), rtol=3e-6)
    assert_model_expectation(gradient, params, tolerance=1e-4)


@pytest.mark.parametrize("sizes", [(40, 3), (3, 40)])
def test_enumerates_the_smaller_side(sizes):
    # 2⁴⁰ states would be refused; here the sum over the small side is written out.
    params = make(*[(units.Bernoulli(), size) for size in sizes])
    weights, (b, c) = np.asarray(params.weights, np.float64), (params.visible, params.hidden)
    if sizes[0] < sizes[1]:
        weights, b, c = weights.T, c, b
    b, c = np.asarray(b.bias, np.float64), np.asarray(c.bias, np.float64)
    h = np.array(list(np.ndindex(2, 2, 2)), np.float64)
    expected = np.logaddexp.reduce(h @ c + np.logaddexp(0, b + h @ weights.T).sum(axis=1))
    np.testing.assert_allclose(log_partition(params), expected, rtol=3e-6)


def test_strong_weights_neither_overflow_nor_vanish():
    params = make("spin", "spin")
    params = rbm.RBM(400 * params.weights, params.visible, params.hidden)
    expected = oracles.Model.of(params).log_z()
    assert expected > 200  # exp(expected) is beyond float32
    np.testing.assert_allclose(log_partition(params), expected, rtol=3e-6)


@pytest.mark.parametrize("visible", LAYERS)
def test_likelihoods_are_those_of_the_oracle_and_sum_to_one(visible):
    params, log_z, _ = solved("visible")[visible]
    model = oracles.Model.of(params)
    v = model.visible.states
    log_p = jax.jit(partition.log_likelihood)(params, v.astype(np.float32), log_z)
    assert log_p.shape == v.shape[:1]
    likely = model.log_likelihood(v) > -30  # beyond, quadrature nodes and counts without weight
    log_p = np.asarray(log_p)
    np.testing.assert_allclose(log_p[likely], model.log_likelihood(v)[likely], rtol=1e-5, atol=1e-5)
    nodes = model.visible.log_weights - model.visible.log_density(v)  # zero where a sum is a sum
    total = np.exp(np.asarray(log_p, np.float64) + nodes).sum()
    np.testing.assert_allclose(total, 1, atol=1e-5)


def test_likelihood_takes_any_leading_axes():
    params, log_z, _ = solved("visible")["bernoulli"]
    v = jnp.asarray(oracles.Model.of(params).visible.states, jnp.float32)
    log_p = partition.log_likelihood(params, v, log_z)
    grid = partition.log_likelihood(params, v.reshape(2, 4, 3), log_z)
    np.testing.assert_allclose(grid.reshape(-1), log_p, rtol=1e-6)
    assert partition.log_likelihood(params, v[3], log_z).shape == ()


def test_eager_and_mapped_equal_compiled():
    models = [make("concat", "gaussian learnt", seed=seed) for seed in range(3)]
    one_by_one = [log_partition(params) for params in models]
    assert len({float(x) for x in one_by_one}) == 3
    ensemble = jax.tree.map(lambda *x: jnp.stack(x), *models)
    mapped = jax.jit(jax.vmap(partition.exact_log_partition))(ensemble)
    np.testing.assert_allclose(mapped, jnp.stack(one_by_one), rtol=1e-6)
    eager = partition.exact_log_partition(models[0])
    np.testing.assert_allclose(eager, one_by_one[0], rtol=1e-6)


def test_is_as_precise_as_its_parameters():
    with jax.enable_x64(True):
        params = make("concat", "gaussian learnt")
        params = jax.tree.map(lambda x: x.astype(jnp.float64), params)
        log_z = log_partition(params)
        assert log_z.dtype == jnp.float64
        np.testing.assert_allclose(log_z, oracles.Model.of(params).log_z(), rtol=1e-11)


def test_limit_and_its_message():
    assert partition.MAX_STATES == 2**25
    within = make((units.Bernoulli(), 30), (units.Bernoulli(), 25))
    assert jax.eval_shape(partition.exact_log_partition, within).shape == ()
    beyond = make((units.Bernoulli(), 30), (units.Bernoulli(), 26))
    with pytest.raises(ValueError, match=r"limited to 2\^25 states.* has 2\^26;"):
        partition.exact_log_partition(beyond)
    far_beyond = make((units.Bernoulli(), 1100), (units.Bernoulli(), 1100))  # no such float
    with pytest.raises(ValueError, match=r"has 2\^1\.1e\+03;"):
        partition.exact_log_partition(far_beyond)


def test_many_blocks_are_not_rounded_one_by_one(monkeypatch):
    """Independent units have a closed form; float32 holds its five digits to 1e-4."""
    monkeypatch.setattr(partition, "_BLOCK", 16)
    params = make((units.Bernoulli(), 900), (units.Bernoulli(), 16), scale=0.0)
    biases = [np.float64(layer.bias) for layer in (params.visible, params.hidden)]
    expected = sum(np.logaddexp(0, bias).sum() for bias in biases)
    assert expected > 512
    np.testing.assert_allclose(partition.exact_log_partition(params), expected, atol=1e-3)


def test_two_sides_without_end_are_refused():
    for pair in [("gaussian", "relu"), ("gaussian", "gaussian"), ("real concat", "gaussian")]:
        params = make(*pair, scale=0.0)
        with pytest.raises(ValueError, match=r"smaller layer of this RBM has infinitely many"):
            partition.exact_log_partition(params)
