"""RBMs against enumeration: energies, means, gradients; how they begin; their messages."""

import dataclasses
import doctest
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from dbn_jax import rbm, units
from tests import oracles
from tests.small_rbms import FALSE_ALARM, PAIRS, allclose, make, some_states

# Exact quantities.


def everything(params, v, h):
    inputs = rbm.hidden_inputs(params, v)
    return {
        "energy": rbm.energy(params, v, h),
        "free_energy": rbm.free_energy(params, v),
        "hidden_mean": rbm.hidden_mean(params, v),
        "visible_mean": rbm.visible_mean(params, h),
        "reconstruction": rbm.reconstruct(params, v),
        "gradient": rbm.free_energy_gradient(params, v, inputs),
        "autodiff": jax.grad(lambda params: jnp.mean(rbm.free_energy(params, v)))(params),
    }


@jax.jit
def everything_of_each(arguments):
    return {name: everything(*each) for name, each in arguments.items()}


@functools.cache
def compared(visible):
    """By hidden type: oracle, states and what is found; one program, for several take longer."""
    cases = {}
    with jax.enable_x64(True):
        for hidden in (h for v, h in PAIRS if v == visible):
            params = make(visible, hidden, dtype=jnp.float64)
            model = oracles.Model.of(params, max_input=8.0)
            v, h = some_states(model.visible, (2, 3)), some_states(model.hidden, (2, 3), seed=1)
            cases[hidden] = (params, model, v, h)
        found = everything_of_each({name: (p, v, h) for name, (p, _, v, h) in cases.items()})
    return {name: (*case[1:], found[name]) for name, case in cases.items()}


@pytest.mark.parametrize(("visible", "hidden"), PAIRS)
def test_every_pair_of_types_against_the_oracle(visible, hidden):
    model, v, h, found = compared(visible)[hidden]
    allclose(found["energy"], model.energy(v, h))
    allclose(found["free_energy"], model.free_energy(v))
    hidden_mean = model.hidden_given(v) @ model.hidden.states
    allclose(found["hidden_mean"], hidden_mean)
    allclose(found["visible_mean"], model.visible_given(h) @ model.visible.states)
    allclose(found["reconstruction"], model.visible_given(hidden_mean) @ model.visible.states)
    expected = model.free_energy_gradient(v.reshape(6, -1))
    for name in ("gradient", "autodiff"):
        leaves = oracles.leaves(found[name])
        for leaf in expected:
            allclose(leaves[leaf], expected[leaf], atol=1e-8)


def test_likelihood_gradient_of_the_documentation():
    """grad(F(data) − F(samples)), here with every state as a sample and its exact weight."""
    with jax.enable_x64(True):
        params = make("bernoulli", "spin", weight_scale=1.0, dtype=jnp.float64)
        model = oracles.Model.of(params)
        data = model.visible.states[[1, 1, 6]]
        states, p = jnp.asarray(model.visible.states), jnp.asarray(model.visible_marginal())

        def loss(params):
            data_term = jnp.mean(rbm.free_energy(params, jnp.asarray(data)))
            return data_term - p @ rbm.free_energy(params, states)

        found = oracles.leaves(jax.jit(jax.grad(loss))(params))
    expected = model.log_likelihood_gradient(data)
    for leaf in expected:
        allclose(found[leaf], -expected[leaf])


def test_one_binary_unit_each_by_hand():
    params = rbm.init_params(jax.random.key(0), 1, 1)
    params = rbm.RBM(
        jnp.array([[2.0]]),
        dataclasses.replace(params.visible, bias=jnp.array([0.5])),
        dataclasses.replace(params.hidden, bias=jnp.array([-1.0])),
    )
    on, off = jnp.ones(1), jnp.zeros(1)
    allclose([rbm.energy(params, v, h) for v in (off, on) for h in (off, on)], [0, 1, -0.5, -1.5])
    allclose(rbm.free_energy(params, on), -0.5 - np.log(1 + np.exp(1.0)), rtol=1e-6)
    allclose(rbm.hidden_mean(params, on), [1 / (1 + np.exp(-1.0))], rtol=1e-6)
    allclose(rbm.visible_mean(params, on), [1 / (1 + np.exp(-2.5))], rtol=1e-6)


# Initial parameters.


def test_initial_parameters():
    params = rbm.init_params(jax.random.key(0), 300, 200, weight_scale=0.5)
    flat = np.float64(params.weights).ravel()
    oracles.assert_mean(flat, np.array(0.0), FALSE_ALARM)
    oracles.assert_mean(flat**2, np.array(0.25), FALSE_ALARM)
    assert scipy.stats.kstest(flat / 0.5, "norm").pvalue > FALSE_ALARM
    assert params.weights.shape == (300, 200)
    assert not np.any(params.visible.bias)
    assert not np.any(params.hidden.bias)
    other = rbm.init_params(jax.random.key(1), 300, 200)
    # As numpy rounds the product; fused with the drawing it would be rounded otherwise.
    draws = np.asarray(jax.random.normal(jax.random.key(1), (300, 200)))
    np.testing.assert_array_equal(other.weights, np.float32(0.01) * draws)
    assert abs(np.std(np.asarray(other.weights)) / 0.01 - 1) < 0.02  # 7 standard errors
    assert not np.allclose(other.weights * 50, params.weights)


