"""Comparison of training examples with held-out ones, against enumeration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import units
from dbn_jax.learning import monitor
from dbn_jax.likelihood import pseudo_likelihood
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
    found = float(first["log_pseudo_likelihood"])
    assert found != float(log_p.mean())
    assert found == pytest.approx(float(log_p.mean()), rel=0.1)
