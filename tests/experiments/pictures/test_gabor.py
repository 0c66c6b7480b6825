"""Gabor fits: they find what is one, and do not find what is none."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.pictures import gabor

SIZE = 12


@pytest.fixture(autouse=True, scope="module")
def _implicit_promotion():
    """Optax's Adam mixes counts and rates."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def drawn(random, count):
    """Gabor functions by the formula, and what they were made of."""
    row, column = np.mgrid[:SIZE, :SIZE]
    images, made_of = [], []
    for _ in range(count):
        centre = random.uniform(3, 8, 2)
        angle, phase = random.uniform(0, math.pi), random.uniform(0, 2 * math.pi)
        frequency = random.uniform(0.15, 0.35)
        widths = random.uniform((1.3, 1.3), (2.5, 3.0))
        x, y = column - centre[1], row - centre[0]
        u, w = math.cos(angle) * x + math.sin(angle) * y, math.cos(angle) * y - math.sin(angle) * x
        window = np.exp(-(u**2) / (2 * widths[0] ** 2) - w**2 / (2 * widths[1] ** 2))
        images.append(window * np.cos(2 * math.pi * frequency * u + phase))
        made_of.append((*centre, angle, frequency, *widths))
    return np.array(images, np.float32), np.array(made_of)


@pytest.fixture(scope="module")
def fitted():
    """Images, what the first 16 were made of, and fits, all in one call.

    8 Gabor functions; the same with noise of a third of their amplitude; 8 of white noise; two of
    the noisy ones on another scale; and a flat image.
    """
    random = np.random.RandomState(0)
    clean, made_of = drawn(random, 8)
    power = clean.std(axis=(1, 2), keepdims=True)
    noisy = clean + power / 3 * random.standard_normal(clean.shape)
    white = random.standard_normal(clean.shape)
    flat = np.full((1, SIZE, SIZE), 3.0)
    images = np.concatenate([clean, noisy, white, 5 - 100 * noisy[:2], flat]).astype(np.float32)
    return images, made_of, gabor.fit(jnp.asarray(images))


def test_it_recovers_what_an_image_was_made_of(fitted):
    _, made_of, fits = fitted
    # Of noisy images it explains all but the noise, a tenth of their variance.
    assert fits.correlation[:8].min() > 0.999
    assert fits.correlation[8:16].min() > 0.9
    for rows, tolerance in ((slice(8), 0.01), (slice(8, 16), 0.2)):
        found = np.column_stack([fits.centre[rows], fits.frequency[rows], fits.widths[rows]])
        error = np.abs(found / made_of[:, [0, 1, 3, 4, 5]] - 1)
        assert np.median(error, axis=0).max() < tolerance
        turn = np.asarray(fits.orientation[rows]) - made_of[:, 2]
        turn = np.abs((turn + math.pi / 2) % math.pi - math.pi / 2)
        assert np.median(turn) < tolerance


def test_correlation_is_that_of_the_image_it_gives(fitted):
    images, _, fits = fitted
    correlation = np.asarray(fits.correlation)
    for image, fit, found in zip(
        images[:24].reshape(24, -1),
        np.asarray(fits.image)[:24].reshape(24, -1),
        correlation[:24],
        strict=True,
    ):
        assert np.corrcoef(image, fit)[0, 1] == pytest.approx(float(found), abs=1e-3)
        # The best amplitude: what is left is orthogonal to the fit.
        assert abs(np.dot(image - fit, fit)) < 2e-3 * np.dot(fit, fit)
    assert correlation[16:24].max() < 0.6  # white noise is no Gabor function
    # Scale and constant do not matter.
    np.testing.assert_allclose(correlation[24:26], correlation[8:10], atol=1e-3)
    assert correlation[-1] == 0  # of the flat image
    assert all(bool(jnp.isfinite(part).all()) for part in fits)


def test_bad_images():
    with pytest.raises(ValueError, match=r"3×3 pixels; .* at least 4×4"):
        gabor.fit(jnp.zeros((2, 3, 3)))
    with pytest.raises(ValueError, match="NaN or infinity"):
        gabor.fit(jnp.full((2, 5, 5), jnp.nan))


def test_orientation_selectivity():
    row, column = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    x, y = column - 5.5, row - 5.5
    window = np.exp(-(x**2 + y**2) / 8)
    # A cross; and a blob that is long, but of one sign: no wave.
    none = [(np.abs(x) < 1) * 1.0 + (np.abs(y) < 1), np.exp(-(x**2) / 2 - y**2 / 20)]
    some = [window * np.cos(1.5 * x + 0.4 * y + phase) for phase in (0, 1, 2)]
    some += [window * np.cos(1.1 * y), window * x]
    of_none, of_some = (
        gabor.orientation_selectivity(jnp.asarray(np.array(images), jnp.float32))
        for images in (none, some)
    )
    assert of_none.max() < 0.05
    assert of_some.min() > 0.6
    # By its definition, for the image's own frequencies are among the finer ones.
    image = window * np.cos(1.5 * x + 0.4 * y)
    k = 2 * math.pi * np.arange(-24, 25) / 48
    alone = image - np.median(image)

    def amplitude(down, across):
        return abs(np.sum(alone * np.exp(-1j * (down * row + across * column))))

    table = np.array([[amplitude(a, b) for b in k] for a in k])
    a, b = np.unravel_index(table.argmax(), table.shape)
    expected = 1 - amplitude(k[b], -k[a]) / table.max()
    found = gabor.orientation_selectivity(jnp.asarray(image, jnp.float32))
    assert float(found) == pytest.approx(expected, abs=1e-4)


def test_no_blob_is_oriented_wherever_it_stands():
    row, column = np.mgrid[:SIZE, :SIZE]
    images = [
        np.exp(-((row - i) ** 2 + (column - j) ** 2) / (2 * width**2)) - level
        for i in range(SIZE)
        for j in range(SIZE)
        for width, level in ((0.1, 0.0), (1.0, 0.3))
    ]
    found = gabor.orientation_selectivity(jnp.asarray(np.array(images), jnp.float32))
    assert found.max() < 0.05
