"""Comparison of training examples with held-out ones, against enumeration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import units
from dbn_jax.learning import monitor
from dbn_jax.likelihood import annealing, partition, pseudo_likelihood
from tests import oracles
from tests.random_models import random_rbm


def examples(count, size, seed):
    return np.random.default_rng(seed).integers(0, 2, (count, size)).astype(np.float32)


@pytest.mark.parametrize("two_valued", [True, False])
def test_comparison(two_valued):
    params = random_rbm((units.Bernoulli(), 6), (units.Bernoulli(), 4), weight_scale=1.0)
    train, held_out = examples(20, 6, 0), examples(30, 6, 1)
    if not two_valued:  # grey levels
        train, held_out = 0.3 + 0.4 * train, 0.3 + 0.4 * held_out
    found = monitor.compare(
        params, jnp.asarray(train), jnp.asarray(held_out), two_valued=two_valued
    )
    model, names = oracles.Model.of(params), ("free_energy_train", "free_energy")
    energies = [model.free_energy(np.float64(x)).mean() for x in (train, held_out)]
    np.testing.assert_allclose([found[name] for name in names], energies, rtol=1e-5)
    np.testing.assert_allclose(found["free_energy_gap"], energies[1] - energies[0], atol=1e-5)
    up = model.hidden.mean(np.float64(held_out) @ model.weights)
    error = ((held_out - model.visible.mean(up @ model.weights.T)) ** 2).sum(axis=1).mean()
    np.testing.assert_allclose(found["reconstruction_error"], error, rtol=1e-5)
    assert ("log_pseudo_likelihood" in found) == two_valued
    if two_valued:  # of all units, where there are few
        key = jax.random.key(7)
        log_p = pseudo_likelihood.log_pseudo_likelihood(key, params, held_out, num_units=6)
        np.testing.assert_allclose(found["log_pseudo_likelihood"], log_p.mean(), rtol=1e-5)


def test_the_pseudo_likelihood_of_many_units_takes_the_same_few_of_them_every_time():
    params = random_rbm((units.Spin(), 50), (units.Bernoulli(), 4), weight_scale=0.3)
    v = 2 * examples(500, 50, 2) - 1
    first, second = (monitor.compare(params, v, v, two_valued=True) for _ in range(2))
    assert first == second
    log_p = pseudo_likelihood.log_pseudo_likelihood(jax.random.key(7), params, v, num_units=50)
    found, whole = float(first["log_pseudo_likelihood"]), float(log_p.mean())
    assert found != pytest.approx(whole, rel=1e-4)
    assert found == pytest.approx(whole, rel=0.1)


def test_the_log_likelihood_is_that_of_the_enumerated_model():
    """Within five standard errors of log Z; the same ones every time."""
    params = random_rbm((units.Bernoulli(), 6), (units.Bernoulli(), 4), weight_scale=1.0)
    train, held_out = (jnp.asarray(examples(n, 6, n)) for n in (20, 30))
    found = monitor.log_likelihood(jax.random.key(0), params, train, held_out)
    base, betas = params.visible.fit(train), jnp.linspace(0, 1, 301)
    estimate = annealing.ais(jax.random.key(0), params, base=base, betas=betas, num_chains=100)
    log_z = partition.exact_log_partition(params)
    for name, v in (("log_likelihood", held_out), ("log_likelihood_train", train)):
        exact = partition.log_likelihood(params, v, log_z).mean()
        assert float(found[name]) == pytest.approx(
            float(exact), abs=5 * float(estimate.standard_error)
        )
    gap = monitor.compare(params, train, held_out, two_valued=True)["free_energy_gap"]
    found = float(found["log_likelihood_train"] - found["log_likelihood"])
    assert found == pytest.approx(float(gap), abs=1e-4)  # log Z is the same
