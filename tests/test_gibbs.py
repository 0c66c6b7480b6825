"""Gibbs sampling of RBMs: kernels that do not drift, and broken ones that do.

Chains start in the enumerated distribution, so that however slowly they mix they must stay in it.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from dbn_jax import rbm
from tests import oracles
from tests.small_rbms import FALSE_ALARM, allclose, make, some_states, trees_allclose

NUM_CHAINS = 20_000


def start(model, seed=0):
    """Visible values drawn from the model by enumeration, without the package: (NUM_CHAINS, V)."""
    random = np.random.default_rng(seed)
    if not any(block.kind == "Gaussian" for block in model.visible.blocks):
        p = model.visible_marginal()
        return model.visible.states[random.choice(len(p), NUM_CHAINS, p=p / p.sum())]
    p = model.hidden_marginal()
    h = model.hidden.states[random.choice(len(p), NUM_CHAINS, p=p / p.sum())]
    (block,) = model.visible.blocks
    mean = block.bias + block.sigma * (model.hidden.statistic(h) @ model.weights.T)
    return mean + block.sigma * random.normal(size=mean.shape)


def drift(model, v, h):
    """How far (v, h) are from draws of the joint: total variation, and its bound for such draws."""
    if any(block.kind == "Gaussian" for block in model.visible.blocks):
        counts, p = model.hidden.counts(h), model.hidden_marginal()
    elif any(block.kind == "ReLU" for block in model.hidden.blocks):
        counts, p = model.visible.counts(v), model.visible_marginal()
    else:
        pairs = model.visible.number(v) * len(model.hidden.states) + model.hidden.number(h)
        counts = np.bincount(pairs, minlength=model.joint().size)
        p = model.joint().ravel()
    distance = oracles.total_variation(counts / counts.sum(), p)
    return distance, oracles.total_variation_bound(p, counts.sum(), FALSE_ALARM)


def run_gibbs(params, v, num_steps, seed=0):
    # A new function each time: the twins below change what it calls.
    compiled = jax.jit(lambda key, params, v, n: rbm.gibbs(key, params, v, n))
    v = jnp.asarray(v, jnp.float32)
    return [compiled(jax.random.key(seed), params, v, jnp.int32(n)) for n in num_steps]


KERNELS = [
    ("bernoulli", "bernoulli"),
    ("spin", "softmax"),
    ("softmax", "binomial"),
    ("gaussian learnt", "bernoulli"),
    ("bernoulli", "relu"),
]


@pytest.mark.parametrize(("visible", "hidden"), KERNELS)
def test_gibbs_sampling_does_not_drift(visible, hidden):
    params = make(visible, hidden, weight_scale=1.0)
    model = oracles.Model.of(params, max_input=10.0)
    for v, h in run_gibbs(params, start(model), (1, 4, 16)):
        distance, bound = drift(model, v, h)
        assert distance < bound
        if visible == "gaussian learnt":  # what remains of v given h is normal
            (block,) = model.visible.blocks
            noise = (np.float64(v) - block.bias) / block.sigma
            noise -= model.hidden.statistic(np.float64(h)) @ model.weights.T
            assert scipy.stats.kstest(noise.ravel(), "norm").pvalue > FALSE_ALARM


def halve(hidden_inputs):
    return lambda params, v: 0.5 * hidden_inputs(params, v)


def transpose(hidden_inputs):
    def transposed(params, v):
        return hidden_inputs(dataclasses.replace(params, weights=params.weights.T), v)

    return transposed


def without_statistic(hidden_inputs):
    del hidden_inputs
    return lambda params, v: v @ params.weights


TWINS = [(halve, *pair) for pair in KERNELS] + [
    (transpose, "bernoulli", "bernoulli"),
    (without_statistic, "gaussian learnt", "bernoulli"),
]


@pytest.fixture
def patched(monkeypatch):
    """A monkeypatch that finds and leaves no traces: `rbm.sample_hidden` would keep what it saw."""
    jax.clear_caches()
    yield monkeypatch
    monkeypatch.undo()
    jax.clear_caches()


@pytest.mark.parametrize(("change", "visible", "hidden"), TWINS)
def test_a_broken_kernel_drifts(change, visible, hidden, patched):
    """The twin: the couplings and the number of chains are large enough to notice a fault."""
    params = make(visible, hidden, weight_scale=1.0, seed=2)
    model = oracles.Model.of(params, max_input=10.0)
    patched.setattr(rbm, "hidden_inputs", change(rbm.hidden_inputs))
    ((v, h),) = run_gibbs(params, start(model), (4,))
    distance, bound = drift(model, v, h)
    assert distance > bound


def test_gibbs_with_means_instead_of_samples_drifts(patched):
    params = make("bernoulli", "bernoulli", weight_scale=3.0)
    model = oracles.Model.of(params)
    patched.setattr(
        rbm, "gibbs_from_hidden", functools.partial(rbm.gibbs_from_hidden, sample_visible=False)
    )
    ((_, h),) = run_gibbs(params, start(model), (4,))
    distance = oracles.total_variation(model.hidden.counts(h) / NUM_CHAINS, model.hidden_marginal())
    p = model.hidden_marginal()
    assert distance > oracles.total_variation_bound(p, NUM_CHAINS, FALSE_ALARM)


def test_number_of_steps_may_be_traced():
    params = make("bernoulli", "spin")
    v = jnp.ones((5, 3))
    gibbs = functools.partial(rbm.gibbs, jax.random.key(0), params, v)
    traced, known = jax.jit(gibbs), jax.jit(gibbs, static_argnums=0)
    for n in (1, 2, 5):
        trees_allclose(known(n), traced(jnp.int32(n)))


def test_gibbs_takes_any_leading_axes():
    params = make("bernoulli", "spin")
    flat = jnp.asarray(some_states(oracles.Model.of(params).visible, 12), jnp.float32)
    gibbs = jax.jit(rbm.gibbs)
    v, h = gibbs(jax.random.key(1), params, flat, 3)
    for shape in [(3, 4), (2, 3, 2)]:
        shaped_v, shaped_h = gibbs(jax.random.key(1), params, flat.reshape(*shape, 3), 3)
        np.testing.assert_array_equal(shaped_v, v.reshape(*shape, 3))
        np.testing.assert_array_equal(shaped_h, h.reshape(*shape, 3))
    single_v, single_h = gibbs(jax.random.key(1), params, flat[0], 3)
    assert single_v.shape == single_h.shape == (3,)


def test_fantasy_returns_the_inputs_of_what_it_returns():
    params = make("gaussian learnt", "bernoulli")
    h = jnp.ones((4, 3))
    for sample_visible in (True, False):
        for n in (1, 3):
            v, last, inputs = rbm.gibbs_from_hidden(
                jax.random.key(2), params, h, n, sample_visible=sample_visible
            )
            allclose(inputs, rbm.hidden_inputs(params, v), rtol=1e-5, atol=1e-6)
            if n == 1:
                np.testing.assert_array_equal(last, h)
            if not sample_visible:
                allclose(v, rbm.visible_mean(params, last), rtol=1e-5, atol=1e-6)


def test_sample_hidden_and_visible_are_the_units_samples_given_their_inputs():
    params = make("softmax", "binomial")
    model = oracles.Model.of(params)
    v, h = some_states(model.visible, (4,)), some_states(model.hidden, (4,))
    v, h, key = jnp.asarray(v, jnp.float32), jnp.asarray(h, jnp.float32), jax.random.key(3)
    expected = params.hidden.sample(key, rbm.hidden_inputs(params, v))
    np.testing.assert_array_equal(rbm.sample_hidden(key, params, v), expected)
    expected = params.visible.sample(key, rbm.visible_inputs(params, h))
    np.testing.assert_array_equal(rbm.sample_visible(key, params, h), expected)


@pytest.mark.parametrize("num_steps", [0, -3, jnp.int32(0)])
def test_known_numbers_of_steps_below_one_are_refused(num_steps):
    params = make("bernoulli", "bernoulli")
    with pytest.raises(ValueError, match=f"number of Gibbs steps is {num_steps}; "):
        rbm.gibbs(jax.random.key(0), params, jnp.zeros(params.visible.num_units), num_steps)
