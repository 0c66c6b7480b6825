"""Gibbs sampling of RBMs: kernels that do not drift.

Chains start in the enumerated distribution, so that however slowly they mix they must stay in it.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from dbn_jax import rbm
from tests import oracles, significance
from tests.small_rbms import FALSE_ALARM, allclose, make, some_states

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
    mean = block.bias + model.hidden.statistic(h) @ model.weights.T
    return block.location + block.sigma * (mean + random.normal(size=mean.shape))


def drift(model, v, h):
    """How far (v, h) are from draws of the joint, as far as that is discrete."""
    if any(block.kind == "Gaussian" for block in model.visible.blocks):
        return significance.drift(model.hidden.counts(h), model.hidden_marginal(), FALSE_ALARM)
    if any(block.kind == "ReLU" for block in model.hidden.blocks):
        return significance.drift(model.visible.counts(v), model.visible_marginal(), FALSE_ALARM)
    return significance.drift(model.joint_counts(v, h), model.joint().ravel(), FALSE_ALARM)


gibbs = jax.jit(rbm.gibbs)


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
    begin = jnp.asarray(start(model), jnp.float32)
    for num_steps in (1, 4, 16):
        v, h = gibbs(jax.random.key(0), params, begin, num_steps)
        assert drift(model, v, h) < 1
        if visible == "gaussian learnt":  # what remains of v given h is normal
            (block,) = model.visible.blocks
            noise = block.statistic(np.float64(v)) - block.bias
            noise -= model.hidden.statistic(np.float64(h)) @ model.weights.T
            assert scipy.stats.kstest(noise.ravel(), "norm").pvalue > FALSE_ALARM
    # The power: the kernel of weights half as large is noticed.
    halved = dataclasses.replace(params, weights=0.5 * params.weights)
    assert drift(model, *gibbs(jax.random.key(0), halved, begin, 4)) > 1


def test_gibbs_takes_any_leading_axes():
    params = make("bernoulli", "spin")
    flat = jnp.asarray(some_states(oracles.Model.of(params).visible, 12), jnp.float32)
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
