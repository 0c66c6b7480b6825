"""Deep belief nets against enumeration of all states of a small one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import dbn, label_units, rbm, units
from tests import oracles, significance
from tests.oracles import binary, sigmoid
from tests.random_models import random_net


def strong_rbm(seed, num_visible, num_hidden):
    """Couplings and biases large enough that every distribution differs from the uniform one."""
    return random_net(seed, (num_visible, num_hidden), scale=1.5).top


@pytest.fixture(scope="module")
def net():
    return random_net(0, (5, 4, 3, 3), scale=1.5)


def exact_pixel_means(layers):
    """E[v] by enumeration: the top RBM's marginal, then the directed layers below."""
    *below, top = (oracles.Model.of(layer) for layer in layers)
    p = top.visible_marginal()
    for model in reversed(below):
        p = p @ model.visible_given(model.hidden.states)
    return p @ [*below, top][0].visible.states


@pytest.mark.parametrize("depth", [1, 3])
def test_generate_draws_from_the_net(net, depth):
    # 20,000 independent chains; 60 steps are far past mixing for at most 5 by 4 units.
    layers = net.layers[:depth]
    h = rbm.init_chains(jax.random.key(3), layers[-1], 20_000)
    v, _ = jax.jit(dbn.generate)(jax.random.key(4), dbn.stack(layers), h, 60)
    significance.assert_mean(v, exact_pixel_means(layers))
    # The power: another lower layer would be noticed.
    with pytest.raises(AssertionError):
        significance.assert_mean(v, exact_pixel_means((strong_rbm(9, 5, 4), *layers[1:])))


def test_passes_are_layer_by_layer(net):
    v = jax.random.uniform(jax.random.key(8), (2, 6, 5))
    means = dbn.up_pass(net, v)
    assert [m.shape for m in means] == [(2, 6, 4), (2, 6, 3), (2, 6, 3)]
    expected = np.asarray(v, np.float64)
    for layer, mean in zip(net.layers, means, strict=True):
        expected = sigmoid(expected @ np.asarray(layer.weights) + np.asarray(layer.hidden.bias))
        np.testing.assert_allclose(mean, expected, rtol=1e-5)
    for layer in reversed(net.layers):
        expected = sigmoid(expected @ np.asarray(layer.weights).T + np.asarray(layer.visible.bias))
    np.testing.assert_allclose(dbn.down_pass(net, means[-1]), expected, rtol=1e-5)
    np.testing.assert_allclose(dbn.reconstruct(net, v), expected, rtol=1e-5)


def test_stochastic_passes_have_the_conditional_means(net):
    v = jnp.broadcast_to(jnp.array([1.0, 0.0, 0.3, 1.0, 0.0]), (20_000, 5))
    _, *states = dbn.sample_recognition(jax.random.key(10), net, v)
    first = rbm.hidden_mean(net.layers[0], v[0])
    significance.assert_mean(states[0], first)
    # Given the states below, not their means: the second layer's mean is an average over states.
    h1 = jnp.asarray(binary(4), jnp.float32)
    second = oracles.factorial(first) @ np.asarray(rbm.hidden_mean(net.layers[1], h1))
    significance.assert_mean(states[1], second)

    features = jnp.broadcast_to(jnp.array([1.0, 0.0, 1.0]), (20_000, 3))
    pixels, *down = dbn.sample_generation(jax.random.key(11), net, features)
    assert [s.shape[-1] for s in down] == [4, 3]
    np.testing.assert_array_equal(down[-1], features)
    significance.assert_mean(down[0], rbm.visible_mean(net.layers[1], features[0]))
    np.testing.assert_allclose(pixels, rbm.visible_mean(net.layers[0], down[0]), rtol=1e-6)


