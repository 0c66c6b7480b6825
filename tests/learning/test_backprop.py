"""Backpropagation written out in numpy; dropout; steps compiled, mapped and one by one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

from dbn_jax import networks, rbm
from dbn_jax.learning import backprop
from tests import significance
from tests.oracles import sigmoid

NUM_CLASSES = 3
LABELS = jnp.array([0, 2, 1, 1, 0, 2, 2])


def images(count=7, pixels=6):
    return jax.random.uniform(jax.random.key(4), (count, pixels))


def arrays(layers):
    return [
        tuple(np.float64(layer.parts()[name]) for name in ("kernel", "bias")) for layer in layers
    ]


def backward(layers, states, linear, delta):
    """Backpropagation by hand: gradients (kernel, bias) of each layer, first to last.

    Args:
      layers: [(kernel, bias)].
      states: inputs of each layer.
      linear: numbers of layers whose outputs are linear.
      delta: gradient by the last layer's outputs before any non-linearity, (B, O).
    """
    gradients = []
    for i in reversed(range(len(layers))):
        gradients.insert(0, (states[i].T @ delta, delta.sum(axis=0)))
        if i:
            delta = delta @ layers[i][0].T
            if i - 1 not in linear:
                delta = delta * states[i] * (1 - states[i])
    return gradients


def assert_gradient(gradient, expected):
    """`gradient`: of a model's layers, as layers."""
    for layer, pair in zip(gradient.layers(), expected, strict=True):
        for name, array in zip(("kernel", "bias"), pair, strict=True):
            np.testing.assert_allclose(layer.parts()[name], array, rtol=1e-9, atol=1e-12)
            assert np.abs(array).max() > 1e-4


def widened(tree):
    return jax.tree.map(lambda x: x.astype(jnp.float64), tree)


def gradient_of(loss, model, batch):
    return jax.jit(jax.grad(lambda model: loss(jax.random.key(0), model, batch)[0]))(model)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_gradient_of_a_classifier_by_hand(x64, smoothing):
    model = widened(networks.init_classifier(jax.random.key(0), (6, 5, 4, NUM_CLASSES)))
    v = widened(images())
    loss = functools.partial(backprop.classification_loss, label_smoothing=smoothing)
    layers, states = arrays(model.layers()), [np.float64(v)]
    for kernel, bias in layers[:-1]:
        states.append(sigmoid(states[-1] @ kernel + bias))
    logits = states[-1] @ layers[-1][0] + layers[-1][1]
    p = scipy.special.softmax(logits, axis=-1)
    targets = (1 - smoothing) * np.eye(NUM_CLASSES)[np.asarray(LABELS)] + smoothing / NUM_CLASSES
    expected = backward(layers, states, (), (p - targets) / len(v))
    assert_gradient(gradient_of(loss, model, (v, LABELS)), expected)
    value, metrics = jax.jit(loss)(jax.random.key(0), model, (v, LABELS))
    by_hand = -np.sum(targets * scipy.special.log_softmax(logits, axis=-1), axis=-1).mean()
    np.testing.assert_allclose(value, by_hand, rtol=1e-12)
    np.testing.assert_allclose(metrics["loss"], by_hand, rtol=1e-12)
    wrong = p.argmax(axis=-1) != np.asarray(LABELS)
    np.testing.assert_allclose(metrics["error_rate"], wrong.mean())


def test_gradient_of_an_autoencoder_by_hand(x64):
    model = widened(networks.init_autoencoder(jax.random.key(0), (6, 5, 4, 2)))
    v = widened(images())
    layers, states = arrays(model.layers()), [np.float64(v)]
    for i, (kernel, bias) in enumerate(layers[:-1]):
        x = states[-1] @ kernel + bias
        states.append(x if i == 2 else sigmoid(x))
    p = sigmoid(states[-1] @ layers[-1][0] + layers[-1][1])
    expected = backward(layers, states, (2,), (p - np.float64(v)) / len(v))
    assert_gradient(gradient_of(backprop.reconstruction_loss, model, v), expected)
    value, metrics = jax.jit(backprop.reconstruction_loss)(jax.random.key(0), model, v)
    by_hand = -np.sum(v * np.log(p) + (1 - v) * np.log1p(-p), axis=-1).mean()
    np.testing.assert_allclose(value, by_hand, rtol=1e-12)
    np.testing.assert_allclose(
        metrics["squared_error"], np.sum((v - p) ** 2, axis=-1).mean(), rtol=1e-12
    )


def test_a_step_follows_the_gradient_and_counts():
    model, other = (networks.init_autoencoder(jax.random.key(i), (6, 5, 2)) for i in range(2))
    graphdef, params = backprop.split(model)
    assert graphdef == backprop.split(other)[0]  # so that they share compiled programs
    assert hash(graphdef) == hash(backprop.split(other)[0])
    optimizer = optax.sgd(0.1)
    state = rbm.init_state(params, optimizer)
    keywords = {
        "graphdef": graphdef, "loss": backprop.reconstruction_loss, "optimizer": optimizer
    }  # fmt: skip
    step = jax.jit(functools.partial(backprop.step, **keywords))
    state, metrics = step(jax.random.key(1), state, images())
    gradient = gradient_of(backprop.reconstruction_loss, model, images())
    for a, b, g in zip(
        backprop.merge(graphdef, state.params).layers(),
        model.layers(),
        gradient.layers(),
        strict=True,
    ):
        for name in ("kernel", "bias"):
            expected = np.asarray(b.parts()[name]) - 0.1 * np.asarray(g.parts()[name])
            np.testing.assert_allclose(a.parts()[name], expected, rtol=1e-5, atol=1e-7)
    assert int(state.step) == 1
    assert metrics.keys() == {"loss", "squared_error"}
    again, _ = step(jax.random.key(2), state, images())
    assert int(again.step) == 2


