"""Networks of a stack: against the stack's own passes, and backpropagation written out in numpy."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from flax import nnx

from dbn_jax import associative_memory, dbn, networks, rbm, units, weights
from tests import oracles

NUM_CLASSES = 3


def chain(sizes, *, visible=units.Bernoulli(), code=units.Bernoulli()):
    """A stack of random parameters."""
    kinds = [visible, *[units.Bernoulli()] * (len(sizes) - 2), code]
    layers = [
        rbm.init_params(
            jax.random.key(i), sizes[i], sizes[i + 1], visible=kinds[i], hidden=kinds[i + 1]
        )
        for i in range(len(sizes) - 1)
    ]
    return oracles.jolt(jax.random.key(9), dbn.stack(tuple(layers)))


def labelled():
    bottom = rbm.init_params(jax.random.key(0), 6, 5)
    top = associative_memory.init_params(jax.random.key(1), 5, 4, NUM_CLASSES)
    return oracles.jolt(jax.random.key(2), dbn.stack((bottom, top)))


def parted(net):
    """Weights for recognition and generation that differ."""
    net = dbn.untie(net)
    return dataclasses.replace(net, generative=oracles.jolt(jax.random.key(3), net.generative))


def images(count=7, pixels=6):
    return jax.random.uniform(jax.random.key(4), (count, pixels))


LABELS = jnp.array([0, 2, 1, 1, 0, 2, 2])
CLASSIFIED = {
    "stack": chain((6, 5, 4)),
    "one layer": chain((6, 5)),
    "Gaussian pixels": chain((6, 5, 4), visible=units.Gaussian(learn_sigma=True)),
    "two kinds of pixels": chain(
        (6, 5, 4), visible=units.Concat((units.Gaussian(sigma=0.5), units.Bernoulli()), (2, 4))
    ),
    "labels": labelled(),
    "untied": parted(chain((6, 5, 5, 4))),
    "one layer with labels": oracles.jolt(
        jax.random.key(5), dbn.stack((associative_memory.init_params(jax.random.key(1), 6, 4, 3),))
    ),
}
UNROLLED = {
    "stack": chain((6, 5, 4, 2), code=units.Gaussian()),
    "one layer": chain((6, 2), code=units.Gaussian()),
    "scaled code": chain((6, 5, 2), code=units.Gaussian(sigma=0.5)),
    "learnt scale": chain((6, 5, 2), code=units.Gaussian(learn_sigma=True)),
    "untied": parted(chain((6, 5, 4, 2), code=units.Gaussian())),
}


@pytest.mark.parametrize("name", CLASSIFIED)
def test_features_of_a_classifier_are_those_of_the_net(name):
    net, v = CLASSIFIED[name], images()
    found = networks.classifier_of(net, NUM_CLASSES).features(v)
    expected = dbn.up_pass(net, v)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        assert np.ptp(np.asarray(b)) > 0.1  # the images are told apart


def test_without_labels_all_classes_are_as_probable():
    model = networks.classifier_of(CLASSIFIED["stack"], NUM_CLASSES)
    np.testing.assert_array_equal(model(images()), np.zeros((7, NUM_CLASSES)))


def test_labels_answer_as_the_memory_after_one_iteration():
    net, v = CLASSIFIED["labels"], images()
    h = dbn.up_pass(net, v)[-1]  # from neutral labels
    _, expected = dbn.split(net, rbm.visible_mean(net.top, h))
    found = jax.nn.softmax(networks.classifier_of(net, NUM_CLASSES)(v))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.ptp(np.asarray(expected)) > 0.1


@pytest.mark.parametrize("name", UNROLLED)
def test_an_unrolled_net_restores_as_the_net_does(name):
    net, v = UNROLLED[name], images()
    model = networks.unroll(net)
    np.testing.assert_allclose(model.encode(v), dbn.up_pass(net, v)[-1], rtol=1e-5, atol=1e-5)
    expected = dbn.reconstruct(net, v)
    np.testing.assert_allclose(model.decode(model.encode(v)), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.nn.sigmoid(model(v)), expected, rtol=1e-5, atol=1e-6)
    error = np.mean(np.sum((np.float64(v) - np.float64(expected)) ** 2, axis=-1))
    np.testing.assert_allclose(networks.reconstruction_error(model, v), error, rtol=1e-5)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


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


@pytest.fixture
def wide():
    with jax.enable_x64(True):
        yield


def widened(tree):
    return jax.tree.map(lambda x: x.astype(jnp.float64), tree)


def gradient_of(loss, model, batch):
    return jax.grad(lambda model: loss(jax.random.key(0), model, batch)[0])(model)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_gradient_of_a_classifier_by_hand(wide, smoothing):
    model = widened(networks.init_classifier(jax.random.key(0), (6, 5, 4, NUM_CLASSES)))
    v = widened(images())
    loss = functools.partial(networks.classification_loss, label_smoothing=smoothing)
    layers, states = arrays(model.layers()), [np.float64(v)]
    for kernel, bias in layers[:-1]:
        states.append(sigmoid(states[-1] @ kernel + bias))
    logits = states[-1] @ layers[-1][0] + layers[-1][1]
    p = scipy.special.softmax(logits, axis=-1)
    targets = (1 - smoothing) * np.eye(NUM_CLASSES)[np.asarray(LABELS)] + smoothing / NUM_CLASSES
    expected = backward(layers, states, (), (p - targets) / len(v))
    assert_gradient(gradient_of(loss, model, (v, LABELS)), expected)
    value, metrics = loss(jax.random.key(0), model, (v, LABELS))
    by_hand = -np.sum(targets * scipy.special.log_softmax(logits, axis=-1), axis=-1).mean()
    np.testing.assert_allclose(value, by_hand, rtol=1e-12)
    np.testing.assert_allclose(metrics["loss"], by_hand, rtol=1e-12)
    wrong = p.argmax(axis=-1) != np.asarray(LABELS)
    np.testing.assert_allclose(metrics["error_rate"], wrong.mean())


def test_gradient_of_an_autoencoder_by_hand(wide):
    model = widened(networks.init_autoencoder(jax.random.key(0), (6, 5, 4, 2)))
    v = widened(images())
    layers, states = arrays(model.layers()), [np.float64(v)]
    for i, (kernel, bias) in enumerate(layers[:-1]):
        x = states[-1] @ kernel + bias
        states.append(x if i == 2 else sigmoid(x))
    p = sigmoid(states[-1] @ layers[-1][0] + layers[-1][1])
    expected = backward(layers, states, (2,), (p - np.float64(v)) / len(v))
    assert_gradient(gradient_of(networks.reconstruction_loss, model, v), expected)
    value, metrics = networks.reconstruction_loss(jax.random.key(0), model, v)
    by_hand = -np.sum(v * np.log(p) + (1 - v) * np.log1p(-p), axis=-1).mean()
    np.testing.assert_allclose(value, by_hand, rtol=1e-12)
    np.testing.assert_allclose(
        metrics["squared_error"], np.sum((v - p) ** 2, axis=-1).mean(), rtol=1e-12
    )


def test_gradient_with_dropout_by_finite_differences(wide):
    model = widened(networks.init_classifier(jax.random.key(0), (6, 5, 4, NUM_CLASSES)))
    loss = functools.partial(
        networks.classification_loss, input_dropout=0.2, hidden_dropout=0.5, label_smoothing=0.1
    )
    batch = widened(images()), LABELS
    gradient = gradient_of(loss, model, batch)
    direction = oracles.jolt(jax.random.key(1), jax.tree.map(jnp.zeros_like, model))

    def value(h):
        moved = jax.tree.map(lambda x, d: x + h * d, model, direction)
        return loss(jax.random.key(0), moved, batch)[0]

    slope = sum(
        jnp.vdot(g, d)
        for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
    )
    np.testing.assert_allclose((value(1e-5) - value(-1e-5)) / 2e-5, slope, rtol=1e-7)


def test_a_step_follows_the_gradient_and_counts():
    model = networks.init_autoencoder(jax.random.key(0), (6, 5, 2))
    graphdef, params = networks.split(model)
    optimizer = optax.sgd(0.1)
    state = networks.init_state(params, optimizer)
    keywords = {
        "graphdef": graphdef, "loss": networks.reconstruction_loss, "optimizer": optimizer
    }  # fmt: skip
    state, metrics = networks.step(jax.random.key(1), state, images(), **keywords)
    gradient = gradient_of(networks.reconstruction_loss, model, images())
    for a, b, g in zip(
        networks.merge(graphdef, state.params).layers(),
        model.layers(),
        gradient.layers(),
        strict=True,
    ):
        for name in ("kernel", "bias"):
            expected = b.parts()[name] - 0.1 * g.parts()[name]
            np.testing.assert_allclose(a.parts()[name], expected, rtol=1e-5, atol=1e-7)
    assert int(state.step) == 1
    assert metrics.keys() == {"loss", "squared_error"}
    again, _ = networks.step(jax.random.key(2), state, images(), **keywords)
    assert int(again.step) == 2


def classify_step(graphdef, optimizer):
    return functools.partial(
        networks.step,
        graphdef=graphdef,
        loss=functools.partial(networks.classification_loss, input_dropout=0.2, hidden_dropout=0.5),
        optimizer=optimizer,
    )


def test_compiled_steps_are_eager_ones_and_an_ensemble_is_a_loop():
    optimizer = optax.chain(optax.adam(0.01), networks.top_first(1))
    members = [networks.init_classifier(jax.random.key(i), (6, 5, 4, 3)) for i in range(3)]
    graphdef, _ = networks.split(members[0])
    step = classify_step(graphdef, optimizer)
    states = [networks.init_state(networks.split(m)[1], optimizer) for m in members]
    keys = jax.random.split(jax.random.key(7), 3)
    batch = images(), LABELS

    def twice(key, state, step=step):
        state, _ = step(key, state, batch)
        return step(jax.random.fold_in(key, 1), state, batch)

    with jax.numpy_dtype_promotion("standard"):  # optax's bias correction mixes types
        eager = [twice(key, state) for key, state in zip(keys, states, strict=True)]
        compiled = [jax.jit(twice)(key, state) for key, state in zip(keys, states, strict=True)]
        together = jax.vmap(twice)(keys, jax.tree.map(lambda *x: jnp.stack(x), *states))
    looped = jax.tree.map(lambda *x: jnp.stack(x), *eager)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, jax.tree.map(lambda *x: jnp.stack(x), *compiled), looped)
    jax.tree.map(close, together, looped)
    # The members differ, so that a mix-up would be seen.
    first = jax.tree.leaves(looped[0].params)[0]
    assert float(jnp.abs(first[0] - first[1]).max()) > 1e-3


def test_models_are_pytrees():
    members = [networks.init_autoencoder(jax.random.key(i), (6, 5, 2)) for i in range(2)]
    together = jax.tree.map(lambda *x: jnp.stack(x), *members)
    found = jax.jit(jax.vmap(networks.reconstruction_error, in_axes=(0, None)))(together, images())
    expected = [networks.reconstruction_error(m, images()) for m in members]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    graphdef, params = networks.split(members[0])
    assert hash(graphdef) == hash(networks.split(members[1])[0])
    assert graphdef == networks.split(members[1])[0]  # so that they share compiled programs
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(params))
    merged = networks.merge(graphdef, params)
    assert isinstance(merged, networks.Autoencoder)
    np.testing.assert_array_equal(merged(images()), members[0](images()))


def test_a_chain_of_images_goes_through_whole():
    model = networks.init_classifier(jax.random.key(0), (6, 5, 3))
    v = images(12).reshape(3, 4, 6)
    np.testing.assert_allclose(model(v)[1, 2], model(v[1, 2]), rtol=1e-5, atol=1e-6)


def test_dropout_keeps_the_mean():
    x = jnp.array([0.3, -2.0, 0.0, 1.0])
    keys = jax.random.split(jax.random.key(0), 20_000)
    for rate in (0.2, 0.5):
        draws = jax.vmap(lambda key, rate=rate: networks.dropout(key, x, rate))(keys)
        values = np.unique(np.asarray(draws[:, 1]))
        np.testing.assert_allclose(values, [-2.0 / (1 - rate), 0.0], rtol=1e-6)
        oracles.assert_mean(draws[:, jnp.array([0, 1, 3])], x[jnp.array([0, 1, 3])])
        with pytest.raises(AssertionError):  # the power: without the division it would be seen
            oracles.assert_mean(draws[:, :2] * (1 - rate), x[:2])
        # Units drop out independently of each other.
        out = np.asarray(draws == 0)
        oracles.assert_mean(1.0 * (out[:, 0] & out[:, 1]), np.array(rate**2))
    assert networks.dropout(jax.random.key(0), x, 0.0) is x
    for rate in (-0.1, 1.0):
        with pytest.raises(ValueError, match=f"dropout rate is {rate}; it must be at least 0"):
            networks.dropout(jax.random.key(0), x, rate)


def test_what_drops_out():
    """Pixels at the input rate, hidden units at theirs, each layer by a drawing of its own."""
    eye = networks.Layer(1e3 * jnp.eye(2), jnp.zeros(2))  # a unit is 1, or 1/2 if its input is out
    model = networks.Classifier([eye, eye], networks.Layer(jnp.eye(2), jnp.zeros(2)))
    keys = jax.random.split(jax.random.key(0), 20_000)
    v = jnp.ones(2)

    def logits(input_rate, hidden_rate):
        return jax.vmap(
            lambda key: model.dropped(key, v, input_rate=input_rate, hidden_rate=hidden_rate)
        )(keys)

    np.testing.assert_array_equal(logits(0.0, 0.0), model(v)[None].repeat(20_000, 0))
    # Pixel out: the first layer's unit is 1/2, and so the second's 1.
    np.testing.assert_array_equal(logits(0.3, 0.0), np.ones((20_000, 2)))
    # The top unit is out with probability 1/4; else it is 1/2 where the one below is out.
    found = np.asarray(logits(0.0, 0.25)) * 0.75
    for value, share in ((0.0, 0.25), (0.5, 0.75 * 0.25), (1.0, 0.75**2)):
        oracles.assert_mean(np.isclose(found, value).astype(float), np.full(2, share))


def test_random_weights_are_of_the_published_width():
    sizes = (200, 150, 100, 50)
    classifier = networks.init_classifier(jax.random.key(0), sizes)
    autoencoder = networks.init_autoencoder(jax.random.key(1), sizes)
    assert [layer.kernel[...].shape for layer in autoencoder.layers()] == [
        (200, 150), (150, 100), (100, 50), (50, 100), (100, 150), (150, 200)
    ]  # fmt: skip
    assert len(autoencoder.encoder) == len(autoencoder.decoder) == 3
    # The softmax layer and the code are linear, all others logistic.
    for model, linear in ((classifier, 2), (autoencoder, 2)):
        for i, layer in enumerate(model.layers()):
            kernel = np.asarray(layer.kernel[...])
            width = (1 if i == linear else 4) * np.sqrt(6 / sum(kernel.shape))
            assert 0.99 * width < np.abs(kernel).max() <= width
            oracles.assert_mean(kernel.reshape(-1) ** 2, np.array(width**2 / 3))
            np.testing.assert_array_equal(layer.bias[...], np.zeros(kernel.shape[1]))
    kernels = [np.asarray(layer.kernel[...]) for layer in autoencoder.layers()]
    assert np.abs(kernels[0] - kernels[-1].T).max() > 0.1  # keys of their own


def test_only_weights_decay():
    _, params = networks.split(networks.init_classifier(jax.random.key(0), (6, 5, 3)))
    mask = networks.kernel_mask(params)
    jax.tree.map(lambda x, is_kernel: np.testing.assert_equal(is_kernel, x.ndim == 2), params, mask)


def test_the_top_learns_first():
    model = networks.init_classifier(jax.random.key(0), (6, 5, 4, 3))
    graphdef, params = networks.split(model)
    optimizer = optax.chain(optax.sgd(0.1, momentum=0.9), networks.top_first(2))
    state = networks.init_state(params, optimizer)
    step = classify_step(graphdef, optimizer)
    for t in range(4):
        before = state.params
        state, _ = step(jax.random.key(t), state, (images(), LABELS))
        same = jax.tree.map(lambda a, b: bool((a == b).all()), before, state.params)
        assert not any(jax.tree.leaves(same["softmax"]))
        assert set(jax.tree.leaves(same["hidden"])) == {t < 2}


@pytest.mark.parametrize(
    "model",
    [
        networks.classifier_of(CLASSIFIED["labels"], NUM_CLASSES),
        networks.unroll(UNROLLED["stack"]),
    ],
)
def test_round_trip_in_a_file(tmp_path, model):
    weights.save(tmp_path / "model.npz", model)
    loaded = weights.load(tmp_path / "model.npz")
    assert jax.tree.structure(loaded) == jax.tree.structure(model)
    jax.tree.map(np.testing.assert_array_equal, loaded, model)
    np.testing.assert_array_equal(loaded(images()), model(images()))
    weights.save(tmp_path / "half.npz", model, dtype=jnp.bfloat16)
    loaded = weights.load(tmp_path / "half.npz")
    for a, b in zip(loaded.layers(), model.layers(), strict=True):
        rounded = b.kernel[...].astype(jnp.bfloat16).astype(jnp.float32)
        np.testing.assert_array_equal(a.kernel[...], rounded)
        np.testing.assert_array_equal(a.bias[...], b.bias[...])


def test_nets_that_make_no_classifier():
    with pytest.raises(ValueError, match=r"the net has 3 label units, but there are 10 classes"):
        networks.classifier_of(CLASSIFIED["labels"], 10)
    with pytest.raises(ValueError, match=r"hidden layer 2 of 2 has Gaussian units; a classifier"):
        networks.classifier_of(UNROLLED["scaled code"], 3)


def test_nets_that_cannot_be_unrolled():
    with pytest.raises(ValueError, match="3 label units, which an autoencoder cannot use"):
        networks.unroll(CLASSIFIED["labels"])
    with pytest.raises(ValueError, match="the top RBM has Bernoulli hidden units; the code"):
        networks.unroll(CLASSIFIED["stack"])
    bottom = rbm.init_params(jax.random.key(0), 6, 5, hidden=units.Gaussian())
    middle = rbm.init_params(jax.random.key(0), 5, 4, visible=units.Gaussian())
    code = rbm.init_params(jax.random.key(0), 4, 2, hidden=units.Gaussian())
    with pytest.raises(ValueError, match=r"hidden layer 1 of 3 has Gaussian units: the linear co"):
        networks.unroll(dbn.stack((bottom, middle, code)))
    spins = rbm.init_params(jax.random.key(0), 6, 4, hidden=units.Spin())
    with pytest.raises(ValueError, match="hidden layer 1 of 2 has Spin units; below the code"):
        networks.unroll(dbn.stack((spins, code)))
    grey = chain((6, 5, 2), visible=units.Gaussian(), code=units.Gaussian())
    with pytest.raises(ValueError, match="the net has Gaussian units where an autoencoder has"):
        networks.unroll(grey)


def test_layers_that_do_not_fit():
    layers = [networks.Layer(jnp.zeros(shape), jnp.zeros(shape[1])) for shape in ((4, 3), (2, 4))]
    with pytest.raises(ValueError, match="layer 0 has 3 outputs, but layer 1 takes 2 inputs"):
        networks.Classifier(layers[:1], layers[1])
    with pytest.raises(ValueError, match="layer 0 has 3 outputs, but layer 1 takes 2 inputs"):
        networks.Autoencoder(layers[:1], layers[1:])
    for init, sizes in ((networks.init_classifier, (6, 3)), (networks.init_autoencoder, (6,))):
        words = re.escape(f"sizes are {sizes}; expected pixels, ")
        with pytest.raises(ValueError, match=words):
            init(jax.random.key(0), sizes)
        with pytest.raises(ValueError, match=r"sizes are \(6, 0, 3\)"):
            init(jax.random.key(0), (6, 0, 3))


def test_they_are_modules_of_flax():
    assert isinstance(networks.init_classifier(jax.random.key(0), (6, 5, 3)), nnx.Module)
