"""Sigmoid belief nets against enumeration in numpy, which uses nothing of the package."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax.belief_nets import sbn
from tests import significance
from tests.oracles import binary, sigmoid

pytestmark = pytest.mark.usefixtures("x64")


def counts(x):
    """How often each state of binary units occurs, in the order of `binary`: (..., N) -> (2^N,)."""
    x = np.asarray(x).reshape(-1, x.shape[-1])
    numbers = (x @ 2 ** np.arange(x.shape[1])[::-1]).astype(int)
    return np.bincount(numbers, minlength=2 ** x.shape[1])


def probabilities(net):
    """p of all 2^N states, in the order of `binary`, as a product of conditionals."""
    weights, bias = (np.asarray(a, np.float64) for a in (net.weights, net.bias))
    states = binary(len(bias))
    p = np.ones(len(states))
    for j in range(len(bias)):
        on = sigmoid(bias[j] + states[:, :j] @ weights[:j, j])
        p *= np.where(states[:, j] == 1, on, 1 - on)
    return states, p


@pytest.fixture
def net():
    """Five units, couplings strong enough that no two conditionals are alike."""
    rng = np.random.default_rng(0)
    weights = np.triu(rng.normal(size=(5, 5)) * 2, k=1)
    return sbn.make(jnp.asarray(weights, jnp.float64), jnp.asarray(rng.normal(size=5), jnp.float64))


def explaining_away():
    """The tutorial's net: truck, earthquake, and a house that jumps for either."""
    weights = np.zeros((3, 3), np.float64)
    weights[:2, 2] = 20
    return sbn.make(jnp.asarray(weights), jnp.array([-10.0, -10.0, -20.0]))


def test_log_prob(net):
    states, p = probabilities(net)
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-12)
    found = sbn.log_prob(net, jnp.asarray(states, jnp.float64))
    np.testing.assert_allclose(found, np.log(p), atol=1e-12)


def test_sample(net):
    _, p = probabilities(net)
    x = sbn.sample(jax.random.key(1), net, (40, 1000))
    assert significance.chi_squared(counts(x), p) > 1e-6


