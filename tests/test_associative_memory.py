"""The associative memory and its net against enumeration of a small one."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import associative_memory as memory
from dbn_jax import dbn, label_units, rbm
from tests import oracles
from tests.random_models import at_random

NUM_LABELS = 3
NUM_SAMPLES = 20_000


def binary(n):
    return np.array(list(itertools.product([0.0, 1.0], repeat=n)))


@pytest.fixture(scope="module")
def net():
    bottom = at_random(0, lambda: rbm.init_params(jax.random.key(0), 4, 3))
    top = at_random(5, lambda: label_units.init_params(jax.random.key(0), 3, 4, NUM_LABELS))
    return dbn.stack((bottom, top))


def label_marginal(net, features):
    """p(label | features) from the energies, summed over all hidden states, in numpy."""
    weights = np.asarray(net.top.weights, np.float64)
    bias = np.asarray(net.top.visible.bias, np.float64)
    c = np.asarray(net.top.hidden.bias, np.float64)
    h = binary(len(c))
    x = np.concatenate(
        [np.repeat(features[..., None, :], NUM_LABELS, -2),
         np.broadcast_to(np.eye(NUM_LABELS), (*features.shape[:-1], NUM_LABELS, NUM_LABELS))],
        axis=-1,
    )  # fmt: skip
    weight = np.exp(x @ bias) * np.exp((x @ weights + c) @ h.T).sum(-1)
    return weight / weight.sum(-1, keepdims=True)


def features_beside(net, label):
    """All features, and their probabilities beside a label."""
    h = jnp.asarray(binary(3), jnp.float32)
    beside = label_units.join(net.top, h, jnp.tile(jnp.eye(NUM_LABELS)[label], (8, 1)))
    weight = np.exp(-np.float64(rbm.free_energy(net.top, beside)))
    return h, weight / weight.sum()


def test_averaged_posterior_tends_to_its_expectation(net):
    v = jnp.array([1.0, 0.0, 1.0, 0.0])
    on = np.asarray(rbm.hidden_mean(net.layers[0], v), np.float64)
    h = binary(3)
    p_h = np.prod(np.where(h == 1, on, 1 - on), axis=-1)
    expected = p_h @ label_marginal(net, h)
    many = jnp.broadcast_to(v, (4000, 4))
    found = jax.jit(lambda k, v: memory.classify_by_sampling(k, net, v, 5))(jax.random.key(0), many)
    oracles.assert_mean(np.exp(found), expected)
    np.testing.assert_allclose(np.exp(found).sum(-1), 1, rtol=1e-5)
    one = label_marginal(net, np.round(on))
    assert np.abs(expected - one).max() > 0.02  # a single pass would be noticed
    # The passes are independent: a fifth of the variance of one (1/3 is 20 standard errors off).
    variance = p_h @ label_marginal(net, h) ** 2 - expected**2
    assert np.all(np.exp(found).var(axis=0) < variance / 3)


def test_mean_field_answer_uses_the_means(net):
    v = jnp.array([[1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    means = np.asarray(rbm.hidden_mean(net.layers[0], v), np.float64)
    np.testing.assert_allclose(
        np.exp(memory.classify(net, v)), label_marginal(net, means), rtol=1e-5
    )


def test_iterations_with_free_labels_tend_to_the_posterior(net):
    v = jnp.broadcast_to(jnp.array([1.0, 0.0, 1.0, 0.0]), (4000, 4))
    certain = dbn.DBN((jax.tree.map(lambda x: 30 * x, net.layers[0]), net.top))
    features = np.round(np.asarray(rbm.hidden_mean(certain.layers[0], v[0]), np.float64))
    ask = jax.jit(memory.classify_by_gibbs, static_argnums=(3, 4))
    found = ask(jax.random.key(1), certain, v, 60, 1)
    oracles.assert_mean(np.exp(found), label_marginal(certain, features))


def test_iterations_are_averaged_over_passes(net):
    """Each with features of its own: the expectation is over them, and the variance shrinks."""
    v = jnp.array([1.0, 0.0, 1.0, 0.0])
    on = np.asarray(rbm.hidden_mean(net.layers[0], v), np.float64)
    h = binary(3)
    expected = np.prod(np.where(h == 1, on, 1 - on), axis=-1) @ label_marginal(net, h)
    many = jnp.broadcast_to(v, (4000, 4))
    ask = jax.jit(memory.classify_by_gibbs, static_argnums=(3, 4))
    averaged = np.exp(ask(jax.random.key(0), net, many, 60, 5))
    oracles.assert_mean(averaged, expected)
    np.testing.assert_allclose(averaged.sum(-1), 1, rtol=1e-5)
    one = np.exp(ask(jax.random.key(1), net, many, 60, 1))
    # A fifth of the variance of one (1/3 is over 10 standard errors off).
    assert np.all(averaged.var(axis=0) < one.var(axis=0) / 3)


def test_first_half_of_the_iterations_does_not_count(net):
    """Two iterations by enumeration: neutral labels drive h, h labels, these h, that the answer."""
    certain = dbn.DBN((jax.tree.map(lambda x: 30 * x, net.layers[0]), net.top))
    v = jnp.broadcast_to(jnp.array([1.0, 0.0, 1.0, 0.0]), (NUM_SAMPLES, 4))
    features = np.round(np.asarray(rbm.hidden_mean(certain.layers[0], v[0]), np.float64))
    weights = np.asarray(net.top.weights, np.float64)
    c, h = np.asarray(net.top.hidden.bias, np.float64), binary(4)

    def hidden_given(labels):
        logits = (np.append(features, labels) @ weights + c) @ h.T
        return np.exp(logits) / np.exp(logits).sum()

    label_bias = np.asarray(net.top.visible.bias, np.float64)[3:]
    mean = np.exp(label_bias + h @ weights[3:].T)
    mean /= mean.sum(axis=1, keepdims=True)
    labels = hidden_given(np.full(NUM_LABELS, 1 / NUM_LABELS)) @ mean
    expected = sum(p * hidden_given(row) @ mean for p, row in zip(labels, np.eye(3), strict=True))
    ask = jax.jit(memory.classify_by_gibbs, static_argnums=(3, 4))
    found = ask(jax.random.key(1), certain, v, 2, 1)
    oracles.assert_mean(np.exp(found), expected)
    with pytest.raises(AssertionError):  # the power: with the first iteration's it would differ
        oracles.assert_mean(np.exp(found), (labels + expected) / 2)


def test_clamped_labels_give_the_conditional_distribution(net):
    label = 1
    x = memory.start_from_labels(jax.random.key(0), net, jnp.full(NUM_SAMPLES, label))
    np.testing.assert_array_equal(x[:, 3:], np.tile(np.eye(NUM_LABELS)[label], (NUM_SAMPLES, 1)))
    run = jax.jit(memory.generate)
    pixels, after = run(jax.random.key(1), net, x, label_units.mask(net.top), 60)
    np.testing.assert_array_equal(after[:, 3:], x[:, 3:])
    h, p = features_beside(net, label)
    oracles.assert_mean(after[:, :3], p @ h)
    oracles.assert_mean(pixels, p @ np.asarray(rbm.visible_mean(net.layers[0], h)))
    # The power: the chains without a clamp have another mean.
    _, free = run(jax.random.key(1), net, x, jnp.zeros(6, bool), 60)
    with pytest.raises(AssertionError):
        oracles.assert_mean(free[:, :3], p @ h)


def test_every_class_is_generated(net):
    samples = memory.generate_classes(jax.random.key(0), net, NUM_SAMPLES, 60)
    expected = []
    for label, pixels in enumerate(samples):
        h, p = features_beside(net, label)
        expected.append(p @ np.asarray(rbm.visible_mean(net.layers[0], h)))
        oracles.assert_mean(pixels, expected[label])
    for label in range(NUM_LABELS):  # the power: the classes differ
        with pytest.raises(AssertionError):
            oracles.assert_mean(samples[label], expected[label - 1])


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
        with pytest.raises(ValueError, match=rf"no label {label}; the net's are 0 to 2"):
            memory.start_from_labels(key, net, jnp.array([0, label]))


def test_hardly_possible_labels_have_finite_logarithms(net):
    sure = dataclasses.replace(net.top.visible.parts[1], bias=jnp.array([0.0, -200.0, -300.0]))
    visible = dataclasses.replace(net.top.visible, parts=(net.top.visible.parts[0], sure))
    sure = dbn.DBN((net.layers[0], dataclasses.replace(net.top, visible=visible)))
    for ask in (memory.classify_by_gibbs, memory.classify_by_sampling):
        found = ask(jax.random.key(0), sure, jnp.ones((2, 4)))
        np.testing.assert_allclose(found[:, 1], -200, atol=20)
        np.testing.assert_allclose(found[:, 2], -300, atol=20)
