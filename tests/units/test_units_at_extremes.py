"""Unit types where numbers run out: rare draws, huge rates, half precision, no example."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import random, units

NUM_DRAWS = 20_000


@pytest.mark.parametrize("m", [0.0, 1.0, 6.0, 100.0])
def test_the_rarest_rectified_sample_is_no_outlier(m, monkeypatch):
    """At u = 1 the survival function's inverse is minus infinity for any m."""
    monkeypatch.setattr(random, "uniform", lambda key, shape: jnp.zeros(shape))
    layer = units.ReLU().init(1).add_to_bias(jnp.full(1, m))
    x = float(layer.sample(jax.random.key(0), jnp.zeros(1))[0])
    assert max(m - 5.5, 0) <= x <= max(m - 5, 1e-6)  # Φ(−5.4) is 2⁻²⁵


def test_rectified_mean_has_one_slope_where_its_formulae_meet():
    slope = jax.grad(lambda m: units.truncated_normal.mean(m))
    around = [float(slope(jnp.float32(m))) for m in (-5.001, -5.0, -4.999)]
    assert around == sorted(around)
    assert around[2] / around[0] < 1.01


def test_poisson_counts_of_any_rate():
    """Mean and variance are the rate; beyond what counts can hold, and where it is no number."""
    rates = np.array([0.5, 30.0, 9e4, 1.1e5, 1e8, 1e12])
    layer = units.Poisson().init(len(rates)).add_to_bias(jnp.asarray(np.log(rates), jnp.float32))
    x = np.float64(jax.jit(layer.sample)(jax.random.key(0), jnp.zeros((NUM_DRAWS, len(rates)))))
    rate = np.float64(layer.mean(jnp.zeros(len(rates))))
    error = 5 / np.sqrt(NUM_DRAWS)
    assert (np.abs(x.mean(0) - rate) < error * np.sqrt(rate) + 1e-6 * rate).all()
    np.testing.assert_allclose(
        x.var(0) / rate, 1, atol=5 * np.sqrt(2 + 1 / rate[0]) / NUM_DRAWS**0.5
    )
    lost = layer.sample(jax.random.key(0), jnp.full(len(rates), jnp.nan))
    assert np.isnan(lost).all()
    assert np.isinf(layer.sample(jax.random.key(0), jnp.full(len(rates), 200.0))).all()


def test_poisson_takes_keys_of_any_kind():
    layer = units.Poisson().init(1000)
    x = layer.sample(jax.random.key(0, impl="rbg"), jnp.ones(1000))
    assert abs(float(jnp.mean(x)) - math.e) < 5 * math.sqrt(math.e / 1000)


def test_binomial_counts_in_half_precision():
    """One by one in bfloat16, 256 + 1 is 256."""
    layer = units.Binomial(num_trials=1000).init(100, jnp.bfloat16)
    x = layer.sample(jax.random.key(0), jnp.zeros(100, jnp.bfloat16))
    assert x.dtype == jnp.bfloat16
    mean = float(jnp.mean(x.astype(jnp.float32)))
    assert abs(mean - 500) < 5 * math.sqrt(250 / 100) + 1  # and one of rounding to 8 bits


@pytest.mark.parametrize("shape", [(0, 6), (2, 0, 6)])
def test_softmax_of_no_example(shape):
    layer = units.Softmax(num_classes=3).init(6)
    assert layer.mean(jnp.zeros(shape)).shape == shape
    assert layer.sample(jax.random.key(0), jnp.zeros(shape)).shape == shape
    assert layer.cumulant(jnp.zeros(shape)).shape == shape[:-1]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("layer", [units.Bernoulli(), units.Spin(), units.Binomial(num_trials=4)])
def test_constant_units_are_fitted_in_half_precision(layer, dtype):
    low, high = layer.support
    rows = np.tile([low, high], (70_000, 1))
    fitted = [np.float32(layer.fit(jnp.asarray(rows, kind)).bias) for kind in (dtype, jnp.float32)]
    assert layer.fit(jnp.asarray(rows, dtype)).bias.dtype == dtype
    np.testing.assert_allclose(fitted[0], fitted[1], rtol=1e-2)
