"""Layers of maps in use: filters on images of another size, learning rates per place."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dbn_jax import convolutional, dbn, networks, rbm, units
from tests.random_models import at_random


def stack(image_shape=(10, 8, 2), **options):
    """Maps of 3, pooled, and above them 2 maps of filters of 2×2."""
    keys = jax.random.split(jax.random.key(0))
    low = convolutional.init_params(keys[0], image_shape, 3, 3, block=2, **options)
    shape = convolutional.pooled_shape(low)
    return low, convolutional.init_params(keys[1], shape, 2, 2, shared=options.get("shared", True))


def test_on_larger_images_units_are_what_they_were_where_they_see_the_same():
    pixels = units.Gaussian(learn_sigma=True)
    layers = at_random(0, functools.partial(stack, visible=pixels))
    moved = convolutional.on_images(layers, (12, 14, 2))
    assert jax.tree.structure(moved) == jax.tree.structure(stack((12, 14, 2), visible=pixels))
    jax.tree.map(np.testing.assert_array_equal, *map(jax.tree.leaves, (moved, layers)))
    image = np.random.default_rng(0).normal(size=(12, 14, 2)).astype(np.float32)
    corner = image[:10, :8]
    large, small = (
        dbn.up_pass(dbn.stack(x), jnp.asarray(v.reshape(-1)))
        for x, v in ((moved, image), (layers, corner))
    )
    for wide, narrow, old, new in zip(large, small, layers, moved, strict=True):
        old, new = convolutional.pooled_shape(old), convolutional.pooled_shape(new)
        wide = wide.reshape(new)[: old[0], : old[1]]
        np.testing.assert_allclose(wide, narrow.reshape(old), rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "image_shape", "words"),
    [
        ({}, (10, 8, 3), "the filters are of 2 channels, but the images have 3: they cannot be mo"),
        ({}, (2, 8, 2), "filters of 3×3 do not fit into images of 2×8: choose smaller ones, or an"),
        ({}, (11, 8, 2), "maps of 9×6 units cannot be pooled in blocks of 2×2: choose a block, or"),
        ({"shared": False}, (12, 8, 2), "are LocalConnections: only filters that all places share"),
    ],
)
def test_images_where_the_filters_cannot_go(options, image_shape, words):
    with pytest.raises(ValueError, match=words):
        convolutional.on_images(stack(**options), image_shape)


def test_on_the_same_images_all_layers_stay():
    layers = stack(shared=False)
    assert convolutional.on_images(layers, (10, 8, 2)) == layers


@pytest.mark.parametrize(("shared", "weights"), [(True, 48), (False, 1)])
def test_per_place_gradients_are_means_over_places(shared, weights):
    """Over 8 × 6 places of maps and 10 × 8 pixels; weights of a place alone are in no sum."""
    params, _ = stack(shared=shared)
    optimizer = convolutional.per_place()
    ones = jax.tree.map(jnp.ones_like, params)
    found, _ = optimizer.update(ones, optimizer.init(params), params)
    np.testing.assert_allclose(found.weights.filters, 1 / weights, rtol=1e-6)
    np.testing.assert_allclose(found.visible.bias, 1 / 80, rtol=1e-6)
    np.testing.assert_allclose(found.hidden.bias, 1 / 48, rtol=1e-6)


def test_behind_per_place_decay_is_what_it_is_elsewhere():
    params, _ = at_random(0, stack)
    decay = optax.add_decayed_weights(0.1, mask=rbm.weight_mask)
    optimizer = optax.chain(convolutional.per_place(), decay, optax.sgd(0.5))
    zeros = jax.tree.map(jnp.zeros_like, params)
    found, _ = optimizer.update(zeros, optimizer.init(params), params)
    np.testing.assert_allclose(found.weights.filters, -0.05 * params.weights.filters, rtol=1e-5)
    np.testing.assert_array_equal(found.hidden.bias, 0)


def test_convolutional_layers_make_no_autoencoder():
    with pytest.raises(ValueError, match="layer 0 has weights of type Convolution; an autoenc"):
        networks.unroll(dbn.stack(stack()))
