"""Nets of convolutional layers, pooled and not, against loops over places and enumeration."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import convolutional, dbn, linear, rbm
from dbn_jax.learning import CD, bound_gradient, updown
from dbn_jax.likelihood import bound
from tests import convolutional_oracle, oracles, significance
from tests.random_models import at_random
from tests.small_rbms import allclose

MANY = 20_000


@pytest.fixture(scope="module")
def net():
    """5×5 pixels, 2 maps of 4×4 in blocks of 2, 2 maps of 2×2 that are all one block; and a top."""

    def blank():
        keys = jax.random.split(jax.random.key(0), 3)
        first = convolutional.init_params(keys[0], (5, 5, 1), 2, 2, block=2)
        second = convolutional.init_params(keys[1], (2, 2, 2), 2, 1, block=2)
        return dbn.stack((first, second, rbm.init_params(keys[2], 2, 3)))

    return at_random(1, blank, 0.9)


def images(*shape, seed=0):
    return (np.random.default_rng(seed).random((*shape, 25)) < 0.5).astype(np.float64)


def matrix(layer):
    if isinstance(layer.weights, linear.LinearMap):
        return convolutional_oracle.matrix(layer.weights)
    return np.float64(layer.weights)


def biases(side, size):
    return np.tile(np.float64(side.bias), size // len(side.bias))


def blocks(layer, x):
    """(..., P, C²)."""
    return convolutional_oracle.blocks(x, layer.weights.map_shape[:2], layer.hidden.block)


def unpooled(layer, x):
    """What each unit gets of its block: (..., P) -> (..., H)."""
    of_units = blocks(layer, np.arange(layer.hidden.num_units))
    spread = np.zeros((*x.shape[:-1], layer.hidden.num_units))
    for p, members in enumerate(of_units):
        spread[..., members] = x[..., [p]]
    return spread


def recognised(layer, x):
    """The means of pooled units: a softmax with one more state in each block."""
    total = x @ matrix(layer)
    total = total + biases(layer.hidden, total.shape[-1])
    weights = np.exp(blocks(layer, total)).sum(axis=-1)
    return weights / (1 + weights)


def generated(layer, pooled):
    """The means below, given those of the pooled units: each place of a block is as likely."""
    h = unpooled(layer, pooled) / layer.hidden.block**2
    total = h @ matrix(layer).T
    return oracles.sigmoid(total + biases(layer.visible, total.shape[-1]))


def test_mean_field_passes(net):
    first, second, top = net.layers
    v = images(2, 3)
    expected = [v]
    for layer in (first, second):
        expected.append(recognised(layer, expected[-1]))
    found = dbn.recognise(net, jnp.float32(v))
    assert [x.shape for x in found] == [(2, 3, 25), (2, 3, 8), (2, 3, 2)]
    for a, b in zip(found, expected, strict=True):
        allclose(a, b, rtol=1e-5)
    last = oracles.sigmoid(expected[-1] @ matrix(top) + np.float64(top.hidden.bias))
    up = dbn.up_pass(net, jnp.float32(v))
    for a, b in zip(up, [*expected[1:], last], strict=True):
        allclose(a, b, rtol=1e-5)

    x = oracles.sigmoid(last @ matrix(top).T + np.float64(top.visible.bias))
    for layer in (second, first):
        x = generated(layer, x)
    allclose(dbn.down_pass(net, jnp.float32(last)), x, rtol=1e-5)
    allclose(dbn.reconstruct(net, jnp.float32(v)), x, rtol=1e-5)


def test_states_up_and_down_have_the_conditional_means(net):
    first, second, _ = net.layers
    v = images()
    many = jnp.asarray(np.tile(v, (MANY, 1)), jnp.float32)
    _, *states = dbn.sample_recognition(jax.random.key(0), net, many)
    assert [x.shape for x in states] == [(MANY, 8), (MANY, 2)]
    on = recognised(first, v)
    significance.assert_mean(states[0], on)
    # Given the states below, not their means.
    below = oracles.binary(8)
    p = oracles.factorial(on)
    significance.assert_mean(states[1], p @ recognised(second, below))

    features = np.array([1.0, 0.0])
    pixels, *down = dbn.sample_generation(
        jax.random.key(1), net, jnp.asarray(np.tile(features, (MANY, 1)), jnp.float32)
    )
    np.testing.assert_array_equal(down[-1], np.tile(features, (MANY, 1)))
    # The unit of the block that is on is one of four, and the pixels' means are not linear in it.
    chosen = np.zeros((4, second.hidden.num_units))
    chosen[np.arange(4), blocks(second, np.arange(second.hidden.num_units))[0]] = 1
    bias = biases(second.visible, 8)
    on = oracles.sigmoid(chosen @ matrix(second).T + bias)
    significance.assert_mean(down[0], on.mean(axis=0))
    assert not np.allclose(on.mean(axis=0), generated(second, features), atol=1e-3)
    # Of the pixels, means given the units that were drawn, one in each block that is on.
    x = np.asarray(down[0])
    h = np.asarray(first.hidden.unpool(jax.random.key(2), jnp.asarray(x)))
    total = h @ matrix(first).T
    redrawn = oracles.sigmoid(total + biases(first.visible, 25))
    difference = np.asarray(pixels) - redrawn
    significance.assert_mean(difference, 0.0)
    assert np.std(difference) > 0.01


def test_generation_begins_with_the_top(net):
    h = rbm.init_chains(jax.random.key(0), net.top, MANY)
    pixels, after = dbn.generate(jax.random.key(1), net, h, 40)
    assert pixels.shape == (MANY, 25)
    assert after.shape == h.shape
    model = oracles.Model.of(net.top)
    features = model.visible.states[
        np.random.default_rng(0).choice(4, MANY, p=model.visible_marginal())
    ]
    down = dbn.sample_generation(jax.random.key(2), net, jnp.float32(features))[0]
    significance.assert_mean(np.asarray(pixels) - np.asarray(down), 0.0)
    significance.assert_mean(after, model.hidden_marginal() @ model.hidden.states)


def test_feature_images_are_products_of_the_matrices(net):
    first, second, top = net.layers
    found = [dbn.feature_images(net, layer) for layer in range(3)]
    expected = [matrix(first)]
    for below, layer in ((first, second), (second, top)):
        upper = unpooled(below, matrix(layer).T).T  # a pooled unit acts on all of its block
        expected.append(expected[-1] @ upper)
    for a, b in zip(found, expected, strict=True):
        allclose(a, b, rtol=1e-5, atol=1e-6)
    assert [x.shape for x in found] == [(25, 32), (25, 8), (25, 3)]


# The bound is for layers that do not pool.


def small(dtype=jnp.float32, **options):
    def blank():
        first = convolutional.init_params(
            jax.random.key(0), (3, 3, 1), 1, 2, dtype=dtype, **options
        )
        size = first.hidden.num_pooled
        return dbn.stack((first, rbm.init_params(jax.random.key(1), size, 3, dtype=dtype)))

    return at_random(0, blank)


@pytest.mark.usefixtures("x64")
def test_bound_and_up_down_of_layers_that_do_not_pool_are_those_of_tied_matrices():
    net = small(jnp.float64)
    first = net.layers[0]
    of_units = [side.elements()[0] for side in (first.visible, first.hidden)]
    tied = dbn.stack((rbm.RBM(jnp.asarray(matrix(first)), *of_units), net.top))
    v = jnp.asarray(images(4)[:, :9])
    jax.tree.map(allclose, bound.exact(net, v), bound.exact(tied, v))
    key = jax.random.key(0)
    changes = [updown.gradient(key, dbn.untie(each), v)[0] for each in (net, tied)]
    fold = functools.partial(convolutional_oracle.fold, first.weights)
    for side in ("recognition", "generative"):
        found, dense = (getattr(change, side)[0] for change in changes)
        allclose(found.weights.filters, fold(np.asarray(dense.weights)))
        allclose(found.hidden.bias, np.sum(dense.hidden.bias))
        allclose(found.visible.bias, np.sum(dense.visible.bias))
    jax.tree.map(allclose, changes[0].top, changes[1].top)


def test_pooled_nets_have_no_bound():
    net, key = dbn.untie(small(block=2)), jax.random.key(0)
    v = jnp.float32(images(4)[:, :9])
    message = re.escape(
        "layer 0 pools its hidden units: the net's probabilities, and so its bound and what "
        "ascends it, are for layers that do not; learn it greedily, or take block=1"
    )
    states = dbn.sample_recognition(key, net, v)
    for call in (
        lambda: bound.sample_terms(key, net, v),
        lambda: bound.exact(net, v),
        lambda: updown.gradient(key, net, v),
        lambda: dbn.log_recognition(net.recognition, states),
        lambda: dbn.log_generative(net.generative, states),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            call()
    with pytest.raises(TypeError, match="hidden layer 0 has MaxPooled units; the bound's gradient"):
        bound_gradient.gradient(key, net, None, v, learner=CD())
