"""Learners on the way to maximum likelihood, up to the end."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dbn_jax import learning, rbm
from dbn_jax.learning import CD, PCD, Centred, Exact, FastPCD, ParallelTempering
from tests import oracles
from tests.small_learning import (
    draw_batch,
    make,
)


def test_exact_gradient_is_the_likelihood_gradient():
    # The other types, and log Z itself: test_partition.
    params = make("concat")
    batch, model = draw_batch(params), oracles.Model.of(params)
    gradient, _, metrics = jax.jit(Exact().estimate)(None, params, None, batch)
    batch = np.asarray(batch, np.float64)
    for name, expected in model.log_likelihood_gradient(batch).items():
        found = oracles.leaves(gradient)[name]
        np.testing.assert_allclose(found, -expected, rtol=2e-5, atol=2e-5, err_msg=name)
    likelihood = model.log_likelihood(batch).mean()
    np.testing.assert_allclose(metrics["log_likelihood"], likelihood, rtol=1e-5)


@pytest.mark.parametrize("sample_visible", [True, False])
def test_cd_has_its_own_number_of_steps_and_kind_of_reconstruction(sample_visible):
    params, key, options = make("bernoulli"), jax.random.key(0), {"sample_visible": sample_visible}
    batch = draw_batch(params)
    gradient, _, metrics = CD(3, **options).estimate(key, params, None, batch)
    expected = rbm.cd_gradient(key, params, batch, num_gibbs_steps=3, **options)
    jax.tree.map(np.testing.assert_array_equal, (gradient, metrics), expected)


# Learning, to the end.

# 3×3 images with some rows filled or some columns filled: 14 different ones.
BARS = np.unique(
    [image for bits in np.ndindex(2, 2, 2) for image in np.broadcast_arrays(*np.ix_(bits, bits))],
    axis=0,
).reshape(-1, 9)
MAXIMUM = -math.log(len(BARS))  # each image once: no model gives all of them more


@functools.cache
def learnt(learner, *, num_updates=2_000, rate=0.2, momentum=None):
    """Exact mean log-likelihood of BARS after learning them, the rate falling to zero."""
    optimizer = optax.sgd(optax.linear_schedule(rate, 0.0, num_updates), momentum)
    batch = jnp.asarray(BARS, jnp.float32)

    @jax.jit
    @jax.numpy_dtype_promotion("standard")  # optax mixes counts and rates
    def run(key):
        init_key, chain_key, key = jax.random.split(key, 3)
        params = rbm.init_params(init_key, 9, 12, weight_scale=0.1)
        state = learning.init_state(chain_key, params, learner=learner, optimizer=optimizer)

        def update(t, state):
            key_t = jax.random.fold_in(key, t)
            return learning.step(key_t, state, batch, learner=learner, optimizer=optimizer)[0]

        return jax.lax.fori_loop(0, num_updates, update, state).params

    model = oracles.Model.of(run(jax.random.key(12)))
    return model.log_likelihood(np.float64(BARS)).mean()


def test_exact_gradient_learns_up_to_the_maximum():
    reached = learnt(Exact(), num_updates=3_000, rate=0.3, momentum=0.9)
    assert MAXIMUM - 0.02 < reached < MAXIMUM


# Chains of learners that mix well enough learn as the exact gradient does; over seeds, their
# likelihoods differ from its by 0.02 nats.
@pytest.mark.parametrize(
    "learner",
    [CD(10), PCD(), FastPCD(), ParallelTempering(num_chains=50, num_temperatures=3)],
    ids=lambda learner: type(learner).__name__,
)
def test_learning_by_sampling_goes_as_far_as_the_exact_gradient(learner):
    assert abs(learnt(learner) - learnt(Exact())) < 0.1
    # Power: the bias of CD-1 costs more.
    assert learnt(CD(1)) < learnt(Exact()) - 0.2


def test_centring_learns_farther_in_the_same_time():
    assert learnt(Exact()) + 0.2 < learnt(Centred(Exact())) < MAXIMUM
