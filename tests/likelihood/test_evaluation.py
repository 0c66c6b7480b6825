"""Likelihoods of whole data sets, and bounds on them, against enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from dbn_jax import dbn, label_units, rbm
from dbn_jax.likelihood import evaluation
from tests import oracles
from tests.random_models import at_random, jolt

NUM_LABELS = 3
NUM_COPIES = 2000
QUICK = {"num_steps": 300, "num_chains": 200, "num_passes": 4, "num_reverse": 40}


def binary(n):
    return np.array(list(itertools.product([0.0, 1.0], repeat=n)))


def strong(seed, init, *sizes):
    return at_random(seed, lambda: init(jax.random.key(0), *sizes))


def labelled_net():
    """Two layers, labels at the top, weights for recognition of their own."""
    bottom = strong(0, rbm.init_params, 5, 3)
    top = strong(1, label_units.init_params, 3, 4, NUM_LABELS)
    net = dbn.untie(dbn.stack((bottom, top)))
    up = jolt(2, bottom, 0.7)
    return dbn.UntiedDBN((up,), net.generative, net.top)


def array(x):
    return np.asarray(x, np.float64)


class Enumerated:
    """A net of one hidden layer below its top RBM, in numpy."""

    def __init__(self, net):
        (up,), (down,) = net.recognition, net.generative
        self.up = [array(x) for x in (up.weights, up.hidden.bias)]
        self.down = [array(x) for x in (down.weights, down.visible.bias)]
        self.top = oracles.Model.of(net.top)
        self.h = binary(self.up[0].shape[1])
        labels = self.top.visible.num_units - self.h.shape[1]
        self.labels = np.eye(labels)

    def log_p(self, v):
        """log p(v, h, label) for each h and label."""
        on = scipy.special.expit(self.h @ self.down[0].T + self.down[1])
        log_v = np.log(np.where(v == 1, on, 1 - on)).sum(axis=-1)
        pairs = [[np.concatenate([h, label]) for label in self.labels] for h in self.h]
        return log_v[:, None] + self.top.log_likelihood(np.array(pairs))

    def log_q(self, v):
        """log q(h | v) for each h."""
        on = scipy.special.expit(v @ self.up[0] + self.up[1])
        return np.log(np.where(self.h == 1, on, 1 - on)).sum(axis=-1)

    def bounds(self, v, label):
        """The bounds on log p(v) and log p(v, label), then these themselves."""
        log_p, log_q = self.log_p(v), self.log_q(v)
        both = log_p[:, label], scipy.special.logsumexp(log_p, axis=1)
        joint, images = (float(np.exp(log_q) @ (x - log_q)) for x in both)
        exact_joint, exact = (float(scipy.special.logsumexp(x)) for x in both)
        return images, joint, exact, exact_joint


EXAMPLES = np.array([[1, 0, 0, 1, 1], [0, 0, 1, 0, 1], [1, 1, 1, 1, 0]], np.float32)
LABELS = np.array([2, 0, 1])


def examples(v, labels):
    return jnp.asarray(v), jax.nn.one_hot(jnp.asarray(labels), NUM_LABELS)


def test_ratios_estimate_the_bounds():
    net = labelled_net()
    enumerated = Enumerated(net)
    expected = [enumerated.bounds(v, label) for v, label in zip(EXAMPLES, LABELS, strict=True)]
    v, labels = examples(EXAMPLES.repeat(NUM_COPIES, axis=0), LABELS.repeat(NUM_COPIES))
    found = evaluation.log_ratios(jax.random.key(0), net, (v, labels), 2)
    log_z = enumerated.top.log_z()
    by_image = np.stack(found).reshape(2, len(EXAMPLES), NUM_COPIES).transpose(2, 1, 0) - log_z
    oracles.assert_mean(by_image, np.array(expected)[:, :2])
    # The power of that: the likelihoods themselves, which the bounds are below, are rejected.
    with pytest.raises(AssertionError):
        oracles.assert_mean(by_image, np.array(expected)[:, 2:])


def test_ratios_of_one_layer_are_exact():
    top = strong(3, label_units.init_params, 5, 4, NUM_LABELS)
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
    params = strong(4, rbm.init_params, 6, 4)
    model = oracles.Model.of(params)
    v, held_out = drawn(model, 300)
    results = evaluation.evaluate(jax.random.key(0), params, held_out, held_out, **QUICK)
    assert results.keys() == measured("log_likelihood", "log_likelihood_reverse")
    log_p = model.log_likelihood(v)
    log_z_error = results["log_z_standard_error"]
    assert 0 < log_z_error < 0.02
    assert abs(results["log_z"] - model.log_z()) < oracles.z_bound(1) * log_z_error
    assert abs(results["log_likelihood"] - log_p.mean()) < oracles.z_bound(1) * log_z_error
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
    assert abs(gap) < oracles.z_bound(1) * of_annealing + 0.01


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
    enumerated = Enumerated(net)
    held_out = examples(EXAMPLES.repeat(100, axis=0), LABELS.repeat(100))
    results = evaluation.evaluate(
        jax.random.key(1), net, held_out, held_out, **QUICK | {"num_passes": 50}
    )
    images, joint, exact, exact_joint = np.mean(
        [enumerated.bounds(v, label) for v, label in zip(EXAMPLES, LABELS, strict=True)], axis=0
    )
    # The error of 15,000 samples of a ratio, with variances of at most 1.2, and that of log Z.
    error = np.hypot(np.sqrt(1.2 / 15_000), results["log_z_standard_error"])
    tolerance = oracles.z_bound(2) * error
    for name, bound, above in (
        ("log_likelihood_bound", images, exact),
        ("joint_log_likelihood_bound", joint, exact_joint),
    ):
        assert abs(results[name] - bound) < tolerance < above - bound, name
        assert results[name] < above
    gap = results["joint_log_likelihood_bound_reverse"] - joint
    error = results["joint_log_likelihood_bound_reverse_standard_error"]
    assert abs(gap) < oracles.z_bound(1) * error
    names = ("log_likelihood_bound", "joint_log_likelihood_bound")
    assert results.keys() == measured(*names, "joint_log_likelihood_bound_reverse")