def test_explaining_away():
    """The tutorial's figures, by hand: with the house jumping, the four states of the causes.

    p(neither) ∝ (1 − s)² σ(−20), p(one) ∝ s (1 − s) / 2, p(both) ∝ s² σ(20), where s = σ(−10).
    """
    net = explaining_away()
    x, observed = jnp.array([0.0, 0.0, 1.0]), np.array([False, False, True])
    states, p = sbn.posterior(net, x, observed)
    np.testing.assert_array_equal(states, [[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
    s = sigmoid(-10.0)
    by_hand = np.array([(1 - s) ** 2 * sigmoid(-20.0), s * (1 - s) / 2, s * (1 - s) / 2, s**2])
    by_hand[3] *= sigmoid(20.0)
    by_hand /= by_hand.sum()
    np.testing.assert_allclose(p, by_hand, rtol=1e-10)
    # Either cause has even chances or more; that the earth has quaked acquits the truck.
    truck = p[2] + p[3]
    truck_if_quake = p[3] / (p[1] + p[3])
    assert 0.49 < truck < 0.51
    assert truck_if_quake < 1e-3


@pytest.mark.parametrize("observed", binary(5)[::5] == 1, ids=str)
def test_posterior_and_likelihood(net, observed):
    states, p = probabilities(net)
    x = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    agrees = (states[:, observed] == x[observed]).all(axis=-1)
    given = jnp.asarray(x, jnp.float64)
    found_states, found = sbn.posterior(net, given, observed)
    np.testing.assert_array_equal(found_states, states[agrees])
    np.testing.assert_allclose(found, p[agrees] / p[agrees].sum(), atol=1e-12)
    log_p = sbn.log_likelihood(net, given, observed)
    np.testing.assert_allclose(log_p, np.log(p[agrees].sum()), atol=1e-12)


@pytest.mark.parametrize("num_sweeps", [1, 4, 60])
def test_gibbs_stays_in_the_posterior_and_forgets_its_start(net, num_sweeps):
    """Chains drawn from the exact posterior stay in it; those of a changed kernel would not."""
    x, observed = jnp.array([0.0, 0.0, 1.0, 0.0, 1.0]), np.array([False, False, True, False, True])
    states, p = sbn.posterior(net, x, observed)
    chains = states[jax.random.choice(jax.random.key(2), len(states), (40_000,), p=p)]
    if num_sweeps == 60:
        chains = jnp.broadcast_to(x, (40_000, 5))
    moved = sbn.gibbs(jax.random.key(3), net, chains, jnp.asarray(observed), num_sweeps)
    np.testing.assert_array_equal(moved[:, observed], np.broadcast_to(x[observed], (40_000, 2)))
    bound = significance.total_variation_bound(np.asarray(p), 40_000)
    frequencies = counts(moved[:, ~observed]) / 40_000
    assert significance.total_variation(frequencies, np.asarray(p)) < bound
    assert (moved != chains).any(axis=-1).mean() > 0.1  # they do move


def test_gibbs_makes_the_inputs_anew_in_each_sweep(net, monkeypatch):
    """Kept up to date alone, they were off by 0.014 after 300,000 sweeps in single precision."""
    made, inputs = [], sbn.inputs

    def counted(net, x):
        jax.debug.callback(lambda: made.append(None))
        return inputs(net, x)

    monkeypatch.setattr(sbn, "inputs", counted)
    sbn.gibbs(jax.random.key(10), net, jnp.ones(5), jnp.zeros(5, bool), 3)
    jax.effects_barrier()
    assert len(made) == 3


def test_what_stands_where_there_is_no_connection_has_no_effect():
    """In sampling as in the likelihood: noise on all weights of a net of layers."""
    biases = (jnp.array([0.3, -0.2]), jnp.array([0.1]), jnp.array([-0.4]))
    net = sbn.layered((jnp.ones((2, 1)), jnp.full((1, 1), -2.0)), biases)
    noisy = sbn.BeliefNet(jnp.where(net.connections, net.weights, 3.0), net.bias, net.layers)
    x, observed = jnp.ones((50, 4)), jnp.array([False, False, False, True])
    for draw in (
        lambda net: sbn.sample(jax.random.key(11), net, (50,)),
        lambda net: sbn.gibbs(jax.random.key(12), net, x, observed, 3),
        lambda net: sbn.log_prob(net, x),
    ):
        np.testing.assert_array_equal(draw(noisy), draw(net))


def test_layered():
    rng = np.random.default_rng(5)
    weights = tuple(jnp.asarray(rng.normal(size=s), jnp.float64) for s in ((2, 3), (3, 2)))
    biases = tuple(jnp.asarray(rng.normal(size=n), jnp.float64) for n in (2, 3, 2))
    net = sbn.layered(weights, biases)
    assert sbn.make(net.weights, net.bias).num_units == 7
    states = binary(7)
    top, middle, bottom = states[:, :2], states[:, 2:5], states[:, 5:]
    expected = 0.0
    layers = ((top, 0.0, biases[0]), (middle, top @ np.asarray(weights[0]), biases[1]))
    for x, given, bias in (*layers, (bottom, middle @ np.asarray(weights[1]), biases[2])):
        on = sigmoid(np.asarray(given, np.float64) + np.asarray(bias, np.float64))
        expected = expected + np.log(np.where(x == 1, on, 1 - on)).sum(axis=-1)
    found = sbn.log_prob(net, jnp.asarray(states, jnp.float64))
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("is_layered", [False, True])
def test_delta_rule_over_the_posterior_is_maximum_likelihood(net, is_layered):
    """Neither joins units that have no connection, such as those of layers two apart."""
    if is_layered:
        rng = np.random.default_rng(6)
        weights = tuple(jnp.asarray(rng.normal(size=shape)) for shape in ((2, 1), (1, 2)))
        net = sbn.layered(weights, (jnp.zeros(2), jnp.zeros(1), jnp.zeros(2)))
    observed = np.arange(5) >= 3
    x = jnp.array([0.0, 0.0, 0.0, 1.0, 1.0])
    states, p = sbn.posterior(net, x, observed)
    each = jax.vmap(lambda state: sbn.gradient(net, state))(states)
    found = jax.tree.map(lambda g: jnp.tensordot(p, g, axes=1), each)
    expected = jax.grad(lambda net: -sbn.log_likelihood(net, x, observed))(net)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    assert net.connections.sum() == (4 if is_layered else 10)
    np.testing.assert_array_equal(np.asarray(expected.weights) != 0, net.connections)


def test_complete_keeps_what_is_given_and_draws_the_rest(net):
    states, p = probabilities(net)
    agrees = (states[:, :2] == [1, 0]).all(axis=-1)
    first = jnp.broadcast_to(jnp.array([1.0, 0.0]), (40_000, 2))
    x = sbn.complete(jax.random.key(5), net, first)
    np.testing.assert_array_equal(x[:, :2], first)
    assert significance.chi_squared(counts(x[:, 2:]), p[agrees] / p[agrees].sum()) > 1e-6


def test_bad_input():
    with pytest.raises(
        ValueError, match=r"weight from unit 1 to unit 0; a cause must stand before"
    ):
        sbn.make(jnp.array([[0.0, 0.0], [1.0, 0.0]]), jnp.zeros(2))
    with pytest.raises(ValueError, match=r"weights are \(2, 3\), but 2 biases need \(2, 2\)"):
        sbn.make(jnp.zeros((2, 3)), jnp.zeros(2))
    with pytest.raises(ValueError, match=r"layers of \[2, 3\] units need \[\(2, 3\)\]"):
        sbn.layered((jnp.zeros((3, 2)),), (jnp.zeros(2), jnp.zeros(3)))
    big = sbn.make(jnp.zeros((22, 22)), jnp.zeros(22))
    with pytest.raises(ValueError, match=r"22 hidden units have 4\.19e\+06 states.*`gibbs`"):
        sbn.posterior(big, jnp.zeros(22), np.zeros(22, bool))


@pytest.mark.usefixtures("unchecked_annotations")
def test_bad_observed():
    """What came of them would be wrong."""
    net = sbn.make(jnp.zeros((2, 2)), jnp.zeros(2))
    for observed in (np.array([0, 1]), np.array([False, True, True])):
        with pytest.raises(ValueError, match=r"observed is .*; it must be bool \(2,\)"):
            sbn.posterior(net, jnp.zeros(2), observed)
        with pytest.raises(ValueError, match=r"observed is .*; it must be bool \(2,\)"):
            sbn.gibbs(jax.random.key(0), net, jnp.zeros(2), observed, 1)


def test_a_net_can_be_made_while_compiling():
    def log_p(weight):
        weights = jnp.zeros((2, 2)).at[0, 1].set(weight)
        return sbn.log_prob(sbn.make(weights, jnp.zeros(2)), jnp.ones(2))

    expected = np.log(0.5 * sigmoid(2.0))
    np.testing.assert_allclose(jax.jit(log_p)(2.0), expected, rtol=1e-12)
