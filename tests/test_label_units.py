"""Label units beside an RBM's features, against enumeration of a small one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from dbn_jax import dbn, label_units, rbm, units
from tests import oracles, significance
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


def test_any_subset_is_clamped(params):
    clamped = jnp.array([True, False, True, False, False, False])
    x = jnp.tile(jnp.array([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]), (20_000, 1))
    after, h = jax.jit(label_units.clamped_gibbs)(jax.random.key(0), params, x, clamped, 60)
    np.testing.assert_array_equal(after[:, [0, 2]], x[:, [0, 2]])
    assert h.shape == (20_000, 4)
    model = oracles.Model.of(params)
    states, p = model.visible.states, model.visible_marginal()
    p = np.where((states[:, 0] == 1) & (states[:, 2] == 0), p, 0)
    significance.assert_mean(after[:, 1], (p / p.sum() @ states)[1])
    significance.assert_mean(after[:, 3:], (p / p.sum() @ states)[3:])


@pytest.mark.parametrize("visible", [units.Bernoulli(), units.Gaussian(sigma=0.7)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_stands_in_a_free_unit_is_forgotten(visible, value):
    """It starts at its mean without input, and the chain forgets that."""
    params = random_net(5, (3, 4), NUM_LABELS, visible=visible).top
    clamped = jnp.array([True, False, True, False, False, False])
    start = params.visible.mean(jnp.zeros(6))
    states = jnp.array([1.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    gibbs = jax.jit(label_units.clamped_gibbs)
    found = gibbs(jax.random.key(0), params, jnp.where(clamped, states, value), clamped, 3)
    expected = gibbs(jax.random.key(0), params, jnp.where(clamped, states, start), clamped, 3)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.isfinite(a).all()
    # What is clamped cannot be forgotten; the other chain does not mind.
    x = jnp.stack([states, states.at[0].set(value)])
    for after in gibbs(jax.random.key(0), params, x, clamped, 3):
        assert np.isfinite(after[0]).all()
        assert np.isnan(after[1]).all()


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
    assert dbn.as_pixels(one, jnp.ones((2, 3))).shape == (2, 3)


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
    with pytest.raises(TypeError, match="clamped is int32; give a boolean for each visible unit"):
        label_units.clamped_gibbs(jax.random.key(0), params, jnp.ones((2, 6)), jnp.arange(6), 1)
    with pytest.raises(ValueError, match="number of Gibbs steps is 0"):
        label_units.clamped_gibbs(
            jax.random.key(0), params, jnp.ones((2, 6)), label_units.mask(params), 0
        )


def test_labels_may_be_only_at_the_top(params):
    with pytest.raises(ValueError, match="layer 0 has 2 Bernoulli hidden units, but layer 1"):
        dbn.stack((rbm.init_params(jax.random.key(1), 4, 2), params))
    assert isinstance(params.visible.parts[1], units.Softmax)
