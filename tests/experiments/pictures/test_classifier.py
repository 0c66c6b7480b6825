"""How far fine-tuning has moved each layer."""

import jax
import numpy as np
import pytest

from dbn_jax import networks
from experiments.pictures import classifier as pictures
from tests.random_models import jolt


def test_changes_by_hand():
    before = networks.init_classifier(jax.random.key(0), (6, 5, 4, 3))
    after = jolt(1, before, scale=0.5)
    # A unit whose activity never varies has no correlation.
    before.hidden[0].kernel[...] = before.hidden[0].kernel[...].at[:, 0].set(0)
    v = jax.random.uniform(jax.random.key(2), (50, 6))
    found = pictures.changes(before, after, v)
    for i, (x, y) in enumerate(zip(before.features(v), after.features(v), strict=True), 1):
        some = range(1 if i == 1 else 0, x.shape[1])
        total = sum(np.corrcoef(x[:, j], y[:, j])[0, 1] for j in some)
        assert found[f"feature_correlation_{i}"] == pytest.approx(total / x.shape[1], abs=1e-5)
    same = pictures.changes(after, after, v)
    np.testing.assert_allclose([same["weight_change_1"], same["feature_correlation_1"]], [0, 1])
