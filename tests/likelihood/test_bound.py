"""The bound's terms against enumeration in numpy, which uses nothing of the package."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import dbn, label_units, rbm
from dbn_jax.likelihood import bound, partition
from tests import oracles
from tests.random_models import at_random, jolt

NUM_SAMPLES = 20_000
V = np.array([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0], [0.3, 0.9, 1.0, 0.0]])
LABELS = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def binary(n):
    return np.array(list(itertools.product([0.0, 1.0], repeat=n)))


def log_bernoulli(x, a):
    """Summed over the units; grey levels as probabilities."""
    return (x * a - np.logaddexp(0, a)).sum(axis=-1)


exact_bound = jax.jit(bound.exact)


def make_net(num_labels, dtype=jnp.float32):
    """4 pixels, layers of 3 and 2, a top RBM of 3 hidden units; all weights and biases differ."""

    def blank():
        sizes, key = ((4, 3), (3, 2)), jax.random.key(0)
        layers = [rbm.init_params(key, *pair, dtype=dtype) for pair in sizes]
        if num_labels:
            top = label_units.init_params(key, 2, 3, num_labels)
            top = jax.tree.map(lambda x: x.astype(dtype), top)
        else:
            top = rbm.init_params(key, 2, 3, dtype=dtype)
        return dbn.untie(dbn.stack((*layers, top)))

    return at_random(3, blank)


def enumerated(net, v, labels):
    """Reconstruction, entropy, prior and log p(v, labels) + log Z of one example."""
    up = [[np.float64(a) for a in (r.weights, r.hidden.bias)] for r in net.recognition]
    down = [[np.float64(a) for a in (r.weights, r.visible.bias)] for r in net.generative]
    q_total, log_joint = [], []
    terms = np.zeros(3)
    for h1 in binary(3):
        for h2 in binary(2):
            log_q = log_bernoulli(h1, v @ up[0][0] + up[0][1])
            log_q += log_bernoulli(h2, h1 @ up[1][0] + up[1][1])
            reconstruction = log_bernoulli(v, down[0][0] @ h1 + down[0][1])
            reconstruction += log_bernoulli(h1, down[1][0] @ h2 + down[1][1])
            x = h2 if labels is None else np.concatenate([h2, labels])
            bias = oracles.leaves(net.top)["visible.bias"]
            a = x @ np.float64(net.top.weights) + np.float64(net.top.hidden.bias)
            prior = x @ bias + np.logaddexp(0, a).sum()
            q = np.exp(log_q)
            terms += q * np.array([reconstruction, -log_q, prior])
            q_total.append(q)
            log_joint.append(reconstruction + prior)
    np.testing.assert_allclose(sum(q_total), 1, rtol=1e-12)
    return terms, np.log(np.sum(np.exp(log_joint)))


@pytest.mark.parametrize("num_labels", [0, 2])
def test_exact(x64, num_labels):
    net = make_net(num_labels, jnp.float64)
    labels = jnp.asarray(LABELS) if num_labels else None
    terms, log_p = exact_bound(net, jnp.asarray(V), labels)
    for i, v in enumerate(V):
        expected, expected_log_p = enumerated(net, v, LABELS[i] if num_labels else None)
        found = terms.reconstruction[i], terms.entropy[i], terms.prior[i]
        np.testing.assert_allclose(found, expected, rtol=1e-10)
        np.testing.assert_allclose(log_p[i], expected_log_p, rtol=1e-10)
        np.testing.assert_allclose(terms.total[i], expected.sum(), rtol=1e-10)
        assert terms.total[i] < log_p[i] - 0.01  # the slack
    one, _ = exact_bound(net, jnp.asarray(V[0]), None if labels is None else labels[0])
    np.testing.assert_allclose(one.prior, terms.prior[0])


@pytest.mark.parametrize("num_labels", [0, 2])
def test_samples_have_the_exact_means(num_labels):
    net = make_net(num_labels)
    v = jnp.asarray(V[0], jnp.float32)
    labels = jnp.asarray(LABELS[0], jnp.float32) if num_labels else None
    exact, log_p = exact_bound(net, v, labels)

    def many(x):
        return None if x is None else jnp.broadcast_to(x, (NUM_SAMPLES, *x.shape))

    found = jax.jit(bound.sample_terms)(jax.random.key(4), net, many(v), many(labels))
    for name in ("reconstruction", "entropy", "prior", "total"):
        oracles.assert_mean(np.asarray(getattr(found, name)), np.float64(getattr(exact, name)))
    # An importance sampler of the likelihood.
    weights = np.exp(np.asarray(found.total, np.float64) - np.float64(log_p))
    oracles.assert_mean(weights, 1.0)
    with pytest.raises(AssertionError):  # the power: the slack is no rounding error
        oracles.assert_mean(np.asarray(found.total), np.float64(log_p))


@pytest.mark.parametrize("num_labels", [0, 2])
def test_of_a_layer_upside_down_it_is_the_likelihood_below(num_labels):
    """Whatever is drawn: recognition by a single RBM is the true posterior."""
    first = at_random(5, lambda: rbm.init_params(jax.random.key(0), 4, 3))
    if num_labels:
        new = label_units.init_params(jax.random.key(12), 3, 4, num_labels, weight_scale=0.0)
    else:
        new = rbm.init_params(jax.random.key(12), 3, 4, weight_scale=0.0)
    net = dbn.stack((first, dbn.upside_down(new, first)))
    v = jnp.asarray(np.tile(V, (100, 1)), jnp.float32)
    labels = jnp.asarray(np.tile(LABELS, (100, 1)), jnp.float32) if num_labels else None
    found = bound.sample_terms(jax.random.key(13), net, v, labels).total
    # The partition functions agree but for the labels', of which all are equally probable.
    log_z = partition.exact_log_partition(net.top)
    expected = partition.log_likelihood(first, v, partition.exact_log_partition(first))
    np.testing.assert_allclose(found - log_z, expected - np.log(max(num_labels, 1)), rtol=1e-5)


def test_greedy_learning_raises_the_bound(x64):
    """A layer added upside down starts at the bound so far, which learning it raises.

    So the likelihood of the data rises by at least the slack that opens.
    """
    data = jnp.asarray(np.array([[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 0], [0, 1, 1, 1]]) * 1.0)
    first = rbm.init_params(jax.random.key(14), 4, 3, dtype=jnp.float64)

    def descent(loss, num_updates):
        def update(_, params):
            return jax.tree.map(lambda p, g: p - 0.2 * g, params, jax.grad(loss)(params))

        return jax.jit(lambda params: jax.lax.fori_loop(0, num_updates, update, params))

    def cost(params):
        log_z = partition.exact_log_partition(params)
        return -jnp.mean(partition.log_likelihood(params, data, log_z))

    first = descent(cost, 300)(first)

    @jax.jit
    def values(below, top):
        terms, log_p = bound.exact(dbn.stack((*below, top)), data)
        log_z = partition.exact_log_partition(top)
        return jnp.mean(terms.total) - log_z, jnp.mean(log_p) - log_z

    below, lower = (first,), -cost(first)
    for i, num_hidden in enumerate((6, 5)):
        blank = rbm.init_params(
            jax.random.key(15), len(below[-1].hidden.bias), num_hidden,
            dtype=jnp.float64, weight_scale=0.0,
        )  # fmt: skip
        top = dbn.upside_down(blank, below[-1])
        # What greedy learning has reached: of the second layer the bound is tight, of the third
        # it is the bound with two layers.
        start, likelihood = values(below, top)
        np.testing.assert_allclose(start, lower, rtol=1e-9)
        if i == 0:
            np.testing.assert_allclose(likelihood, start, rtol=1e-9)
        # Hidden units that are all alike would stay so.
        top = jolt(16, top, 1e-3)
        climb = descent(lambda top, below=below: -values(below, top)[0], 40)
        bounds = [start]
        for _ in range(5):
            top = climb(top)
            lower, likelihood = values(below, top)
            assert lower > bounds[-1]
            slack, gain = likelihood - lower, likelihood + cost(first)
            assert 0 < slack < gain
            bounds.append(lower)
        assert bounds[-1] - start > (0.02, 1e-5)[i]
        below += (top,)


def test_bad_input():
    with pytest.raises(ValueError, match="2 label units: give the labels' states"):
        bound.exact(make_net(2), jnp.ones(4))
    large = dbn.stack(
        (rbm.init_params(jax.random.key(0), 4, 21), rbm.init_params(jax.random.key(1), 21, 2))
    )
    with pytest.raises(ValueError, match=r"2\^21 states together; at most 2\^20 are"):
        bound.exact(large, jnp.ones(4))
