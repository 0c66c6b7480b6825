"""Shrinking against an exact oracle, and binarisation against its probabilities."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax.data import transforms

RANDOM = np.random.default_rng(0)
BYTES = np.arange(256, dtype=np.uint8)


def area_means(images, size):
    """Each pixel becomes size × size equal ones, of which whole blocks are averaged."""
    fine = images.astype(int).repeat(size, axis=1).repeat(size, axis=2)
    rows, columns = images.shape[1:]
    return fine.reshape(-1, size, rows, size, columns).sum(axis=(2, 4)) / (rows * columns)


@pytest.mark.parametrize(("shape", "size"), [((7, 7), 4), ((6, 9), 4), ((8, 8), 4), ((5, 5), 5)])
def test_shrink_averages_over_areas(shape, size):
    images = RANDOM.integers(0, 256, (1030, *shape), dtype=np.uint8)  # more than one chunk
    shrunk = transforms.shrink(images, size)
    np.testing.assert_array_equal(shrunk, np.rint(area_means(images, size)).astype(np.uint8))
    colour = np.stack([images, images[::-1]], axis=-1)
    both = transforms.shrink(colour, size)
    np.testing.assert_array_equal(both, np.stack([shrunk, shrunk[::-1]], axis=-1))


@pytest.mark.parametrize("compiled", [False, True])
def test_none_divides_by_scale(compiled):
    function = transforms.Transform("none")
    grey = (jax.jit(function) if compiled else function)(jax.random.key(0), jnp.asarray(BYTES))
    assert grey.dtype == jnp.float32
    np.testing.assert_allclose(grey, BYTES / 255, rtol=1e-6)
    assert grey[0] == 0
    assert grey[-1] == 1  # not 1 ± one rounding


def test_threshold_splits_at_half():
    binary = transforms.Transform("threshold")(None, jnp.asarray(BYTES))
    np.testing.assert_array_equal(binary, (BYTES > 127.5).astype(np.float32), strict=True)
    half = transforms.Transform("threshold", scale=1.0)(None, jnp.array([0.5, 0.50001]))
    np.testing.assert_array_equal(half, [0.0, 1.0])


def stochastic(images, seed):
    draw = jax.jit(transforms.Transform("stochastic"))
    return np.asarray(draw(jax.random.key(seed), jnp.asarray(images)))


def once(images, seed):
    return transforms.sample_once(images, scale=255.0, seed=seed)


@pytest.mark.parametrize(("draw", "dtype"), [(stochastic, np.float32), (once, np.uint8)])
def test_draws_have_grey_levels_as_probabilities(draw, dtype):
    images = np.broadcast_to(BYTES, (20_000, 256))
    draws = draw(images, 3)
    assert draws.dtype == dtype
    assert set(np.unique(draws)) == {0, 1}
    assert not draws[:, 0].any()
    assert draws[:, -1].all()
    # Two-sided and over 254 pixels, |z| > 5.5 has a false-alarm rate of 254 × 3.8e-8 ≈ 1e-5.
    probability = BYTES[1:-1] / 255
    error = np.sqrt(probability * (1 - probability) / len(draws))
    assert np.abs((draws.mean(0, dtype=np.float64)[1:-1] - probability) / error).max() < 5.5
    np.testing.assert_array_equal(draws, draw(images, 3))
    assert (draws != draw(images, 4)).any()


def test_equal_transforms_are_one_static_argument():
    assert len({transforms.Transform("none"), transforms.Transform("none", 255.0)}) == 1
    assert len({transforms.Transform("none"), transforms.Transform("threshold")}) == 2


@pytest.mark.parametrize(
    ("mode", "scale", "message"),
    [
        ("fixed", 255.0, "call dbn_jax.data.binarise(dataset, 'fixed')"),
        ("round", 255.0, "'round' of a transform is not one of none, stochastic, threshold"),
        ("none", 0.0, "scale=0.0"),
    ],
)
def test_transform_refuses(mode, scale, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        transforms.Transform(mode, scale=scale)


def test_stochastic_transform_needs_a_key():
    with pytest.raises(ValueError, match="needs a key"):
        transforms.Transform("stochastic")(None, jnp.asarray(BYTES))


def test_grey_levels_are_not_divided_again():
    with pytest.raises(TypeError, match=r"float32 numbers, grey levels .*, but scale=255: .*=1\.0"):
        transforms.Transform("none")(None, jnp.ones(4))
