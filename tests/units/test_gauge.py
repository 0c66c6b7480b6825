"""The zero-sum gauge, against enumeration."""

import jax
import numpy as np
import pytest

from dbn_jax import units
from dbn_jax.units import gauge
from tests import oracles
from tests.small_rbms import allclose, make

GROUPS = (units.Softmax(num_classes=3), 6)
MIXED = (
    units.Concat(
        (units.Spin(), units.Softmax(num_classes=3), units.Binomial(num_trials=2)), (1, 3, 1)
    ),
    5,
)
PAIRS = {
    "visible": (GROUPS, (units.Bernoulli(), 3)),
    "hidden": ((units.Gaussian(learn_sigma=True), 2), GROUPS),
    "both": (GROUPS, (units.Softmax(num_classes=2), 4)),
    "concatenated": (MIXED, MIXED),
    "none": ((units.Bernoulli(), 3), (units.ReLU(), 2)),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_zero_sum_gauge_is_the_same_distribution(pair):
    with jax.enable_x64(True):
        params = make(*PAIRS[pair], scale=1.0, dtype="float64")
        found = gauge.zero_sum_gauge(params)
        again = gauge.zero_sum_gauge(found)
    before, after = oracles.Model.of(params), oracles.Model.of(found)
    # All energies move by one constant, and log Z with them: p(v, h) is the same.
    v, h = before.visible.states[:, None], before.hidden.states[None]
    moved = after.energy(v, h) - before.energy(v, h)
    allclose(moved, moved[0, 0])
    allclose(after.log_z() - before.log_z(), -moved[0, 0])
    for weights, layer in ((found.weights, found.visible), (found.weights.T, found.hidden)):
        starts = np.cumsum([0] + [part.num_units for part in layer.elements()])
        for part, start in zip(layer.elements(), starts, strict=False):
            if isinstance(part, units.Softmax):
                rows = np.column_stack([weights, layer.bias])[start : start + part.num_units]
                allclose(rows.reshape(-1, part.num_classes, rows.shape[1]).sum(1), 0)
    jax.tree.map(allclose, again, found)
    if pair == "none":
        jax.tree.map(np.testing.assert_array_equal, found, params)


def test_a_shared_bias_cannot_be_moved_by_itself():
    in_maps = units.Maps(units.Softmax(num_classes=3), 2), 6
    words = "^6 Maps units share 3 biases; the gauge moves the bias of each unit by itself$"
    with pytest.raises(ValueError, match=words):
        gauge.zero_sum_gauge(make(in_maps, (units.Bernoulli(), 2)))
