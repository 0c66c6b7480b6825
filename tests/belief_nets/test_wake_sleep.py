"""Wake-sleep against enumeration in numpy: both phases, the bound, and what is learnt."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dbn_jax.belief_nets import sbn, wake_sleep
from tests import significance
from tests.belief_nets.test_sbn import counts, probabilities
from tests.oracles import binary, sigmoid

H, V = 3, 2
DATA = binary(V)[[1, 2, 2]]


def random_net(seed, size=H + V, dtype=jnp.float32):
    rng = np.random.default_rng(seed)
    weights = np.triu(rng.normal(size=(size, size)) * 1.5, k=1)
    return sbn.make(jnp.asarray(weights, dtype), jnp.asarray(rng.normal(size=size), dtype))


@pytest.fixture(scope="module")
def machine():
    """All units connected; what recognition has for the observed units must not matter."""
    return wake_sleep.HelmholtzMachine(random_net(0), random_net(1))


def recognition(machine, v):
    """q(h | v) of all 2^H states h, in the order of `binary`, one unit after the other."""
    net = machine.recognition
    weights, bias = (np.asarray(a, np.float64) for a in (net.weights, net.bias))
    x = np.concatenate([binary(H), np.broadcast_to(v, (2**H, V))], axis=1)[:, ::-1]
    q = np.ones(len(x))
    for j in range(V, H + V):
        on = sigmoid(bias[j] + x[:, :j] @ weights[:j, j])
        q *= np.where(x[:, j] == 1, on, 1 - on)
    return q


def delta_rule(net, x, p):
    """Σ_x p(x) x_i (σ(a_j) − x_j) and Σ_x p(x) (σ(a_j) − x_j)."""
    weights, bias = (np.asarray(a, np.float64) for a in (net.weights, net.bias))
    error = sigmoid(bias + x @ weights) - x
    return np.triu(np.einsum("s,si,sj->ij", p, x, error), k=1), p @ error


def test_recognition_is_a_distribution(machine):
    for v in binary(V):
        h = jnp.asarray(binary(H), jnp.float32)
        given = jnp.broadcast_to(jnp.asarray(v, jnp.float32), (2**H, V))
        log_q = wake_sleep.log_recognition(machine, h, given)
        np.testing.assert_allclose(jnp.exp(log_q), recognition(machine, v), rtol=1e-4)
        np.testing.assert_allclose(recognition(machine, v).sum(), 1, rtol=1e-12)
        many = jnp.broadcast_to(given[0], (20_000, V))
        x = wake_sleep.recognise(jax.random.key(0), machine, many)
        np.testing.assert_array_equal(x[:, H:], many)
        assert significance.chi_squared(counts(x[:, :H]), recognition(machine, v)) > 1e-6


def test_gradient_is_unbiased(machine):
    """The mean of many estimates against both phases' expectations, entry by entry."""
    states, p = probabilities(machine.generative)
    generative = [np.zeros((H + V, H + V)), np.zeros(H + V)]
    for v in DATA:
        x = np.concatenate([binary(H), np.broadcast_to(v, (2**H, V))], axis=1)
        for total, part in zip(
            generative, delta_rule(machine.generative, x, recognition(machine, v)), strict=True
        ):
            total += part / len(DATA)
    asleep = delta_rule(machine.recognition, states[:, ::-1], p)
    hidden = np.arange(H + V) >= V
    expected = {
        "generative weights": generative[0],
        "generative bias": generative[1],
        "recognition weights": asleep[0] * hidden,
        "recognition bias": asleep[1] * hidden,
    }
    expected["bound"] = np.mean([exact_bound(machine, v) for v in DATA])

    def estimate(key):
        v = jnp.asarray(DATA, jnp.float32)
        change, metrics = wake_sleep.gradient(key, machine, v, num_dreams=2)
        return {
            "generative weights": change.generative.weights,
            "generative bias": change.generative.bias,
            "recognition weights": change.recognition.weights,
            "recognition bias": change.recognition.bias,
            "bound": metrics["bound"],
        }

    found = jax.jit(jax.vmap(estimate))(jax.random.split(jax.random.key(1), 20_000))
    significance.assert_mean(found, expected)


def log_likelihood(machine, v):
    states, p = probabilities(machine.generative)
    return np.log(p[(states[:, H:] == v).all(axis=1)].sum())


def exact_bound(machine, v):
    states, p = probabilities(machine.generative)
    q = recognition(machine, v)
    return np.sum(q * (np.log(p[(states[:, H:] == v).all(axis=1)]) - np.log(q)))


def test_bound():
    with jax.enable_x64(True):
        machine = wake_sleep.HelmholtzMachine(
            random_net(0, dtype=jnp.float64), random_net(1, dtype=jnp.float64)
        )
        for v in binary(V):
            found = float(wake_sleep.bound(machine, jnp.asarray(v)))
            assert found == pytest.approx(exact_bound(machine, v), abs=1e-10)
            assert found < log_likelihood(machine, v) - 0.01


def learn(machine, data, num_steps):
    """Wake-sleep with a decaying rate; returns the machine."""
    optimizer = optax.sgd(optax.linear_schedule(1.0, 0.0, num_steps))

    @jax.jit
    def run(state):
        def update(state, key):
            return wake_sleep.step(key, state, data, optimizer=optimizer)

        return jax.lax.scan(update, state, jax.random.split(jax.random.key(2), num_steps))

    return run(wake_sleep.init_state(machine, optimizer))[0].params


def test_learns_a_distribution_and_to_recognise_it():
    """Four pixels, of which the left two or the right two are on: two causes would do.

    The exact log-likelihood must come near the best there is, log 1/2 per image but for the
    softness of finite weights, and the bound near the likelihood: q near the posterior.
    """
    images = jnp.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    machine = wake_sleep.init(jax.random.key(0), (2, 4))
    observed = np.arange(6) >= 2

    def judge(machine):
        x = jnp.concatenate([jnp.zeros((2, 2)), images], axis=1)
        log_p = [sbn.log_likelihood(machine.generative, row, observed) for row in x]
        bounds = [wake_sleep.bound(machine, v) for v in images]
        return float(np.mean(log_p)), float(np.mean(bounds))

    before = judge(machine)
    learnt = learn(machine, jnp.tile(images, (50, 1)), 2_000)
    after = judge(learnt)
    assert before[0] < -2.7  # four fair coins
    assert np.log(0.5) - 0.05 < after[0] < np.log(0.5)
    assert 0 <= after[0] - after[1] < 0.02
    # Layers have no weights within them, and what could cause the observed units never learns.
    for net in (learnt.generative, learnt.recognition):
        assert (np.asarray(net.weights)[~net.connections] == 0).all()
    np.testing.assert_array_equal(learnt.recognition.bias[:4], machine.recognition.bias[:4])


def test_bad_input(machine):
    with pytest.raises(ValueError, match=r"sizes is \(3,\); a machine needs a hidden"):
        wake_sleep.init(jax.random.key(0), (3,))
    with pytest.raises(ValueError, match=r"5 and 5 units, and 5 are observed"):
        wake_sleep.gradient(jax.random.key(0), machine, jnp.zeros((1, 5)))
    other = wake_sleep.HelmholtzMachine(machine.generative, random_net(0, size=4))
    with pytest.raises(ValueError, match=r"5 and 4 units"):
        wake_sleep.gradient(jax.random.key(0), other, jnp.zeros((1, 2)))
