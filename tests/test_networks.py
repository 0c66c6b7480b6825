"""Networks of a stack: against the stack's own passes; random ones; in a file."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dbn_jax import dbn, label_units, networks, rbm, units
from tests import significance
from tests.random_models import jolt, random_net

NUM_CLASSES = 3


def parted(net):
    """Weights for recognition and generation that differ."""
    net = dbn.untie(net)
    return dataclasses.replace(net, generative=jolt(3, net.generative))


def images(count=7, pixels=6):
    return jax.random.uniform(jax.random.key(4), (count, pixels))


CLASSIFIED = {  # made when a test wants them
    "stack": lambda: random_net(9, (6, 5, 4)),
    "one layer": lambda: random_net(9, (6, 5)),
    "Gaussian pixels": lambda: random_net(9, (6, 5, 4), visible=units.Gaussian(learn_sigma=True)),
    "two kinds of pixels": lambda: random_net(
        9, (6, 5, 4), visible=units.Concat((units.Gaussian(sigma=0.5), units.Bernoulli()), (2, 4))
    ),
    "labels": lambda: random_net(2, (6, 5, 4), NUM_CLASSES),
    "untied": lambda: parted(random_net(9, (6, 5, 5, 4))),
    "one layer with labels": lambda: random_net(2, (6, 4), NUM_CLASSES),
}
UNROLLED = {
    "stack": lambda: random_net(9, (6, 5, 4, 2), code=units.Gaussian()),
    "one layer": lambda: random_net(9, (6, 2), code=units.Gaussian()),
    "scaled code": lambda: random_net(9, (6, 5, 2), code=units.Gaussian(sigma=0.5)),
    "learnt scale": lambda: random_net(9, (6, 5, 2), code=units.Gaussian(learn_sigma=True)),
    "untied": lambda: parted(random_net(9, (6, 5, 4, 2), code=units.Gaussian())),
}


@pytest.mark.parametrize("name", CLASSIFIED)
def test_features_of_a_classifier_are_those_of_the_net(name):
    net, v = CLASSIFIED[name](), images()
    found = jax.jit(lambda net, v: networks.classifier_of(net, NUM_CLASSES).features(v))(net, v)
    expected = jax.jit(dbn.up_pass)(net, v)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        assert np.ptp(np.asarray(b)) > 0.1  # the images are told apart


def test_without_labels_all_classes_are_as_probable():
    model = networks.classifier_of(CLASSIFIED["stack"](), NUM_CLASSES)
    np.testing.assert_array_equal(model(images()), np.zeros((7, NUM_CLASSES)))


def test_labels_answer_as_the_memory_after_one_iteration():
    net, v = CLASSIFIED["labels"](), images()
    h = dbn.up_pass(net, v)[-1]  # from neutral labels
    _, expected = label_units.split(net.top, rbm.visible_mean(net.top, h))
    found = jax.nn.softmax(networks.classifier_of(net, NUM_CLASSES)(v))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.ptp(np.asarray(expected)) > 0.1


@pytest.mark.parametrize("name", UNROLLED)
def test_an_unrolled_net_restores_as_the_net_does(name):
    net, v = UNROLLED[name](), images()

    @jax.jit
    def unrolled(net, v):
        model = networks.unroll(net)
        code = model.encode(v)
        error = networks.reconstruction_error(model, v)
        return code, model.decode(code), jax.nn.sigmoid(model(v)), error

    code, *restored, error = unrolled(net, v)
    np.testing.assert_allclose(code, jax.jit(dbn.up_pass)(net, v)[-1], rtol=1e-5, atol=1e-5)
    expected = jax.jit(dbn.reconstruct)(net, v)
    for found in restored:
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    squares = np.sum((np.float64(v) - np.float64(expected)) ** 2, axis=-1)
    np.testing.assert_allclose(error, np.mean(squares), rtol=1e-5)


def test_models_are_pytrees():
    members = [networks.init_autoencoder(jax.random.key(i), (6, 5, 2)) for i in range(2)]
    together = jax.tree.map(lambda *x: jnp.stack(x), *members)
    found = jax.jit(jax.vmap(networks.reconstruction_error, in_axes=(0, None)))(together, images())
    expected = [networks.reconstruction_error(m, images()) for m in members]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_chain_of_images_goes_through_whole():
    model = networks.init_classifier(jax.random.key(0), (6, 5, 3))
    v = images(12).reshape(3, 4, 6)
    np.testing.assert_allclose(model(v)[1, 2], model(v[1, 2]), rtol=1e-5, atol=1e-6)


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
            significance.assert_mean(kernel.reshape(-1) ** 2, np.array(width**2 / 3))
            np.testing.assert_array_equal(layer.bias[...], np.zeros(kernel.shape[1]))
    kernels = [np.asarray(layer.kernel[...]) for layer in autoencoder.layers()]
    assert np.abs(kernels[0] - kernels[-1].T).max() > 0.1  # keys of their own


def test_nets_that_make_no_classifier():
    with pytest.raises(ValueError, match=r"the net has 3 label units, but there are 10 classes"):
        networks.classifier_of(CLASSIFIED["labels"](), 10)
    with pytest.raises(ValueError, match=r"hidden layer 2 of 2 has Gaussian units; a classifier"):
        networks.classifier_of(UNROLLED["scaled code"](), 3)


def test_nets_that_cannot_be_unrolled():
    with pytest.raises(ValueError, match="3 label units, which an autoencoder cannot use"):
        networks.unroll(CLASSIFIED["labels"]())
    with pytest.raises(ValueError, match="the top RBM has Bernoulli hidden units; the code"):
        networks.unroll(CLASSIFIED["stack"]())
    bottom = rbm.init_params(jax.random.key(0), 6, 5, hidden=units.Gaussian())
    middle = rbm.init_params(jax.random.key(0), 5, 4, visible=units.Gaussian())
    code = rbm.init_params(jax.random.key(0), 4, 2, hidden=units.Gaussian())
    with pytest.raises(ValueError, match=r"hidden layer 1 of 3 has Gaussian units; below the code"):
        networks.unroll(dbn.stack((bottom, middle, code)))
    spins = rbm.init_params(jax.random.key(0), 6, 4, hidden=units.Spin())
    code = dataclasses.replace(code, visible=units.Spin(code.visible.bias))
    with pytest.raises(ValueError, match="hidden layer 1 of 2 has Spin units; below the code"):
        networks.unroll(dbn.stack((spins, code)))
    grey = random_net(9, (6, 5, 2), visible=units.Gaussian(), code=units.Gaussian())
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
