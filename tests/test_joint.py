"""The joint model of a stack against enumeration of all its states."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import convolutional, dbn, joint, rbm
from tests import significance


@pytest.fixture
def net(x64):
    """A 3×3 image, a map of 2×2 units pooled to one, and two units above that."""
    below = convolutional.init_params(
        jax.random.key(0), (3, 3, 1), 1, 2, block=2, weight_scale=1.0, dtype=jnp.float64
    )
    above = rbm.init_params(jax.random.key(1), 1, 2, weight_scale=1.5, dtype=jnp.float64)
    rng = np.random.default_rng(2)
    layers = jax.tree.map(lambda x: x + jnp.asarray(rng.normal(size=x.shape)), (below, above))
    return dbn.stack(layers)


def every_state(net):
    """All (v, h¹, h²), and the energy of each by sums written out."""
    images = np.array(list(itertools.product([0.0, 1.0], repeat=9)))
    maps = np.concatenate([np.zeros((1, 4)), np.eye(4)])
    tops = np.array(list(itertools.product([0.0, 1.0], repeat=2)))
    v, h, top = (
        x.reshape(-1, x.shape[-1])
        for x in (
            np.repeat(images, 20, axis=0),
            np.tile(np.repeat(maps, 4, axis=0), (512, 1)),
            np.tile(tops, (2560, 1)),
        )
    )
    below, above = net.layers
    filters = np.asarray(below.weights.filters)[:, :, 0, 0]
    seen = v.reshape(-1, 3, 3)
    energy = -v.sum(1) * float(below.visible.bias[0]) - h.sum(1) * float(below.hidden.bias[0])
    for i, j in itertools.product(range(2), repeat=2):
        energy -= h[:, 2 * i + j] * (seen[:, i : i + 2, j : j + 2] * filters).sum((1, 2))
    energy -= top @ np.asarray(above.hidden.bias)
    energy -= h.sum(1) * (top @ np.asarray(above.weights)[0])
    return (v, h, top), energy


def test_energy(net):
    states, energy = every_state(net)
    found = joint.energy(net, tuple(map(jnp.asarray, states)))
    np.testing.assert_allclose(found, energy, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_mean_given_the_other_layers(net, layer):
    states, energy = every_state(net)
    p = np.exp(-energy)
    example = 7777
    others = [i for i in range(3) if i != layer]
    same = np.all([np.all(states[i] == states[i][example], axis=1) for i in others], axis=0)
    expected = (p[same] @ states[layer][same]) / p[same].sum()
    given = tuple(jnp.asarray(x[example]) for x in states)
    np.testing.assert_allclose(joint.mean(net, given, layer), expected, rtol=1e-12)


def test_gibbs_with_clamped_pixels_draws_the_others_and_the_hidden_layers(net):
    states, energy = every_state(net)
    clamped = np.arange(9) < 6
    seen = np.array([1.0, 0, 1, 0, 1, 1])
    same = np.all(states[0][:, :6] == seen, axis=1)
    p = np.exp(-energy[same])
    p /= p.sum()
    v = np.full((20_000, 9), np.nan)
    v[:, :6] = seen
    drawn = joint.gibbs(jax.random.key(3), net, jnp.asarray(v), jnp.asarray(clamped), 60)
    np.testing.assert_array_equal(drawn[0][:, :6], v[:, :6])
    for x, of_state in zip(drawn, states, strict=True):
        assert np.all(np.abs(significance.z_scores(x, p @ of_state[same])) < 5)


def test_clamped_must_be_booleans(net, unchecked_annotations):
    with pytest.raises(TypeError, match="clamped is float64; give a boolean for each pixel"):
        joint.gibbs(jax.random.key(0), net, jnp.zeros((1, 9)), jnp.ones(9), 1)
