"""RBMs small enough for exact learning, data for them, and what their tests share."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import units
from tests import oracles
from tests.random_models import random_rbm

# Every unit type; a layer that can be enumerated on one side at least, as Exact needs.
PAIRS = {
    "bernoulli": ((units.Bernoulli(), 4), (units.Bernoulli(), 3)),
    "gaussian": ((units.Gaussian(sigma=0.6, learn_sigma=True), 2), (units.Bernoulli(), 3)),
    "softmax": ((units.Softmax(num_classes=3), 6), (units.Spin(), 3)),
    "binomial": ((units.Binomial(num_trials=3), 2), (units.Gaussian(sigma=1.7), 2)),
    "poisson": ((units.Poisson(), 2), (units.Bernoulli(), 3)),
    "relu": ((units.Bernoulli(), 4), (units.ReLU(), 2)),
    "concat": (
        (units.Concat((units.Gaussian(learn_sigma=True), units.Softmax(num_classes=3)), (1, 3)), 4),
        (units.Concat((units.Spin(), units.Binomial(num_trials=2)), (2, 1)), 3),
    ),
    "memory": (
        (units.Concat((units.Bernoulli(), units.Softmax(num_classes=2)), (2, 2)), 4),
        (units.Bernoulli(), 3),
    ),
    "maps": ((units.Maps(units.Bernoulli(), 2), 4), (units.MaxPooled(shape=(2, 2)), 4)),
}


def make(pair, **options):
    """An RBM of one of PAIRS (or of two layers), all its parameters drawn at random."""
    return random_rbm(*PAIRS.get(pair, pair), **options)


@functools.partial(jax.jit, static_argnames="size")
def draw_batch(params, size=5, seed=9):
    """Visible values that are not drawn from the model: those of its biases alone."""
    inputs = jnp.zeros((size, params.visible.num_units), params.weights.dtype)
    return params.visible.sample(jax.random.key(seed), inputs)


def assert_trees_close(tree, expected, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), tree, expected)


def replicas(learner, params, batch, *, num_replicas, burn_in, init=None):
    """Independent gradients, each after so many updates of its chains with frozen parameters."""
    init = init or learner.init

    def run(key):
        init_key, key = jax.random.split(key)

        def update(t, chains):
            return learner.estimate(jax.random.fold_in(key, t), params, chains, batch)[1]

        chains = jax.lax.fori_loop(0, burn_in, update, init(init_key, params))
        return learner.estimate(jax.random.fold_in(key, burn_in), params, chains, batch)[0]

    keys = jax.random.split(jax.random.key(5), num_replicas)
    return oracles.leaves(jax.jit(jax.vmap(run))(keys))


def mixing_rate(model, side="hidden"):
    """Second largest eigenvalue of a Gibbs step: by this factor every step forgets its start."""
    return np.sort(np.abs(np.linalg.eigvals(model.gibbs(1, side))))[-2]


def tempered(params, beta):
    """p ∝ exp(−U_v − U_h + β s_vᵀW s_h), enumerated."""
    model = oracles.Model.of(params)
    return dataclasses.replace(model, weights=beta * model.weights)
