"""The gradient of the bound: every estimator against that of the enumerated bound."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dbn_jax import dbn, learning, rbm, units
from dbn_jax.learning import bound_gradient
from dbn_jax.likelihood import bound, partition
from tests import significance
from tests.random_models import at_random, random_net

NUM_KEYS = 30_000
ESTIMATORS = [
    bound_gradient.Antithetic(),
    bound_gradient.LeaveOneOut(1, takes_slopes=False),
    bound_gradient.LeaveOneOut(2, takes_slopes=False),
    bound_gradient.LeaveOneOut(2),
]
# By number of labels: two recognised layers, so that each estimator has states above and below the
# first.
NETS = {n: dbn.untie(random_net(3, (4, 3, 2, 3), n)) for n in (0, 2)}
# As many examples as paths would hide a mean over the wrong of the two.
V = jnp.array([[1.0, 0.0, 1.0, 1.0], [0.0, 0.3, 1.0, 0.0], [1.0, 1.0, 0.0, 1.0]])
LABELS = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])


def loss(net, v, labels):
    """Minus the enumerated bound, averaged over the examples."""
    terms, _ = bound.exact(net, v, labels)
    return partition.exact_log_partition(net.top) - jnp.mean(terms.total)


@functools.cache
def estimates(num_labels, estimator, num_keys=NUM_KEYS):
    """Gradients and metrics, one for each key."""
    labels = LABELS if num_labels else None

    @jax.jit
    @jax.vmap
    def estimate(key):
        gradient, _, metrics = bound_gradient.gradient(
            key, NETS[num_labels], None, V, labels, learner=learning.Exact(), estimator=estimator
        )
        return gradient, metrics

    return estimate(jax.random.split(jax.random.key(4), num_keys))


def named(net):
    """All parameters of a net (or gradient) by name."""
    paths, _ = jax.tree_util.tree_flatten_with_path(net)
    return {jax.tree_util.keystr(path): np.asarray(x, np.float64) for path, x in paths}


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_is_unbiased(estimator):
    default = estimator == bound_gradient.LeaveOneOut()
    found, metrics = estimates(2, estimator, 100_000 if default else NUM_KEYS)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: x.astype(jnp.float64), NETS[2])
        v, labels = V.astype(jnp.float64), LABELS.astype(jnp.float64)
        expected = named(jax.jit(jax.grad(loss))(wide, v, labels))
        terms, _ = bound.exact(wide, v, labels)
        for name in ("reconstruction", "entropy", "prior"):
            significance.assert_mean(metrics[name], np.mean(getattr(terms, name)))
    significance.assert_mean(named(found), expected)
    # The power: a tenth less, in either layer, would be noticed.
    if default:
        for i in range(2):
            name = f".recognition[{i}].weights"
            assert np.abs(significance.z_scores(named(found)[name], 0.9 * expected[name])).max() > 8


def test_without_labels():
    found, _ = estimates(0, bound_gradient.LeaveOneOut())
    significance.assert_mean(named(found), named(jax.jit(jax.grad(loss))(NETS[0], V, None)))


def test_of_one_rbm_is_its_likelihood():
    only = at_random(5, lambda: rbm.init_params(jax.random.key(0), 4, 3))
    net = dbn.untie(dbn.stack((only,)))
    expected, _, _ = jax.jit(learning.Exact().estimate)(None, net.top, None, V)
    for estimator in ESTIMATORS[::2]:
        options = {"learner": learning.Exact(), "estimator": estimator}
        found, _, metrics = jax.jit(functools.partial(bound_gradient.gradient, **options))(
            jax.random.key(7), net, None, V
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found.top, expected)
        assert metrics["entropy"] == 0


def test_slopes_lower_the_variance():
    """Over all recognition weights, at two paths; the more, the more units there are."""
    variance = {}
    for estimator, num_keys in ((ESTIMATORS[2], NUM_KEYS), (ESTIMATORS[3], 100_000)):
        found, _ = estimates(2, estimator, num_keys)
        leaves = jax.tree.leaves(found.recognition)
        variance[estimator] = sum(float(jnp.var(x, axis=0).sum()) for x in leaves)
    without, with_slopes = variance.values()
    assert with_slopes < 0.5 * without


def test_learning_raises_the_bound():
    """By persistent chains, from a net that greedy learning could have left."""
    data = jnp.array([[1.0, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 0], [0, 1, 1, 1]])
    first = at_random(9, lambda: rbm.init_params(jax.random.key(0), 4, 3), 0.3)
    top = dbn.upside_down(rbm.init_params(jax.random.key(11), 3, 4), first)
    optimizer, learner = optax.sgd(0.05), learning.PCD(50, 2)
    state = bound_gradient.init_state(
        jax.random.key(12), dbn.stack((first, top)), optimizer, learner=learner
    )

    def value(net):
        return -float(loss(net, data, None))

    @jax.jit
    def learn(state):
        def update(t, state):
            key = jax.random.fold_in(jax.random.key(13), t)
            return bound_gradient.step(key, state, data, optimizer=optimizer, learner=learner)[0]

        return jax.lax.fori_loop(0, 500, update, state)

    before = value(state.params)
    state = learn(state)
    assert state.step == 500
    middle = value(state.params)
    after = value(learn(state).params)
    # The best possible is −log 4 = −1.39.
    assert before + 0.3 < middle < after < -np.log(4)


def test_bad_input():
    net, key = NETS[2], jax.random.key(0)
    with pytest.raises(ValueError, match="2 label units: give the labels' states"):
        bound_gradient.gradient(key, net, None, V, learner=learning.Exact())
    with pytest.raises(TypeError, match="holds int32 numbers; convert them"):
        bound_gradient.gradient(key, net, None, V.astype(jnp.int32), learner=learning.Exact())
    with pytest.raises(ValueError, match="num_samples is 0; it must be at least 1"):
        bound_gradient.LeaveOneOut(0)
    layers = (
        rbm.init_params(key, 4, 3, hidden=units.Gaussian()),
        rbm.init_params(key, 3, 2, visible=units.Gaussian()),
    )
    gaussian = dbn.untie(dbn.stack(layers))
    with pytest.raises(TypeError, match=r"hidden layer 0 has Gaussian units.*for Bernoulli"):
        bound_gradient.gradient(key, gaussian, None, V, learner=learning.CD())
