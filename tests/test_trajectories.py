"""Moments and trajectories against the plain calls that they stand for."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import dbn, label_units, rbm, trajectories
from tests import oracles
from tests.random_models import at_random

NUM_LABELS = 3
SIZES = {1: (6, 5), 2: (6, 4, 5), 3: (6, 4, 3, 5)}


def make_net(depth, labels):
    def blank():
        sizes, key = SIZES[depth], jax.random.key(0)
        layers = [rbm.init_params(key, *pair) for pair in itertools.pairwise(sizes)]
        if labels:
            layers[-1] = label_units.init_params(key, sizes[-2], sizes[-1], NUM_LABELS)
        return dbn.stack(tuple(layers))

    return at_random(depth, blank)


@pytest.fixture(scope="module", params=[(1, True), (2, False), (3, True)], ids=["1", "2 free", "3"])
def net(request):
    return make_net(*request.param)


def test_a_trajectory_is_plain_calls_one_after_the_other(net):
    key, x_key = jax.random.split(jax.random.key(0))
    x = jnp.round(jax.random.uniform(x_key, (2, net.top.visible.num_units)))
    clamped = jnp.arange(x.shape[-1]) == 1
    gibbs, down = jax.jit(label_units.clamped_gibbs), jax.jit(dbn.sample_generation)
    intervals = [1, 4, 2]
    found, end = jax.jit(trajectories.trajectory)(key, net, x, clamped, jnp.array(intervals))
    for t, num_steps in enumerate(intervals):
        gibbs_key, down_key = jax.random.split(jax.random.fold_in(key, t))
        x, h = gibbs(gibbs_key, net.top, x, clamped, num_steps)
        below, labels = label_units.split(net.top, rbm.visible_mean(net.top, h))
        pixels, *states = down(down_key, net, label_units.split(net.top, x)[0])
        if not net.generative:  # the pixels are the features of the top RBM themselves
            pixels, states = below, []
        np.testing.assert_allclose(found.pixels[t], pixels, rtol=1e-5)
        np.testing.assert_allclose(found.labels[t], labels, rtol=1e-5)
        for seen, expected in zip(found.hidden, [*states, h], strict=True):
            np.testing.assert_array_equal(seen[t], expected)
    np.testing.assert_array_equal(end, x)


def test_looking_does_not_disturb_what_is_clamped(net):
    labels = jnp.tile(jnp.eye(NUM_LABELS)[1], (200, 1)) if dbn.num_labels(net) else None
    size = net.top.visible.num_units
    x = label_units.join(net.top, jnp.zeros((200, size - dbn.num_labels(net))), labels)
    clamped = label_units.mask(net.top) if dbn.num_labels(net) else jnp.arange(size) < 2
    intervals = jnp.array([1, 1, 3])
    run = jax.jit(trajectories.trajectory)
    _, end = run(jax.random.key(2), net, x, clamped, intervals)
    kept = np.asarray(clamped)
    np.testing.assert_array_equal(end[:, kept], x[:, kept])
    assert (np.asarray(end != x)[:, ~kept]).any(axis=0).all()  # all else moves
    _, free = run(jax.random.key(2), net, x, jnp.zeros_like(clamped), intervals)
    assert (np.asarray(free != x)[:, kept]).any()  # as these would


def test_what_is_shown_is_recognised_from_below(net):
    v = jnp.round(jax.random.uniform(jax.random.key(3), (4, 6)))
    key = jax.random.key(4)
    found, x = jax.jit(trajectories.perceive)(key, net, v)
    np.testing.assert_array_equal(found.pixels, v)
    up_key, top_key = jax.random.split(key)
    _, *states = seen = jax.jit(dbn.sample_recognition)(up_key, net, v)
    np.testing.assert_array_equal(x, label_units.join(net.top, seen[-1]))  # the labels neutral
    states.append(jax.jit(rbm.sample_hidden)(top_key, net.top, x))
    for hidden, expected in zip(found.hidden, states, strict=True):
        np.testing.assert_array_equal(hidden, expected)
    assert found.labels.shape == (4, dbn.num_labels(net))
    if dbn.num_labels(net):
        np.testing.assert_allclose(found.labels.sum(-1), 1, rtol=1e-5)


def test_long_trajectories_have_the_distribution_of_the_model():
    """One layer, so that all is enumerated: pixels, hidden states and labels, each a mean."""
    net = make_net(1, True)
    model = oracles.Model.of(net.top)
    many = 20_000
    x = label_units.join(net.top, jnp.zeros((many, 6)))
    run = jax.jit(trajectories.trajectory)
    found, _ = run(jax.random.key(5), net, x, jnp.zeros(9, bool), jnp.array([60]))
    mean = model.visible_marginal() @ model.visible.states
    oracles.assert_mean(found.pixels[0], mean[:6])
    oracles.assert_mean(found.labels[0], mean[6:])
    hidden = np.asarray(rbm.hidden_mean(net.top, jnp.asarray(model.visible.states, jnp.float32)))
    oracles.assert_mean(found.hidden[0][0], model.visible_marginal() @ hidden)
    # The power: chains of one step are elsewhere.
    early, _ = run(jax.random.key(5), net, x, jnp.zeros(9, bool), jnp.array([1]))
    with pytest.raises(AssertionError):
        oracles.assert_mean(early.pixels[0], mean[:6])
