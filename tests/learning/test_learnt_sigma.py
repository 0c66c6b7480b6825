"""A learnt σ: what it tends to, whatever unit the data are given in."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dbn_jax import learning, rbm, units
from dbn_jax.learning import CD, PCD, Centred, Exact

SIGMA = np.array([1.0, 0.5, 2.0, 0.3])
NUM_EXAMPLES = 2000


def examples():
    """Of an RBM with orthogonal weights, so that its hidden units are independent: (N, 4)."""
    rng = np.random.default_rng(0)
    weights = 3 * np.linalg.qr(rng.normal(size=(4, 2)))[0]
    h = rng.random((NUM_EXAMPLES, 2)) < [0.4, 0.6]
    return 5.0 + SIGMA * (h @ weights.T + rng.normal(size=(NUM_EXAMPLES, 4)))


@functools.partial(jax.jit, static_argnames=("learner", "num_updates"))
@jax.numpy_dtype_promotion("standard")  # optax mixes counts and rates
def learnt(learner, x, rate, num_updates):
    params = rbm.init_params(
        jax.random.key(0),
        x.shape[1],
        3,
        visible=units.Gaussian(learn_sigma=True),
        weight_scale=0.1,
        dtype=x.dtype,
    )
    params = rbm.fit_visible(params, x)
    optimizer = optax.sgd(rate)
    state = learning.init_state(jax.random.key(1), params, learner=learner, optimizer=optimizer)

    def update(t, state):
        key = jax.random.fold_in(jax.random.key(2), t)
        return learning.step(key, state, x, learner=learner, optimizer=optimizer)[0]

    return jax.lax.fori_loop(0, num_updates, update, state).params


@pytest.mark.parametrize("learner", [Exact(), CD(), PCD(50), Centred(CD())])
def test_learning_does_not_depend_on_the_unit_of_the_data(learner):
    with jax.enable_x64(True):
        x = jnp.asarray(examples()[:100])
        expected = learnt(learner, x, 0.1, 400)
        assert np.any(np.abs(expected.weights) > 0.3)
        for scale, shift in [(1e-3, 0.0), (0.1, -3.0), (100.0, 7.0)]:
            found = learnt(learner, scale * x + shift, 0.1, 400)
            same = [
                (p.weights, p.visible.bias, p.hidden.bias, p.visible.log_sigma - np.log(k))
                for p, k in ((found, scale), (expected, 1.0))
            ]
            for one, other in zip(*same, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-7)
            location = scale * expected.visible.location + shift
            np.testing.assert_allclose(found.visible.location, location, rtol=1e-12)


@pytest.mark.parametrize("scale", [0.001, 0.01, 0.1, 1.0, 10.0, 100.0])
def test_maximum_likelihood_finds_sigma_at_every_scale(scale):
    x = jnp.asarray(scale * examples(), jnp.float32)
    found = learnt(Exact(), x, 0.1, 3000)
    # The standard error of a σ is σ/√2N, if all else is known.
    error = 1 / np.sqrt(2 * NUM_EXAMPLES)
    np.testing.assert_allclose(found.visible.scale / scale, SIGMA, rtol=4.5 * error)


@pytest.mark.parametrize(("rate", "value"), [(1e-3, 1000.0), (1e-1, 0.0)])
def test_a_constant_column_does_no_harm(rate, value):
    x = examples()
    x[:, 1] = value
    found = learnt(CD(), jnp.asarray(0.03 * x, jnp.float32), rate, 1000)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(found))
    others = np.delete(np.arange(4), 1)
    assert np.all(np.asarray(found.visible.scale)[others] < 0.03 * x.std(0)[others] * 1.1)
    smallest = 0.01 * np.sqrt(np.mean((0.03 * x).var(0)))
    np.testing.assert_allclose(found.visible.scale[1], smallest, rtol=1e-3)
    mean = rbm.visible_mean(found, jnp.zeros(3))[1]
    np.testing.assert_allclose(mean, 0.03 * value, atol=5 * smallest)


def test_location_and_bound_do_not_learn():
    x = jnp.asarray(examples()[:50], jnp.float32)
    before, after = (learnt(CD(), x, 0.1, n).visible for n in (0, 20))
    assert np.all(before.log_sigma != after.log_sigma)
    kept = [dataclasses.replace(u, bias=None, log_sigma=None) for u in (before, after)]
    jax.tree.map(np.testing.assert_array_equal, *kept)
