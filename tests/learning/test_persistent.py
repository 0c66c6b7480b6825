"""Learners whose chains persist.

Started in equilibrium, chains must stay there. What they start from and should keep is known by
enumeration, so that slow mixing cannot excuse a drift.
"""

import dataclasses
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import learning, rbm, units
from dbn_jax.learning import PCD, FastPCD, ParallelTempering
from tests import oracles, significance
from tests.small_learning import (
    assert_trees_close,
    draw_batch,
    make,
    mixing_rate,
    replicas,
    tempered,
)

NUM_CHAINS = 20_000


def levels_of(learner):
    """β of each level."""
    if isinstance(learner, ParallelTempering):
        return np.linspace(learner.min_beta, 1, learner.num_temperatures)
    return np.ones(1)


def hidden_draws(model, num_draws=NUM_CHAINS, seed=0):
    """Independent draws from p(h): (num_draws, H)."""
    p, states = model.hidden_marginal(), model.hidden.states
    chosen = np.random.default_rng(seed).choice(len(p), size=num_draws, p=p)
    return jnp.asarray(states[chosen], jnp.float32)


@functools.partial(jax.jit, static_argnums=0)
def next_chains(learner, key, params, chains, batch):
    """The chains after an update, without what else it computes."""
    return learner.estimate(key, params, chains, batch)[1]


def drifts(learner, params, *, kernel_params=None, fast=None):
    """Total variation from equilibrium, in units of its bound: after 1, 4, 16 updates.

    Args:
      learner: keeps chains.
      params: of the model whose equilibrium is meant.
      kernel_params: those that the learner is given, where they differ.
      fast: fast parameters of FastPCD.
    """
    kernel_params = params if kernel_params is None else kernel_params
    models = [tempered(params, beta) for beta in levels_of(learner)]
    chains = jnp.stack([hidden_draws(model, seed=k) for k, model in enumerate(models)])
    if not isinstance(learner, ParallelTempering):
        chains = chains[0]
    if isinstance(learner, FastPCD):
        chains = learning.FastChains(chains, fast or jax.tree.map(jnp.zeros_like, params))
    batch = draw_batch(params, 2)
    for t in range(16):
        key = jax.random.fold_in(jax.random.key(6), t)
        chains = next_chains(learner, key, kernel_params, chains, batch)
        if t + 1 not in (1, 4, 16):
            continue
        hidden = np.asarray(chains.hidden if isinstance(learner, FastPCD) else chains)
        for model, h in zip(models, hidden.reshape(len(models), NUM_CHAINS, -1), strict=True):
            yield significance.drift(model.hidden.counts(h), model.hidden_marginal())


def weakened(params):
    return rbm.RBM(0.7 * params.weights, params.visible, params.hidden)


@pytest.mark.parametrize(
    ("learner", "pair"),
    [
        (PCD(NUM_CHAINS), "bernoulli"),
        (PCD(NUM_CHAINS, num_gibbs_steps=3), "bernoulli"),
        (ParallelTempering(NUM_CHAINS, num_temperatures=2, min_beta=0.3), "bernoulli"),
        (ParallelTempering(NUM_CHAINS, num_temperatures=3, num_gibbs_steps=3), "concat"),
    ],
    ids=str,
)
def test_chains_stay_in_equilibrium(learner, pair):
    params = make(pair, weight_scale=1.0)
    assert max(drifts(learner, params)) < 1
    # Power: weights smaller by 3/10 are noticed.
    assert any(x > 1.3 for x in drifts(learner, params, kernel_params=weakened(params)))


def joint_drifts(params, learner, kernel_params):
    """As `drifts`, for v and h together at every level after `ParallelTempering.sample`."""
    models = [tempered(params, beta) for beta in levels_of(learner)]
    h = jnp.stack([hidden_draws(model, seed=k) for k, model in enumerate(models)])
    sample = jax.jit(learner.sample)
    for t in range(16):
        v, h, inputs, _ = sample(jax.random.fold_in(jax.random.key(7), t), kernel_params, h)
        if t + 1 not in (1, 4, 16):
            continue
        np.testing.assert_allclose(
            inputs, rbm.hidden_inputs(kernel_params, v), rtol=1e-5, atol=1e-5
        )
        for model, level_v, level_h in zip(models, v, h, strict=True):
            yield significance.drift(model.joint_counts(level_v, level_h), model.joint().ravel())


