"""Shrinking against an exact oracle, and binarisation against its probabilities."""

import functools
import re
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax.data import transforms

RANDOM = np.random.default_rng(0)


def area_mean(image, size):
    """Area averages of a small image in exact fractions, from the definition."""
    rows, columns = image.shape
    result = np.empty((size, size), object)
    for r in range(size):
        for c in range(size):
            total = Fraction(0)
            for i in range(rows):
                for j in range(columns):
                    height = min(Fraction((r + 1) * rows, size), Fraction(i + 1)) - max(
                        Fraction(r * rows, size), Fraction(i)
                    )
                    width = min(Fraction((c + 1) * columns, size), Fraction(j + 1)) - max(
                        Fraction(c * columns, size), Fraction(j)
                    )
                    if height > 0 and width > 0:
                        total += height * width * int(image[i, j])
            result[r, c] = total / (Fraction(rows, size) * Fraction(columns, size))
    return result


@pytest.mark.parametrize(("shape", "size"), [((7, 7), 4), ((6, 9), 4), ((8, 8), 4), ((5, 5), 5)])
def test_shrink_averages_over_areas(shape, size):
    batch = RANDOM.integers(0, 256, (3, *shape), dtype=np.uint8)
    shrunk = transforms.shrink(batch, size)
    assert shrunk.shape == (3, size, size)
    for image, result in zip(batch, shrunk, strict=True):
        exact = area_mean(image, size)
        expected = np.vectorize(lambda x: round(x), otypes=[int])(exact)  # halves to even, as rint
        np.testing.assert_array_equal(result, expected)


def test_shrink_keeps_channels_apart_and_works_beyond_one_chunk():
    batch = RANDOM.integers(0, 256, (1030, 7, 6, 3), dtype=np.uint8)
    together = transforms.shrink(batch, 5)
    assert together.shape == (1030, 5, 5, 3)
    for channel in range(3):
        np.testing.assert_array_equal(
            together[..., channel], transforms.shrink(batch[..., channel], 5)
        )


@pytest.mark.parametrize("size", [0, -1, 9])
def test_shrink_refuses_other_sizes(size):
    message = f"image_size={size}, but the images have 10×8 pixels: choose from 1 to 8"
    with pytest.raises(ValueError, match=message):
        transforms.shrink(np.zeros((1, 10, 8), np.uint8), size)


BYTES = jnp.arange(256, dtype=jnp.uint8)


@pytest.mark.parametrize("compiled", [False, True])
def test_none_divides_by_scale(compiled):
    function = transforms.transform("none")
    grey = (jax.jit(function) if compiled else function)(jax.random.key(0), BYTES)
    assert grey.dtype == jnp.float32
    np.testing.assert_allclose(grey, np.arange(256) / 255, rtol=1e-6)
    assert grey[0] == 0
    assert grey[-1] == 1  # not 1 ± one rounding


def test_threshold_splits_at_half():
    binary = transforms.transform("threshold")(None, BYTES)
    np.testing.assert_array_equal(binary, (np.arange(256) > 127.5).astype(np.float32))
    half = transforms.transform("threshold", scale=1.0)(None, jnp.array([0.5, 0.50001]))
    np.testing.assert_array_equal(half, [0.0, 1.0])


def largest_z(draws, probability):
    """Largest z-score of the pixels' frequencies, over pixels that are not always on or off."""
    frequency = draws.mean(0, dtype=np.float64)
    error = np.sqrt(probability * (1 - probability) / len(draws))
    return np.abs((frequency - probability)[1:-1] / error[1:-1]).max()


# Two-sided and over 254 pixels, |z| > 5.5 has a false-alarm rate of 254 × 3.8e-8 ≈ 1e-5.
LARGEST_Z = 5.5


def test_stochastic_draws_with_grey_levels_as_probabilities():
    batch = jnp.broadcast_to(BYTES, (20_000, 256))
    draws = np.asarray(jax.jit(transforms.transform("stochastic"))(jax.random.key(1), batch))
    assert draws.dtype == np.float32
    assert set(np.unique(draws)) == {0.0, 1.0}
    assert not draws[:, 0].any()
    assert draws[:, -1].all()
    assert largest_z(draws, np.arange(256) / 255) < LARGEST_Z


def test_stochastic_depends_on_the_key_alone():
    function = transforms.transform("stochastic")
    batch = jnp.full((50, 40), 128, jnp.uint8)
    first = function(jax.random.key(1), batch)
    np.testing.assert_array_equal(first, function(jax.random.key(1), batch))
    assert (first != function(jax.random.key(2), batch)).any()
    with pytest.raises(ValueError, match="needs a key"):
        function(None, batch)


def test_sample_once_draws_with_grey_levels_as_probabilities():
    batch = np.broadcast_to(np.arange(256, dtype=np.uint8), (20_000, 256))
    draws = transforms.sample_once(batch, scale=255.0, seed=3)
    assert draws.dtype == np.uint8
    assert not draws[:, 0].any()
    assert draws[:, -1].all()
    assert draws.max() == 1
    assert largest_z(draws, np.arange(256) / 255) < LARGEST_Z
    np.testing.assert_array_equal(draws, transforms.sample_once(batch, scale=255.0, seed=3))
    assert (draws != transforms.sample_once(batch, scale=255.0, seed=4)).any()


def test_equal_transforms_compile_once():
    traces = []

    @functools.partial(jax.jit, static_argnames="function")
    def step(batch, function):
        traces.append(function)
        return function(None, batch)

    for _ in range(2):
        step(BYTES, function=transforms.transform("none", scale=255.0))
    assert len(traces) == 1
    step(BYTES, function=transforms.transform("threshold"))
    assert len(traces) == 2


@pytest.mark.parametrize(
    ("mode", "scale", "message"),
    [
        ("fixed", 255.0, "call dbn_jax.data.binarise(dataset, 'fixed', seed=…)"),
        ("round", 255.0, "'round' is not one of none, stochastic, fixed, threshold"),
        ("none", 0.0, "scale=0.0"),
    ],
)
def test_transform_refuses(mode, scale, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        transforms.transform(mode, scale=scale)
