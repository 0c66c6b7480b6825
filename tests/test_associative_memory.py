"""The associative memory and its net against enumeration of a small one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from dbn_jax import associative_memory as memory
from dbn_jax import dbn, label_units, rbm
from tests import oracles, significance
from tests.oracles import binary
from tests.random_models import random_net

NUM_LABELS = 3
NUM_SAMPLES = 20_000


@pytest.fixture(scope="module")
def net():
    return random_net(7, (4, 3, 4), NUM_LABELS)


def label_marginal(net, features):
    """p(label | features), the features' states or means, by enumeration."""
    beside = np.repeat(features[..., None, :], NUM_LABELS, axis=-2)
    labels = np.broadcast_to(np.eye(NUM_LABELS), (*beside.shape[:-1], NUM_LABELS))
    free_energy = oracles.Model.of(net.top).free_energy(np.concatenate([beside, labels], axis=-1))
    return scipy.special.softmax(-free_energy, axis=-1)


def features_beside(net, label):
    """All features, and their probabilities beside a label."""
    model = oracles.Model.of(net.top)
    p = model.visible_marginal().reshape(8, NUM_LABELS)
    return jnp.asarray(binary(3), jnp.float32), p[:, label] / p[:, label].sum()


def by_gibbs(key, net, v, num_passes):
    """After so many iterations that the labels have forgotten their start."""
    return memory.classify_by_gibbs(key, net, v, 60, num_passes)


@pytest.mark.parametrize("ask", [memory.classify_by_sampling, by_gibbs])
def test_averaged_answers_tend_to_their_expectation(net, ask):
    v = jnp.array([1.0, 0.0, 1.0, 0.0])
    on = np.asarray(rbm.hidden_mean(net.layers[0], v), np.float64)
    of_each = label_marginal(net, binary(3))
    expected = oracles.factorial(on) @ of_each

    def answers(seed, num_passes):
        """One key for each: units of one image that share a number are then noticed."""
        keys = jax.random.split(jax.random.key(seed), 20_000)
        return np.exp(jax.jit(jax.vmap(lambda key: ask(key, net, v, num_passes)))(keys))

    found = answers(0, 5)
    significance.assert_mean(found, expected)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)
    assert np.abs(expected - label_marginal(net, np.round(on))).max() > 0.02  # of a single pass
    # The passes are independent: a fifth of the variance of one; a third is over 10 standard errors
    # more.
    assert np.all(found.var(axis=0) < answers(1, 1).var(axis=0) / 3)


def test_mean_field_answer_uses_the_means(net):
    v = jnp.array([[1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    means = np.asarray(rbm.hidden_mean(net.layers[0], v), np.float64)
    np.testing.assert_allclose(
        np.exp(memory.classify(net, v)), label_marginal(net, means), rtol=1e-5
    )


def test_first_half_of_the_iterations_does_not_count(net):
    """Two iterations by enumeration: neutral labels drive h, h labels, these h, that the answer."""
    certain = dbn.DBN((jax.tree.map(lambda x: 30 * x, net.layers[0]), net.top))
    v = jnp.broadcast_to(jnp.array([1.0, 0.0, 1.0, 0.0]), (NUM_SAMPLES, 4))
    features = np.round(np.asarray(rbm.hidden_mean(certain.layers[0], v[0]), np.float64))
    model = oracles.Model.of(net.top)
    mean = (model.visible_given(model.hidden.states) @ model.visible.states)[:, 3:]

    def hidden_given(labels):
        return model.hidden_given(np.append(features, labels))

    labels = hidden_given(np.full(NUM_LABELS, 1 / NUM_LABELS)) @ mean
    expected = sum(p * hidden_given(row) @ mean for p, row in zip(labels, np.eye(3), strict=True))
    ask = jax.jit(memory.classify_by_gibbs, static_argnums=(3, 4))
    found = ask(jax.random.key(1), certain, v, 2, 1)
    significance.assert_mean(np.exp(found), expected)
    with pytest.raises(AssertionError):  # the power: with the first iteration's it would differ
        significance.assert_mean(np.exp(found), (labels + expected) / 2)


def test_every_class_is_generated(net):
    samples = memory.generate_classes(jax.random.key(0), net, NUM_SAMPLES, 60)
    expected = []
    for label, pixels in enumerate(samples):
        h, p = features_beside(net, label)
        expected.append(p @ np.asarray(rbm.visible_mean(net.layers[0], h)))
        significance.assert_mean(pixels, expected[label])
    for label in range(NUM_LABELS):  # the power: the classes differ
        with pytest.raises(AssertionError):
            significance.assert_mean(samples[label], expected[label - 1])
    # What it is made of: a start beside the labels, and chains that keep them.
    x = memory.start_from_labels(jax.random.key(0), net, jnp.array([2, 0]))
    np.testing.assert_array_equal(x[:, 3:], np.eye(NUM_LABELS)[[2, 0]])
    _, after = memory.generate(jax.random.key(1), net, x, label_units.mask(net.top), 3)
    np.testing.assert_array_equal(after[:, 3:], x[:, 3:])


def test_nets_without_labels_are_refused():
    plain = dbn.stack((rbm.init_params(jax.random.key(0), 4, 3),))
    for call in (
        lambda: memory.classify(plain, jnp.ones(4)),
        lambda: memory.classify_by_gibbs(jax.random.key(0), plain, jnp.ones(4)),
        lambda: memory.classify_by_sampling(jax.random.key(0), plain, jnp.ones(4)),
        lambda: memory.start_from_labels(jax.random.key(0), plain, jnp.zeros(2, jnp.int32)),
        lambda: memory.generate_classes(jax.random.key(0), plain, 2, 5),
    ):
        with pytest.raises(ValueError, match=r"no label units.*label_units\.init_params"):
            call()


def test_numbers_below_one_and_unknown_labels_are_refused(net):
    key, v = jax.random.key(0), jnp.ones((2, 4))
    with pytest.raises(ValueError, match="num_passes is 0; it must be at least 1"):
        memory.classify_by_sampling(key, net, v, 0)
    with pytest.raises(ValueError, match="num_passes is 0; it must be at least 1"):
        memory.classify_by_gibbs(key, net, v, 10, 0)
    with pytest.raises(ValueError, match="number of Gibbs steps is 0"):
        memory.classify_by_gibbs(key, net, v, 0)
    for label in (-1, NUM_LABELS):
        with pytest.raises(ValueError, match=rf"no label {label}; those of 3 classes are 0 to 2"):
            memory.start_from_labels(key, net, jnp.array([0, label]))


@pytest.mark.parametrize("ask", [memory.classify_by_sampling, memory.classify_by_gibbs])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_image_that_is_not_finite_has_no_answer(net, ask, value):
    v = jnp.ones((2, 4)).at[1, 2].set(value)
    found = ask(jax.random.key(0), net, v)
    np.testing.assert_array_equal(np.isfinite(found), [[True] * 3, [False] * 3])


def test_hardly_possible_labels_have_finite_logarithms(net):
    sure = dataclasses.replace(net.top.visible.parts[1], bias=jnp.array([0.0, -200.0, -300.0]))
    visible = dataclasses.replace(net.top.visible, parts=(net.top.visible.parts[0], sure))
    sure = dbn.DBN((net.layers[0], dataclasses.replace(net.top, visible=visible)))
    for ask in (memory.classify_by_gibbs, memory.classify_by_sampling):
        found = ask(jax.random.key(0), sure, jnp.ones((2, 4)))
        np.testing.assert_allclose(found[:, 1], -200, atol=20)
        np.testing.assert_allclose(found[:, 2], -300, atol=20)