def test_exchanges_keep_every_level_in_equilibrium():
    params, learner = make("bernoulli", weight_scale=2.0), ParallelTempering(NUM_CHAINS, 4)
    assert max(joint_drifts(params, learner, params)) < 1
    assert any(x > 3 for x in joint_drifts(params, learner, weakened(params)))


def test_swap_rates_are_their_expectations():
    params = make("bernoulli", weight_scale=3.0)
    learner = ParallelTempering(NUM_CHAINS, num_temperatures=4)
    betas = levels_of(learner)
    models = [tempered(params, beta) for beta in betas]
    h = jnp.stack([hidden_draws(model, seed=k) for k, model in enumerate(models)])
    _, _, metrics = jax.jit(learner.estimate)(jax.random.key(8), params, h, draw_batch(params))
    full, expected = models[-1], []
    interaction = (full.visible.states @ full.weights @ full.hidden.states.T).ravel()
    for k, (hot, cold) in enumerate(itertools.pairwise(models)):
        gain = (betas[k] - betas[k + 1]) * (interaction - interaction[:, None])
        accept = np.exp(np.minimum(gain, 0))
        pairs = np.outer(hot.joint(), cold.joint())
        mean = (pairs * accept).sum()
        error = math.sqrt(((pairs * accept**2).sum() - mean**2) / NUM_CHAINS)
        expected.append(mean)
        assert abs(metrics[f"swap_rate_{k}"] - mean) < significance.z_bound(3) * error
    # Power: the pairs of levels differ by much more than the error.
    assert max(expected) - min(expected) > 0.05


@pytest.mark.parametrize(
    ("learner", "pair"),
    [
        (PCD(num_chains=10), "bernoulli"),
        (PCD(num_chains=10), "gaussian"),
        (ParallelTempering(num_chains=10, num_temperatures=3), "binomial"),
    ],
    ids=str,
)
def test_long_run_statistics_are_exact(learner, pair):
    # Two times as many chains as examples: each phase is averaged over its own number.
    params = make(pair, weight_scale=0.7 if pair == "bernoulli" else 0.4)
    model, batch = oracles.Model.of(params), draw_batch(params)
    discrete = "visible" if pair == "binomial" else "hidden"
    assert mixing_rate(model, discrete) ** 40 < 1e-7  # so much is left of the start
    samples = replicas(learner, params, batch, num_replicas=2_000, burn_in=40)
    data = model.free_energy_gradient(np.asarray(batch, np.float64))

    def contrasted(other):
        negative = other.free_energy_gradient(other.visible.states, other.visible_marginal())
        return {name: data[name] - negative[name] for name in data}

    significance.assert_mean(samples, contrasted(model))
    # Power: the statistics of weights smaller by 3/10 are not mistaken for the model's.
    assert significance.largest_z(
        samples, contrasted(tempered(params, 0.7))
    ) > 2 * significance.z_bound(100)


def test_tempering_visits_both_modes_where_plain_chains_stay_in_one():
    # Spins that all like each other: all up or all down, each with probability one half.
    size, num_chains, num_steps = 6, 400, 300
    params = rbm.RBM(jnp.full((size, size), 0.9), units.Spin().init(size), units.Spin().init(size))
    model, batch = oracles.Model.of(params), jnp.ones((2, size))
    down = model.hidden.states.sum(axis=1) < 0
    up = model.hidden.number(np.ones(size))
    leave = model.gibbs(num_steps, side="hidden")[up, down].sum()
    assert leave * num_chains < 1e-5

    def fraction_down(learner, chains):
        def update(t, chains):
            key = jax.random.fold_in(jax.random.key(9), t)
            return learner.estimate(key, params, chains, batch)[1]

        chains = jax.jit(lambda chains: jax.lax.fori_loop(0, num_steps, update, chains))(chains)
        return np.mean(np.sum(chains, axis=-1) < 0, axis=-1)

    assert fraction_down(PCD(num_chains), jnp.ones((num_chains, size))) == 0
    tempering = ParallelTempering(num_chains, num_temperatures=5)
    visited = fraction_down(tempering, jnp.ones((5, num_chains, size)))[-1]
    assert abs(visited - 0.5) < significance.z_bound(1) * 0.5 / math.sqrt(num_chains)