def test_visible_biases_fitted_to_data_give_its_means():
    params = rbm.init_params(jax.random.key(0), 3, 2)
    data = jnp.asarray([[1, 0, 0.2], [1, 0, 0.4], [0, 0, 0.6]], jnp.float32)
    fitted = rbm.fit_visible(params, data)
    untrained = dataclasses.replace(fitted, weights=jnp.zeros_like(params.weights))
    expected = (np.asarray(data).sum(0) + 0.5) / 4  # half a count of each extreme
    allclose(rbm.visible_mean(untrained, jnp.ones(2)), expected, rtol=1e-5)
    np.testing.assert_array_equal(fitted.weights, params.weights)
    with pytest.raises(ValueError, match=r"shape \(3, 2\); .* 3 visible units"):
        rbm.fit_visible(params, data[:, :2])
    with pytest.raises(TypeError, match="uint8 numbers"):
        rbm.fit_visible(params, data.astype(jnp.uint8))


# Errors name the value and the remedy.


def cd(batch, **options):
    return rbm.cd_gradient(jax.random.key(0), make("bernoulli", "bernoulli"), batch, **options)


def pcd_without_chains():
    optimizer = optax.sgd(0.1)
    state = rbm.init_state(make("bernoulli", "bernoulli"), optimizer)
    rbm.pcd_step(jax.random.key(0), state, jnp.ones((2, 3)), optimizer=optimizer)


def pcd(batch, **options):
    params = make("bernoulli", "bernoulli")
    return rbm.pcd_gradient(jax.random.key(0), params, jnp.ones((4, 3)), batch, **options)


ERRORS = {
    "bytes": (
        lambda: cd(jnp.ones((2, 3), jnp.uint8)),
        TypeError,
        r"uint8 numbers; .*astype\('float32'\) / 255",
    ),
    "integers for pcd": (lambda: pcd(jnp.ones((2, 3), jnp.int32)), TypeError, "int32 numbers"),
    "wrong width": (
        lambda: cd(jnp.ones((2, 4))),
        ValueError,
        r"shape \(2, 4\); .* 3 visible units",
    ),
    "wrong width for pcd": (lambda: pcd(jnp.ones((2, 5))), ValueError, r"shape \(2, 5\); .* 3"),
    "no axis": (lambda: cd(jnp.ones(())), ValueError, r"shape \(\); .* 3 visible units"),
    "no example": (
        lambda: cd(jnp.ones((0, 3))),
        ValueError,
        r"shape \(0, 3\): it holds no example",
    ),
    "no steps": (
        lambda: cd(jnp.ones((2, 3)), num_gibbs_steps=0),
        ValueError,
        "Gibbs steps is 0; it must be at least 1",
    ),
    "no steps for pcd": (
        lambda: pcd(jnp.ones((2, 3)), num_gibbs_steps=-2),
        ValueError,
        "Gibbs steps is -2",
    ),
    "no steps for gibbs": (
        lambda: rbm.gibbs(jax.random.key(0), make("bernoulli", "bernoulli"), jnp.ones((2, 3)), 0),
        ValueError,
        "Gibbs steps is 0",
    ),
    "no steps for fantasies": (
        lambda: rbm.gibbs_from_hidden(
            jax.random.key(0), make("bernoulli", "bernoulli"), jnp.ones((2, 3)), 0
        ),
        ValueError,
        "Gibbs steps is 0",
    ),
    "half a step": (
        lambda: rbm.check_steps(jnp.float32(1.5)),
        TypeError,
        "the number of Gibbs steps is a float32; it must be a whole number",
    ),
    "empty chains": (
        lambda: rbm.init_chains(jax.random.key(0), make("bernoulli", "bernoulli"), 0),
        ValueError,
        "num_chains is 0; it must be at least 1",
    ),
    "no chains": (
        pcd_without_chains,
        ValueError,
        r"init_state\(params, optimizer, chains=init_chains\(key, params, num_chains\)\)",
    ),
    "class for an instance": (
        lambda: rbm.init_params(jax.random.key(0), 3, 2, visible=units.Bernoulli),
        TypeError,
        r"Bernoulli.* is not a unit type; pass an instance, such as Bernoulli\(\)",
    ),
    "name for an instance": (
        lambda: rbm.init_params(jax.random.key(0), 3, 2, hidden="bernoulli"),
        TypeError,
        "'bernoulli' is not a unit type",
    ),
    "no units": (
        lambda: rbm.init_params(jax.random.key(0), 3, 0),
        ValueError,
        "num_units is 0",
    ),
    "units that do not fit": (
        lambda: rbm.init_params(jax.random.key(0), 5, 2, visible=units.Softmax(num_classes=3)),
        ValueError,
        "5 softmax units .* groups of 3",
    ),
}


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize("case", ERRORS)
def test_wrong_arguments_are_refused(case):
    call, error, message = ERRORS[case]
    with pytest.raises(error, match=message):
        call()


def test_examples_in_the_documentation():
    results = doctest.testmod(rbm, optionflags=doctest.ELLIPSIS)
    assert results.attempted > 4
    assert results.failed == 0


@pytest.mark.parametrize("scale", [0.1, np.float64(0.1)])  # the latter is no Python number
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_all_parameters_have_the_dtype_asked_for(scale, dtype):
    params = rbm.init_params(jax.random.key(0), 4, 3, weight_scale=scale, dtype=dtype)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(dtype)}


def test_visible_units_are_fitted_to_data_of_any_shape():
    params = rbm.init_params(jax.random.key(0), 4, 3)
    data = np.random.default_rng(0).random((2, 5, 4), np.float32)
    flat, grid, one = (
        rbm.fit_visible(params, jnp.asarray(rows)).visible.bias
        for rows in (data.reshape(10, 4), data, data[0, 0])
    )
    np.testing.assert_array_equal(grid, flat)
    assert one.shape == (4,)
