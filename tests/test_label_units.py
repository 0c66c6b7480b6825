"""Label units beside an RBM's features, against enumeration of a small one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from dbn_jax import dbn, label_units, rbm, units
from tests import oracles
from tests.random_models import random_net

NUM_LABELS = 3


@pytest.fixture(scope="module")
def params():
    """3 features beside 3 labels, and 4 hidden units."""
    return random_net(5, (3, 4), NUM_LABELS).top


@pytest.mark.parametrize("visible", [units.Bernoulli(), units.Gaussian(sigma=0.7)])
def test_posterior_and_free_energies_are_exact(visible):
    params = random_net(5, (2, 4), NUM_LABELS, visible=visible).top
    features = np.random.default_rng(0).integers(-1, 3, (3, 5, 2)) / 2
    beside = np.repeat(features[:, :, None], NUM_LABELS, axis=2)
    x = np.concatenate([beside, np.broadcast_to(np.eye(NUM_LABELS), (3, 5, 3, 3))], axis=-1)
    expected = oracles.Model.of(params).free_energy(x)
    features = jnp.asarray(features, jnp.float32)
    found = label_units.free_energies(params, features)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    found = label_units.log_posterior(params, features)
    np.testing.assert_allclose(found, scipy.special.log_softmax(-expected, axis=-1), rtol=1e-5)


def test_neutral_labels_and_split(params):
    features = jnp.ones((2, 3))
    x = label_units.join(params, features)
    np.testing.assert_allclose(x[:, 3:], 1 / NUM_LABELS)
    back, labels = label_units.split(params, x)
    np.testing.assert_array_equal(back, features)
    assert labels.shape == (2, NUM_LABELS)
    np.testing.assert_array_equal(label_units.mask(params), [0, 0, 0, 1, 1, 1])
    assert label_units.num_labels(params) == NUM_LABELS
    net = dbn.stack((rbm.init_params(jax.random.key(1), 4, 3), params))
    assert dbn.num_labels(net) == NUM_LABELS
    assert dbn.feature_images(net, 1).shape == (4, 4)
    assert dbn.up_pass(net, jnp.ones((2, 4)))[-1].shape == (2, 4)
    one = dbn.stack((params,))
    assert dbn.num_pixels(one) == 3
    assert dbn.as_pixels(one, jnp.ones((2, 3))).values.shape == (2, 3)


def test_parts_and_the_whole(params):
    of_features, of_labels = label_units.parts(params)
    x = jnp.array([1.0, 0.0, 1.0, 0.0, 1.0, 0.0])
    inputs = rbm.hidden_inputs(of_features, x[:3]) + rbm.hidden_inputs(of_labels, x[3:])
    np.testing.assert_allclose(inputs, rbm.hidden_inputs(params, x), rtol=1e-6)
    energy = of_features.visible.energy(x[:3]) + of_labels.visible.energy(x[3:])
    np.testing.assert_allclose(energy, params.visible.energy(x), rtol=1e-6)
    assert of_labels.hidden is of_features.hidden is params.hidden
    # Other features: the labels, and what they weigh, stay.
    other = jax.tree.map(lambda leaf: leaf + 1, label_units.without(params))
    changed = label_units.with_features(params, other)
    found, kept = label_units.parts(changed)
    jax.tree.map(np.testing.assert_array_equal, found, other)
    expected = dataclasses.replace(of_labels, hidden=other.hidden)
    jax.tree.map(np.testing.assert_array_equal, kept, expected)


def test_without_label_units():
    plain = rbm.init_params(jax.random.key(0), 4, 3)
    for call in (
        label_units.require,
        label_units.mask,
        label_units.parts,
        lambda params: label_units.log_posterior(params, jnp.ones(4)),
    ):
        with pytest.raises(ValueError, match=r"no label units.*label_units\.init_params"):
            call(plain)
    label_units.check(plain, None)
    with pytest.raises(ValueError, match=r"shape \(2, 3\), .* 0 label units: .* no labels if"):
        label_units.check(plain, jnp.ones((2, 3)))
    # Several choices beside others are no label.
    groups = units.Concat(parts=(units.Bernoulli(), units.Softmax(num_classes=2)), sizes=(2, 4))
    assert label_units.num_labels(rbm.init_params(jax.random.key(0), 6, 3, visible=groups)) == 0
    assert label_units.without(plain) is plain
    assert label_units.with_features(params=plain, features=plain) is plain
    x = jnp.ones((2, 4))
    assert label_units.join(plain, x) is x
    assert label_units.split(plain, x)[1].shape == (2, 0)


@pytest.mark.usefixtures("unchecked_annotations")
def test_bad_input(params):
    with pytest.raises(ValueError, match="3 label units: give the labels' states"):
        label_units.check(params, None)
    with pytest.raises(
        ValueError, match=r"shape \(2, 4\), but the RBM has 3 label units: give the"
    ):
        label_units.check(params, jnp.ones((2, 4)))


def test_labels_may_be_only_at_the_top(params):
    with pytest.raises(ValueError, match="layer 0 has 2 Bernoulli hidden units, but layer 1"):
        dbn.stack((rbm.init_params(jax.random.key(1), 4, 2), params))
    assert isinstance(params.visible.parts[1], units.Softmax)
