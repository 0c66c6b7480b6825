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


@pytest.mark.parametrize("shape", [(64, 64), (48, 80), (64, 64, 2)])
def test_whitening_makes_the_spectrum_of_natural_images_flat(shape):
    """Images whose amplitudes fall as 1/f, made and judged by the Fourier transform of mirrors."""
    rows, columns = shape[:2]
    mirror = [(0, 0), (0, rows), (0, columns), (0, 0)][: len(shape) + 1]
    mirrored = np.pad(RANDOM.normal(size=(300, *shape)), mirror, "symmetric")
    f = np.hypot(np.fft.fftfreq(2 * rows)[:, None], np.fft.fftfreq(2 * columns)[None])
    f = f.reshape(*f.shape, *(1 for _ in shape[2:]))
    natural = np.fft.ifft2(np.fft.fft2(mirrored, axes=(1, 2)) / np.where(f > 0, f, 1), axes=(1, 2))
    images = 3 + natural.real[:, :rows, :columns]
    white = transforms.whiten_waves(images)
    assert white.shape == images.shape
    np.testing.assert_allclose(white.mean(axis=(1, 2)), 0, atol=1e-9)
    again = np.pad(white, mirror, "symmetric")
    # Of 300 images and at least ten waves of two amplitudes each, with a standard error of 3 %.
    power = np.mean(np.abs(np.fft.fft2(again, axes=(1, 2))) ** 2, axis=0)
    flat = np.mean(np.abs(np.fft.fft2(mirrored, axes=(1, 2))) ** 2, axis=0)
    for low in np.arange(0.02, 0.5, 0.04):
        ring = np.broadcast_to((f >= low) & (f < low + 0.04), power.shape)
        middle = low + 0.02
        expected = np.exp(-2 * (middle / 0.4) ** 4)
        assert abs(power[ring].sum() / flat[ring].sum() / expected - 1) < 0.12, middle
