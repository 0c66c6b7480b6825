"""The up-down algorithm: its expected update against enumeration, and its descent."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dbn_jax import dbn, rbm
from dbn_jax.learning import updown
from tests import oracles, significance
from tests.oracles import binary, differences, sigmoid
from tests.random_models import random_net

NUM_KEYS = 20_000


@pytest.fixture(scope="module")
def net():
    """4 pixels, 2 features beside 2 labels, 3 top units; recognition and generation differ."""

    return dbn.untie(random_net(2, (4, 2, 3), 2))


def log_posterior(features, weights, visible_bias, hidden_bias):
    """log p(label | features) of a top RBM as in `net`, by enumeration: (..., 2) -> (..., 2)."""
    beside = np.repeat(features[..., None, :], 2, axis=-2)
    x = np.concatenate([beside, np.broadcast_to(np.eye(2), beside.shape)], axis=-1)
    joint = np.exp(x @ visible_bias) * np.exp((x @ weights + hidden_bias) @ binary(3).T).sum(-1)
    return np.log(joint / joint.sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("num_gibbs_steps", [1, 3])
def test_expected_update_is_that_of_enumeration(net, num_gibbs_steps):
    v, label = np.array([1.0, 0.0, 1.0, 1.0]), np.array([0.0, 1.0])

    @jax.jit
    @jax.vmap
    def estimate(key):
        # The same example twice: directions are means over the batch.
        batch = (jnp.tile(jnp.asarray(x, jnp.float32), (2, 1)) for x in (v, label))
        return updown.gradient(key, net, *batch, num_gibbs_steps=num_gibbs_steps)

    found, metrics = estimate(jax.random.split(jax.random.key(3), NUM_KEYS))

    h = binary(2)
    up, down = net.recognition[0], net.generative[0]
    on = sigmoid(v @ np.float64(up.weights) + np.float64(up.hidden.bias))
    p_h = oracles.factorial(on)
    x = np.concatenate([h, np.tile(label, (4, 1))], axis=-1)
    model = oracles.Model.of(net.top)

    # Wake: the delta rule of the generative weights.
    means = sigmoid(h @ np.float64(down.weights).T + np.float64(down.visible.bias))
    residual = means - v
    significance.assert_mean(
        found.generative[0].weights, np.einsum("s,sv,sh->vh", p_h, residual, h)
    )
    significance.assert_mean(found.generative[0].visible.bias, p_h @ residual)
    error = p_h @ np.sum(residual**2, axis=-1)
    significance.assert_mean(metrics["reconstruction_error"], error)
    log_p = np.log(np.where(v == 1, means, 1 - means)).sum(axis=-1)
    significance.assert_mean(metrics["wake_loss"], -p_h @ log_p)

    # The top: contrastive divergence from the wake states.
    expected = {}
    for probability, row in zip(p_h, x, strict=True):
        for name, value in model.cd_gradient(row[None], num_gibbs_steps).items():
            expected[name] = expected.get(name, 0) + probability * value
    significance.assert_mean(oracles.leaves(found.top), expected)

    # Sleep: from the end of that chain down to pixel means, and the recognition weights.
    after = sum(
        p * model.after_gibbs(r[None], num_gibbs_steps) for p, r in zip(p_h, x, strict=True)
    )
    dreamt = model.visible.states[:, :2]
    pixels = sigmoid(dreamt @ np.float64(down.weights).T + np.float64(down.visible.bias))
    on = sigmoid(pixels @ np.float64(up.weights) + np.float64(up.hidden.bias))
    residual = on - dreamt
    log_p = np.log(np.where(dreamt == 1, on, 1 - on)).sum(axis=-1)
    significance.assert_mean(metrics["sleep_loss"], -after @ log_p)
    weights = np.einsum("s,sv,sh->vh", after, pixels, residual)
    significance.assert_mean(found.recognition[0].weights, weights)
    significance.assert_mean(found.recognition[0].hidden.bias, after @ residual)

    # What has no part in a direction is left alone.
    for unused in (found.recognition[0].visible.bias, found.generative[0].hidden.bias):
        assert not np.any(unused)
    # The power: dreams from another number of steps, or wake states, would be noticed.
    other = p_h @ (sigmoid(means @ np.float64(up.weights) + np.float64(up.hidden.bias)) - h)
    with pytest.raises(AssertionError):
        significance.assert_mean(found.recognition[0].hidden.bias, other)


def test_label_cost_adds_the_gradient_of_the_posterior(net):
    """By differences of the enumerated −log p(label | features), averaged over the wake states."""
    v, label = np.array([1.0, 0.0, 1.0, 1.0]), np.array([0.0, 1.0])

    @jax.jit
    @jax.vmap
    def added(key):
        batch = jnp.asarray(v, jnp.float32)[None], jnp.asarray(label, jnp.float32)[None]
        # The same key, and so the same wake states and fantasies.
        hybrid, metrics = updown.gradient(key, net, *batch, label_cost=2.0)
        plain, _ = updown.gradient(key, net, *batch)
        return jax.tree.map(jnp.subtract, hybrid, plain), metrics["label_loss"]

    found, loss = added(jax.random.split(jax.random.key(3), NUM_KEYS))

    h = binary(2)
    up = net.recognition[0]
    on = sigmoid(v @ np.float64(up.weights) + np.float64(up.hidden.bias))

    def expected_loss(*parameters):
        return -oracles.factorial(on) @ log_posterior(h, *parameters) @ label

    visible_bias = np.concatenate([np.float64(part.bias) for part in net.top.visible.parts])
    at = [np.float64(net.top.weights), visible_bias, np.float64(net.top.hidden.bias)]
    expected = [
        2 * differences(lambda x, i=i: expected_loss(*at[:i], x, *at[i + 1 :]), value)
        for i, value in enumerate(at)
    ]
    significance.assert_mean(loss, expected_loss(*at))
    top = found.top
    significance.assert_mean(top.weights, expected[0])
    bias = jnp.concatenate([part.bias for part in top.visible.parts], axis=-1)
    # The features' own biases cancel in the posterior.
    assert np.abs(expected[1][:2]).max() < 1e-9 < np.abs(expected[1][2:]).min()
    significance.assert_mean(bias[:, 2:], expected[1][2:])
    np.testing.assert_allclose(bias[:, :2], 0, atol=1e-6)
    significance.assert_mean(top.hidden.bias, expected[2])
    for part in (*found.recognition, *found.generative):
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(part))


def test_adversarial_radius_adds_the_gradient_of_the_worst_divergence(net):
    """By differences of the enumerated divergence between an image and the same image moved.

    And recognition learns from the enumerated −log p(label | image).

    Between two labels the divergence's Hessian has one eigenvector, the slope of the logit, so that
    the worst move is that or its opposite, as the random start of its search leans.
    """
    cost, radius = 3.0, 0.7
    net = jax.tree.map(lambda x: 3 * x, net)  # or the answers would hardly change
    v, label = np.array([1.0, 0.0, 1.0, 1.0]), np.array([0.0, 1.0])
    up = net.recognition[0]

    @jax.jit
    @jax.vmap
    def added(key):
        batch = jnp.asarray(v, jnp.float32)[None], jnp.asarray(label, jnp.float32)[None]
        smooth, metrics = updown.gradient(
            key, net, *batch, label_cost=cost, adversarial_radius=radius
        )
        hybrid, _ = updown.gradient(key, net, *batch, label_cost=cost)
        return jax.tree.map(jnp.subtract, smooth, hybrid), metrics["adversarial_divergence"]

    found, divergences = added(jax.random.split(jax.random.key(3), 40))

    def recognised(v, up_weights, up_bias, *parameters):
        return log_posterior(sigmoid(v @ up_weights + up_bias), *parameters)

    visible_bias = np.concatenate([np.float64(part.bias) for part in net.top.visible.parts])
    at = [np.float64(x) for x in (up.weights, up.hidden.bias, net.top.weights)]
    at += [visible_bias, np.float64(net.top.hidden.bias)]
    answers = recognised(v, *at)

    def log_p_at(k, value):
        return label @ recognised(v, *at[:k], value, *at[k + 1 :])

    slope = differences(lambda v: np.subtract(*recognised(v, *at)), v)
    worst = radius * slope / np.linalg.norm(slope)
    signs = []
    for i, divergence in enumerate(divergences):
        expected = {
            sign: np.exp(answers) @ (answers - recognised(v + sign * worst, *at))
            for sign in (1, -1)
        }
        signs.append(min(expected, key=lambda sign: abs(expected[sign] - divergence)))
        np.testing.assert_allclose(divergence, expected[signs[-1]], rtol=1e-3)
        if signs.count(signs[-1]) > 1:
            continue  # the same again

        def divergence_at(k, value, moved=v + signs[-1] * worst):
            changed = recognised(moved, *at[:k], value, *at[k + 1 :])
            return cost * np.exp(answers) @ (answers - changed)

        top = found.top
        biases = jnp.concatenate([part.bias for part in top.visible.parts], axis=-1)
        changes = (
            found.recognition[0].weights, found.recognition[0].hidden.bias, top.weights, biases,
            top.hidden.bias,
        )  # fmt: skip
        for k, change in enumerate(changes):
            wanted = differences(lambda value, k=k: divergence_at(k, value), at[k])
            if k < 2:  # recognition
                wanted -= differences(lambda value, k=k: cost * log_p_at(k, value), at[k])
            np.testing.assert_allclose(change[i], wanted, rtol=1e-3, atol=1e-5)
    assert set(signs) == {1, -1}
    for part in found.generative:
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(part))


def test_steps_scan_and_learn(net):
    """A scan of updates equals a loop, the number of iterations traced; the wake loss falls."""
    optimizer = optax.sgd(0.05, momentum=0.5)
    v = jnp.asarray(np.random.default_rng(0).integers(0, 2, (2, 4)), jnp.float32)
    v, labels = jnp.tile(v, (50, 1)), jnp.tile(jnp.eye(2), (50, 1))
    keys = jax.random.split(jax.random.key(0), 200)

    def body(state, inputs):
        key, count = inputs
        change, metrics = updown.gradient(key, state.params, v, labels, num_gibbs_steps=count)
        state = rbm.apply_gradient(state, change, optimizer)
        return state, (metrics, state)

    start = updown.init_state(net, optimizer)
    counts = jnp.where(jnp.arange(200) < 100, 3, 6)
    state, (metrics, states) = jax.jit(lambda s: jax.lax.scan(body, s, (keys, counts)))(start)
    assert int(state.step) == 200
    assert isinstance(state.params, dbn.UntiedDBN)
    loss = np.asarray(metrics["wake_loss"])
    assert loss[-20:].mean() < 0.7 * loss[:5].mean()
    looped = start
    for key in keys[:3]:
        looped, _ = updown.step(key, looped, v, labels, optimizer=optimizer, num_gibbs_steps=3)
    for a, b in zip(jax.tree.leaves(looped), jax.tree.leaves(states), strict=True):
        np.testing.assert_allclose(a, np.asarray(b)[2], rtol=1e-4, atol=1e-5)


def test_net_of_one_layer_without_labels_learns_by_contrastive_divergence():
    net = random_net(0, (4, 3))
    v = np.random.default_rng(0).integers(0, 2, (5, 4)).astype(np.float32)

    @jax.jit
    @jax.vmap
    def estimate(key):
        return updown.gradient(key, dbn.untie(net), jnp.asarray(v))

    change, metrics = estimate(jax.random.split(jax.random.key(2), NUM_KEYS))
    assert change.recognition == change.generative == ()
    assert not np.any(metrics["wake_loss"])
    assert not np.any(metrics["sleep_loss"])
    model = oracles.Model.of(net.top)
    significance.assert_mean(oracles.leaves(change.top), model.cd_gradient(v, 1))
    # The pixels' means given the hidden states, drawn from the data.
    means = model.visible_given(model.hidden.states) @ model.visible.states
    errors = np.sum((v[:, None] - means) ** 2, axis=-1)
    expected = np.mean(np.sum(model.hidden_given(v) * errors, axis=-1))
    significance.assert_mean(metrics["reconstruction_error"], expected)


def test_bad_pixels_and_numbers_are_refused(net):
    key, v, labels = jax.random.key(0), jnp.ones((3, 4)), jnp.ones((3, 2))
    with pytest.raises(TypeError, match="holds uint8 numbers; convert them"):
        updown.gradient(key, net, v.astype(jnp.uint8), labels)
    with pytest.raises(ValueError, match="its last axis must hold the 4 visible units of the RBM"):
        updown.gradient(key, net, v[:, :3], labels)
    with pytest.raises(ValueError, match="number of Gibbs steps is 0; it must be at least 1"):
        updown.gradient(key, net, v, labels, num_gibbs_steps=0)
    with pytest.raises(ValueError, match="2 label units"):
        updown.gradient(key, net, v)
    with pytest.raises(ValueError, match=r"adversarial_radius is 2\.0, but label_cost.* is 0"):
        updown.gradient(key, net, v, labels, adversarial_radius=2.0)
    plain = dbn.untie(dbn.stack((rbm.init_params(key, 4, 2),)))
    with pytest.raises(ValueError, match="no label units"):
        jax.eval_shape(lambda: updown.gradient(key, plain, v, label_cost=1.0))
    optimizer = optax.sgd(0.1)
    state = updown.init_state(net, optimizer)
    with pytest.raises(ValueError, match="number of Gibbs steps is -1; it must be at least 1"):
        updown.step(key, state, v, labels, optimizer=optimizer, num_gibbs_steps=-1)
