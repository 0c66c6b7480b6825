"""Recognition of whole data sets: blocks and their keys, error rates, calibration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import associative_memory, data, dbn, label_units, rbm, recognition
from dbn_jax.data import blocks

KEY = jax.random.key(3)
PIXELS = data.Transform("stochastic")  # drawn anew with each key


@pytest.fixture(scope="module")
def net():
    """Hidden unit k stands for label k, and is on for some images."""
    top = label_units.init_params(jax.random.key(0), 6, 3, 3, weight_scale=3.0)
    hidden = top.hidden.add_to_bias(-top.weights[:6].sum(axis=0) / 2)
    weights = top.weights.at[6:].set(4 * jnp.eye(3))
    return dbn.stack((rbm.RBM(weights, top.visible, hidden),))


@pytest.fixture(scope="module")
def split():
    rng = np.random.default_rng(0)
    return data.Split(rng.integers(0, 256, (600, 6), dtype=np.uint8), rng.integers(0, 3, 600))


@pytest.mark.parametrize("way", recognition.WAYS)
def test_each_block_is_recognised_with_keys_of_its_own(monkeypatch, net, split, way):
    images = split.images[:10]
    monkeypatch.setattr(blocks, "BLOCK", 4)
    ask = recognition.WAYS[way]
    found = recognition.log_posteriors(KEY, net, images, PIXELS, ask)
    np.testing.assert_allclose(np.exp(found).sum(axis=-1), 1, rtol=1e-5)
    for start in (0, 4, 8):
        view_key, key = jax.random.split(jax.random.fold_in(KEY, start))
        rows = slice(start, start + 4)
        expected = ask(key, net, data.apply(PIXELS, view_key, images[rows]))
        np.testing.assert_allclose(found[rows], expected, rtol=1e-5)


def test_the_ways_are_those_of_the_associative_memory(net):
    v = jnp.asarray(np.random.default_rng(1).integers(0, 2, (5, 6)), jnp.float32)
    found = [way(KEY, net, v) for way in recognition.WAYS.values()]
    expected = (
        associative_memory.classify(net, v),
        associative_memory.classify_by_sampling(KEY, net, v, 20),
        associative_memory.classify_by_gibbs(KEY, net, v, 20, 20),
    )
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_error_rates_are_those_of_each_way(net, split):
    log_p = np.log([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3], [0.1, 0.1, 0.8], [0.3, 0.4, 0.3]])
    assert recognition.error_rate(log_p, np.array([1, 2, 2, 1])) == 0.25
    with pytest.raises(ValueError, match="no label 3; those of 3 classes are 0 to 2"):
        recognition.error_rate(log_p, np.array([1, 2, 3, 1]))
    rates = recognition.error_rates(KEY, net, split, PIXELS)
    assert list(rates) == [f"error_rate_{way}" for way in recognition.WAYS]
    for i, (way, rate) in enumerate(zip(recognition.WAYS.values(), rates.values(), strict=True)):
        key = jax.random.fold_in(KEY, i)  # pixels and states differ from way to way
        log_p = recognition.log_posteriors(key, net, split.images, PIXELS, way)
        assert rate == recognition.error_rate(log_p, split.labels)


def test_calibration_by_hand():
    confidence = np.array([0.1, 0.15, 0.95, 1.0, 0.9])
    right = np.array([False, True, True, True, False])
    found = recognition.calibration(confidence, right, num_bins=5)
    np.testing.assert_allclose(found.confidence, [0.125, 0.95])
    np.testing.assert_allclose(found.share_right, [1 / 2, 2 / 3])
    np.testing.assert_array_equal(found.counts, [2, 3])
    np.testing.assert_allclose(found.error, 0.4 * 0.375 + 0.6 * (0.95 - 2 / 3))
    assert recognition.calibration(np.array([0.5, 0.5]), np.array([True, False])).error == 0