# Fast PCD.


def test_fast_pcd_with_slow_fast_parameters_is_pcd():
    params, key = make("bernoulli"), jax.random.key(10)
    batch, chains = draw_batch(params), PCD(7).init(key, params)
    plain = jax.jit(PCD(7).estimate)(key, params, chains, batch)
    start = FastPCD(7).init(key, params)
    np.testing.assert_array_equal(start.hidden, chains)
    fast = jax.jit(FastPCD(7, fast_rate=0.0).estimate)(key, params, start, batch)
    assert_trees_close(fast[0], plain[0], rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(fast[1].hidden, plain[1])


def test_fast_parameters_follow_their_recursion():
    learner, params = FastPCD(7, fast_rate=0.3, fast_decay=0.9), make("gaussian")
    batch, estimate = draw_batch(params), jax.jit(learner.estimate)
    chains = learner.init(jax.random.key(11), params)
    expected = jax.tree.map(jnp.zeros_like, params)
    for t in range(3):
        gradient, chains, _ = estimate(jax.random.key(t), params, chains, batch)
        expected = jax.tree.map(lambda f, g: 0.9 * f - 0.3 * g, expected, gradient)
        assert_trees_close(chains.fast, expected, rtol=1e-5, atol=1e-6)


def test_fast_parameters_drive_the_chains_alone():
    # Frozen, they make the chains' model params + fast, while the gradient is that of params.
    params = make("bernoulli", weight_scale=1.0)
    learner = FastPCD(NUM_CHAINS, fast_rate=0.0, fast_decay=1.0)
    fast = jax.tree.map(lambda x: -0.5 * x, make("bernoulli", seed=3, weight_scale=1.0))
    driven = jax.tree.map(jnp.add, params, fast)
    assert max(drifts(learner, driven, kernel_params=params, fast=fast)) < 1
    assert any(x > 2 for x in drifts(learner, params, fast=fast))

    model, chased = oracles.Model.of(params), oracles.Model.of(driven)
    batch = draw_batch(params)
    learner = dataclasses.replace(learner, num_chains=20)

    def init(key, params):
        chosen = jax.random.choice(
            key, chased.hidden.states.shape[0], (20,), p=jnp.asarray(chased.hidden_marginal())
        )
        return learning.FastChains(jnp.asarray(chased.hidden.states, jnp.float32)[chosen], fast)

    samples = replicas(learner, params, batch, num_replicas=2_000, burn_in=0, init=init)
    data = model.free_energy_gradient(np.asarray(batch, np.float64))
    negative = model.free_energy_gradient(chased.visible.states, chased.visible_marginal())
    significance.assert_mean(samples, {name: data[name] - negative[name] for name in data})


def test_steps_of_one_update_draw_anew():
    """Noise used twice leaves the distribution as it is, but moves chains no further.

    Tempered chains that start in one of two modes, all on or all off, which they leave slowly: four
    steps in one update, and one step in each of four.
    """
    biases = units.Bernoulli(jnp.full(4, -3.0)), units.Bernoulli(jnp.full(3, -4.0))
    params = rbm.RBM(jnp.full((4, 3), 2.0), *biases)
    start = jnp.ones((2, NUM_CHAINS, params.hidden.num_units))
    batch = jnp.zeros((1, params.visible.num_units))

    def moved(key, chains, num_gibbs_steps):
        learner = ParallelTempering(NUM_CHAINS, 2, num_gibbs_steps, min_beta=0.8)
        return jax.jit(learner.estimate)(key, params, chains, batch)[1]

    keys = jax.random.split(jax.random.key(0), 5)
    together, apart = moved(keys[4], start, 4), start
    for key in keys[:4]:
        apart = moved(key, apart, 1)
    together, apart = np.asarray(together), np.asarray(apart)
    error = np.sqrt((together.var(axis=1) + apart.var(axis=1)) / NUM_CHAINS)
    difference = np.abs(together.mean(axis=1) - apart.mean(axis=1))
    assert (difference < 5 * error).all()  # six means, two-sided: false alarm below 4e-6
