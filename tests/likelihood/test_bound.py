"""The bound's terms against enumeration in numpy, which uses nothing of the package."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from dbn_jax import dbn, rbm
from dbn_jax.likelihood import bound
from tests import oracles, significance
from tests.random_models import random_net

NUM_SAMPLES = 20_000
V = np.array([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0], [0.3, 0.9, 1.0, 0.0]])
LABELS = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])


exact_bound = jax.jit(bound.exact)


def make_net(num_labels, dtype=jnp.float32):
    """4 pixels, layers of 3 and 2, a top RBM of 3 hidden units; all weights and biases differ."""
    return dbn.untie(random_net(3, (4, 3, 2, 3), num_labels, dtype=dtype))


@pytest.mark.parametrize("num_labels", [0, 2])
def test_exact(x64, num_labels):
    net = make_net(num_labels, jnp.float64)
    labels = jnp.asarray(LABELS) if num_labels else None
    terms, log_p = exact_bound(net, jnp.asarray(V), labels)
    for i, v in enumerate(V):
        log_q, log_v, prior = oracles.net_terms(net, v, LABELS[i] if num_labels else ())
        expected = np.array([log_v, -log_q, prior]) @ np.exp(log_q)
        found = terms.reconstruction[i], terms.entropy[i], terms.prior[i]
        np.testing.assert_allclose(found, expected, rtol=1e-10)
        np.testing.assert_allclose(log_p[i], scipy.special.logsumexp(log_v + prior), rtol=1e-10)
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
        significance.assert_mean(np.asarray(getattr(found, name)), np.float64(getattr(exact, name)))
    # An importance sampler of the likelihood.
    weights = np.exp(np.asarray(found.total, np.float64) - np.float64(log_p))
    significance.assert_mean(weights, 1.0)
    with pytest.raises(AssertionError):  # the power: the slack is no rounding error
        significance.assert_mean(np.asarray(found.total), np.float64(log_p))


def test_bad_input():
    with pytest.raises(ValueError, match="2 label units: give the labels' states"):
        bound.exact(make_net(2), jnp.ones(4))
    large = dbn.stack(
        (rbm.init_params(jax.random.key(0), 4, 21), rbm.init_params(jax.random.key(1), 21, 2))
    )
    with pytest.raises(ValueError, match=r"2\^21 states together; at most 2\^20 are"):
        bound.exact(large, jnp.ones(4))
