"""Moments and trajectories against the plain calls that they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import clamping, dbn, label_units, rbm, trajectories
from tests.random_models import random_net

NUM_LABELS = 3


@pytest.fixture(
    scope="module",
    params=[((6, 5), NUM_LABELS), ((6, 4, 5), 0), ((6, 4, 3, 5), NUM_LABELS)],
    ids=["1", "2 free", "3"],
)
def net(request):
    sizes, num_labels = request.param
    return random_net(len(sizes), sizes, num_labels)


def test_a_trajectory_is_plain_calls_one_after_the_other(net):
    key, x_key = jax.random.split(jax.random.key(0))
    x = jnp.round(jax.random.uniform(x_key, (2, net.top.visible.num_units)))
    clamped = jnp.arange(x.shape[-1]) == 1
    gibbs, down = jax.jit(clamping.gibbs), jax.jit(dbn.sample_generation)
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