def classify_step(graphdef, optimizer):
    return functools.partial(
        backprop.step,
        graphdef=graphdef,
        loss=functools.partial(backprop.classification_loss, input_dropout=0.2, hidden_dropout=0.5),
        optimizer=optimizer,
    )


def test_an_ensemble_is_a_loop():
    optimizer = optax.chain(optax.adam(0.01), backprop.top_first(1))
    members = [networks.init_classifier(jax.random.key(i), (6, 5, 3)) for i in range(3)]
    graphdef, _ = backprop.split(members[0])
    step = classify_step(graphdef, optimizer)
    states = [rbm.init_state(backprop.split(m)[1], optimizer) for m in members]
    keys = jax.random.split(jax.random.key(7), 3)
    batch = images(), LABELS

    def twice(key, state, step=step):
        state, _ = step(key, state, batch)
        return step(jax.random.fold_in(key, 1), state, batch)

    with jax.numpy_dtype_promotion("standard"):  # optax's bias correction mixes types
        one = jax.jit(twice)
        looped = [one(key, state) for key, state in zip(keys, states, strict=True)]
        ensemble = jax.tree.map(lambda *x: np.stack(x), *states)
        together = jax.jit(jax.vmap(twice))(keys, ensemble)
    looped = jax.tree.map(lambda *x: np.stack(x), *looped)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, together, looped)
    # The members differ, so that a mix-up would be seen.
    first = jax.tree.leaves(looped[0].params)[0]
    assert np.abs(first[0] - first[1]).max() > 1e-3


def test_what_drops_out():
    """Pixels at the input rate, hidden units at theirs, each layer by a drawing of its own."""
    eye = networks.Layer(1e3 * jnp.eye(2), jnp.zeros(2))  # a unit is 1, or 1/2 if its input is out
    model = networks.Classifier([eye, eye], networks.Layer(jnp.eye(2), jnp.zeros(2)))
    keys = jax.random.split(jax.random.key(0), 20_000)
    v = jnp.ones(2)

    def logits(input_rate, hidden_rate):
        one = functools.partial(
            backprop.dropped_logits, input_rate=input_rate, hidden_rate=hidden_rate
        )
        return jax.jit(jax.vmap(one, (0, None, None)))(keys, model, v)

    np.testing.assert_array_equal(logits(0.0, 0.0), model(v)[None].repeat(20_000, 0))
    # Pixel out: the first layer's unit is 1/2, and so the second's 1.
    np.testing.assert_array_equal(logits(0.3, 0.0), np.ones((20_000, 2)))
    # The top unit is out with probability 1/4; else it is 1/2 where the one below is out.
    found = np.asarray(logits(0.0, 0.25)) * 0.75
    for value, share in ((0.0, 0.25), (0.5, 0.75 * 0.25), (1.0, 0.75**2)):
        significance.assert_mean(np.isclose(found, value).astype(float), np.full(2, share))


def test_labels_that_do_not_exist_cost_more_than_nothing():
    """With 3 classes, labels 1 to 3 of someone who counts from 1, and those of a file with −1."""
    model, key = networks.init_classifier(jax.random.key(0), (6, 5, 3)), jax.random.key(0)
    for labels in (jnp.array([1, 2, 3]), jnp.array([0, -1, 1])):
        with pytest.raises(ValueError, match=r"no label (3|-1); those of 3 classes are 0 to 2"):
            backprop.classification_loss(key, model, (images(3), labels))
        loss, _ = jax.jit(backprop.classification_loss)(key, model, (images(3), labels))
        assert np.isnan(loss)


def test_only_weights_decay():
    _, params = backprop.split(networks.init_classifier(jax.random.key(0), (6, 5, 3)))
    mask = backprop.kernel_mask(params)
    jax.tree.map(lambda x, is_kernel: np.testing.assert_equal(is_kernel, x.ndim == 2), params, mask)


def test_the_top_learns_first():
    model = networks.init_classifier(jax.random.key(0), (6, 5, 4, 3))
    graphdef, params = backprop.split(model)
    optimizer = optax.chain(optax.sgd(0.1, momentum=0.9), backprop.top_first(2))
    state = rbm.init_state(params, optimizer)
    step = jax.jit(classify_step(graphdef, optimizer))
    for t in range(4):
        before = state.params
        state, _ = step(jax.random.key(t), state, (images(), LABELS))
        same = jax.tree.map(np.array_equal, before, state.params)
        assert not any(jax.tree.leaves(same["softmax"]))
        assert set(jax.tree.leaves(same["hidden"])) == {t < 2}
