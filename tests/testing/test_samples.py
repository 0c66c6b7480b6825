"""Scores of samples: how rarely they are large."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import units
from dbn_jax.testing import samples, tables
from tests.testing.own_units import Grey

LAYERS = {
    "states": units.Binomial(num_trials=2).init(2),
    "rare states": units.Bernoulli().init(2).add_to_bias(jnp.array([-5.0, 3.0])),
    "counts": units.Poisson().init(1),
    "real values": units.Gaussian().init(1),
    "both": units.Concat((Grey(), units.Spin()), (1, 1)).init(2),
}


@pytest.mark.parametrize("name", LAYERS)
def test_correct_samples_fail_no_more_often_than_said(name, monkeypatch):
    """One of ten, here, of 200 batches that the classes' own samplers draw."""
    monkeypatch.setattr(samples, "FALSE_ALARM", 0.1)
    layer, inputs = LAYERS[name], np.array([[0.5] * LAYERS[name].num_units], np.float32)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), layer)
        start = layer.sample(jax.random.key(1), jnp.asarray(np.tile(inputs, (50, 1))))
        table = tables.Table.of(wide, np.float64(inputs), np.float64(start))
    many = jnp.asarray(np.tile(inputs, (200, 2000, 1)))
    failed = 0
    for drawn in np.float64(jax.jit(layer.sample)(jax.random.key(0), many)):
        try:
            samples.check(layer, table, np.float64(inputs), drawn[:, None])
        except AssertionError:
            failed += 1
    assert failed <= 0.1 * 200 + 4 * np.sqrt(200 * 0.1 * 0.9)