def test_feature_images_are_first_order(net):
    """A unit's image is how its input depends on the pixels where the net is linear."""
    np.testing.assert_allclose(dbn.feature_images(net, 0), net.layers[0].weights)
    linear = dbn.stack(
        tuple(
            rbm.init_params(jax.random.key(i), n, m, hidden=units.Gaussian())
            if i == 0
            else rbm.init_params(jax.random.key(i), n, m, visible=units.Gaussian())
            for i, (n, m) in enumerate([(5, 4), (4, 3)])
        )
    )

    def top_input(v):
        h = rbm.hidden_mean(linear.layers[0], v)
        return rbm.hidden_inputs(linear.layers[1], h)

    jacobian = jax.jacobian(top_input)(jnp.zeros(5)).T
    np.testing.assert_allclose(dbn.feature_images(linear, 1), jacobian, rtol=1e-5)


def test_layers_that_do_not_fit():
    for hidden, above in (
        (units.Bernoulli(), strong_rbm(1, 3, 3)),
        (units.Spin(), strong_rbm(1, 4, 3)),
        (units.Spin(), label_units.init_params(jax.random.key(1), 4, 3, 2)),
    ):
        below = rbm.init_params(jax.random.key(0), 5, 4, hidden=hidden)
        words = r"layer 0 has 4 \w+ hidden units, but layer 1 has [34] Bernoulli visible ones"
        with pytest.raises(ValueError, match=words):
            dbn.stack((below, above))
    with pytest.raises(ValueError, match="at least one layer"):
        dbn.stack(())


@pytest.mark.parametrize("num_labels", [0, 3])
def test_upside_down_leaves_the_model_as_it_is(num_labels):
    below = strong_rbm(4, 5, 4)
    if num_labels:
        new = label_units.init_params(jax.random.key(5), 4, 7, num_labels, weight_scale=0.0)
    else:
        new = rbm.init_params(jax.random.key(5), 4, 7, weight_scale=0.0)
    top = dbn.upside_down(new, below)
    assert top.weights.shape == (4 + num_labels, 7)
    assert jax.tree.structure(top) == jax.tree.structure(new)
    # All states of the features: the same probabilities as hidden units below, and as features
    # above, the label units and the hidden ones beyond those below summed out.
    model = oracles.Model.of(top)
    states = model.visible.states.reshape(16, -1, 4 + num_labels)[:, 0, :4]
    np.testing.assert_array_equal(states, binary(4))
    marginal = model.visible_marginal().reshape(16, -1).sum(axis=-1)
    np.testing.assert_allclose(marginal, oracles.Model.of(below).hidden_marginal(), rtol=1e-5)
    dbn.stack((below, top))  # they fit each other
    # All else stays, here small.
    new = jax.tree.map(lambda x: x + 0.01, new)
    top = dbn.upside_down(new, below)
    np.testing.assert_array_equal(top.weights[:, 5:], new.weights[:, 5:])
    np.testing.assert_array_equal(top.hidden.bias[5:], new.hidden.bias[5:])


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ({"num_visible": 3, "num_hidden": 7}, "3 features and 7 hidden units cannot start as one "),
        ({"num_visible": 4, "num_hidden": 4}, "needs 4 features and at least 5 hidden units"),
        (
            {"num_visible": 4, "num_hidden": 7, "hidden": units.Gaussian()},
            "Gaussian hidden units cannot start as one of Bernoulli visible",
        ),
    ],
)
def test_layers_that_cannot_start_upside_down(new, words):
    with pytest.raises(ValueError, match=words):
        dbn.upside_down(rbm.init_params(jax.random.key(5), **new), strong_rbm(4, 5, 4))


@pytest.mark.parametrize("layer", [-1, 2])
def test_features_of_a_layer_that_is_not_there(layer):
    layers = (rbm.init_params(jax.random.key(i), 4, 4) for i in range(2))
    with pytest.raises(ValueError, match=rf"layer is {layer}; the net's are 0 to 1"):
        dbn.feature_images(dbn.stack(tuple(layers)), layer)
