"""Likelihoods of whole data sets, and bounds on them, against enumeration."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from dbn_jax import dbn, rbm
from dbn_jax.likelihood import evaluation
from tests import oracles, significance
from tests.random_models import jolt, random_net

NUM_LABELS = 3
NUM_COPIES = 2000
QUICK = {"num_steps": 300, "num_chains": 200, "num_passes": 4, "num_reverse": 40}


def labelled_net():
    """Two layers, labels at the top, weights for recognition of their own."""
    net = dbn.untie(random_net(1, (5, 3, 4), NUM_LABELS))
    return dataclasses.replace(net, recognition=jolt(2, net.recognition, 0.7))


def enumerated(net, v, label):
    """The bounds on log p(v) and log p(v, label), then these themselves."""
    one_hot = np.eye(NUM_LABELS)
    log_q, log_v, _ = oracles.net_terms(net, v, one_hot[label])
    priors = np.stack([oracles.net_terms(net, v, each)[2] for each in one_hot], axis=1)
    log_p = log_v[:, None] + priors - oracles.Model.of(net.top).log_z()
    both = scipy.special.logsumexp(log_p, axis=1), log_p[:, label]
    bounds = (np.exp(log_q) @ (x - log_q) for x in both)
    return *bounds, *(scipy.special.logsumexp(x) for x in both)


EXAMPLES = np.array([[1, 0, 0, 1, 1], [0, 0, 1, 0, 1], [1, 1, 1, 1, 0]], np.float32)
LABELS = np.array([2, 0, 1])


def examples(v, labels):
    return jnp.asarray(v), jax.nn.one_hot(jnp.asarray(labels), NUM_LABELS)


def test_ratios_estimate_the_bounds():
    net = labelled_net()
    expected = [enumerated(net, v, label) for v, label in zip(EXAMPLES, LABELS, strict=True)]
    v, labels = examples(EXAMPLES.repeat(NUM_COPIES, axis=0), LABELS.repeat(NUM_COPIES))
    found = evaluation.log_ratios(jax.random.key(0), net, (v, labels), 2)
    log_z = oracles.Model.of(net.top).log_z()
    by_image = np.stack(found).reshape(2, len(EXAMPLES), NUM_COPIES).transpose(2, 1, 0) - log_z
    significance.assert_mean(by_image, np.array(expected)[:, :2])
    # The power of that: the likelihoods themselves, which the bounds are below, are rejected.
    with pytest.raises(AssertionError):
        significance.assert_mean(by_image, np.array(expected)[:, 2:])


def test_ratios_of_one_layer_are_exact():
    top = random_net(3, (5, 4), NUM_LABELS).top
    model = oracles.Model.of(top)
    pairs = np.concatenate([EXAMPLES.repeat(NUM_LABELS, 0), np.tile(np.eye(NUM_LABELS), (3, 1))], 1)
    log_p = -model.free_energy(pairs).reshape(3, NUM_LABELS)
    net = evaluation.as_net(top)
    images, joint = evaluation.log_ratios(jax.random.key(0), net, examples(EXAMPLES, LABELS), 1)
    np.testing.assert_allclose(images, scipy.special.logsumexp(log_p, axis=1), rtol=1e-5)
    np.testing.assert_allclose(joint, log_p[np.arange(3), LABELS], rtol=1e-5)


def drawn(model, count):
    """States of an RBM drawn exactly, as an argument of `evaluate`."""
    rng = np.random.default_rng(0)
    p = model.visible_marginal()
    v = model.visible.states[rng.choice(len(p), count, p=p / p.sum())]
    return v, (jnp.asarray(v, jnp.float32), None)


def measured(*names):
    """The keys of results, of which these estimates are some."""
    pairs = [(name, f"{name}_standard_error") for name in ("log_z", *names)]
    return {"log_z_effective_sample_size", *itertools.chain(*pairs)}


def test_likelihood_of_an_rbm():
    params = random_net(4, (6, 4)).top
    model = oracles.Model.of(params)
    v, held_out = drawn(model, 300)
    results = evaluation.evaluate(jax.random.key(0), params, held_out, held_out, **QUICK)
    names = "log_likelihood", "log_likelihood_exact", "log_likelihood_reverse"
    assert results.keys() == {"log_z_exact", *measured(*names)}
    log_p = model.log_likelihood(v)
    np.testing.assert_allclose(results["log_z_exact"], model.log_z(), rtol=1e-6)
    np.testing.assert_allclose(results["log_likelihood_exact"], log_p.mean(), rtol=1e-5)
    log_z_error = results["log_z_standard_error"]
    assert 0 < log_z_error < 0.02
    assert abs(results["log_z"] - model.log_z()) < significance.z_bound(1) * log_z_error
    assert abs(results["log_likelihood"] - log_p.mean()) < significance.z_bound(1) * log_z_error
    assert 1 < results["log_z_effective_sample_size"] <= QUICK["num_chains"]
    of_images = log_p.std(ddof=1) / np.sqrt(len(v))
    np.testing.assert_allclose(
        results["log_likelihood_standard_error"], np.hypot(of_images, log_z_error), rtol=1e-4
    )
    # Annealing that is nearly perfect ends in v as probably as the RBM does.
    error = results["log_likelihood_reverse_standard_error"]
    assert of_images < error < 0.1
    of_annealing = np.sqrt(error**2 - of_images**2)
    gap = results["log_likelihood_reverse"] - log_p.mean()
    assert abs(gap) < significance.z_bound(1) * of_annealing + 0.01


def test_reverse_is_conservative_where_annealing_misses_half_of_the_states():
    """Two modes far apart: nearly all chains end in one; only the reverse path tells."""
    num_visible, coupling = 6, 8.0
    params = rbm.init_params(jax.random.key(0), num_visible, 4)
    params = rbm.RBM(
        jnp.zeros_like(params.weights).at[:, 0].set(coupling),
        params.visible.add_to_bias(jnp.full(num_visible, -coupling / 2)),
        params.hidden.add_to_bias(jnp.zeros(4).at[0].set(-num_visible * coupling / 2)),
    )
    model = oracles.Model.of(params)
    v, held_out = drawn(model, 300)
    results = evaluation.evaluate(jax.random.key(0), params, held_out, held_out, **QUICK)
    exact = model.log_likelihood(v).mean()
    assert results["log_likelihood"] > exact - 3 * results["log_z_standard_error"]
    assert results["log_likelihood_reverse"] < exact - 1


def test_bound_of_a_net_with_labels():
    net = labelled_net()
    held_out = examples(EXAMPLES.repeat(100, axis=0), LABELS.repeat(100))
    results = evaluation.evaluate(
        jax.random.key(1), net, held_out, held_out, **QUICK | {"num_passes": 50}
    )
    images, joint, exact, exact_joint = np.mean(
        [enumerated(net, v, label) for v, label in zip(EXAMPLES, LABELS, strict=True)], axis=0
    )
    # The error of 15,000 samples of a ratio, with variances of at most 1.2, and that of log Z.
    error = np.hypot(np.sqrt(1.2 / 15_000), results["log_z_standard_error"])
    tolerance = significance.z_bound(2) * error
    for name, bound, above in (
        ("log_likelihood_bound", images, exact),
        ("joint_log_likelihood_bound", joint, exact_joint),
    ):
        assert abs(results[name] - bound) < tolerance < above - bound, name
        assert results[name] < above
    gap = results["joint_log_likelihood_bound_reverse"] - joint
    error = results["joint_log_likelihood_bound_reverse_standard_error"]
    assert abs(gap) < significance.z_bound(1) * error
    names = ("log_likelihood_bound", "joint_log_likelihood_bound")
    names = *names, "joint_log_likelihood_bound_reverse"
    assert results.keys() == {"log_z_exact", *measured(*names)}
