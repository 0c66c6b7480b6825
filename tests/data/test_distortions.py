"""Random affine maps of images."""

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax.data import distortions


def test_without_spread_images_stay_as_they_are():
    images = jax.random.uniform(jax.random.key(0), (3, 5 * 4 * 2))
    same = distortions.affine(jax.random.key(1), images, (5, 4, 2))
    np.testing.assert_allclose(same, images, atol=1e-6)


def test_an_image_that_is_linear_in_the_place_tells_map_and_shift():
    """Of the images "row" and "column" interpolation is exact: their values are the sources."""
    rows, columns = 21, 31
    row, column = np.mgrid[:rows, :columns].astype(np.float32)
    images = np.stack([row, column], axis=-1).reshape(1, -1).repeat(400, axis=0)
    mapped = distortions.affine(
        jax.random.key(2), jnp.asarray(images), (rows, columns, 2), stretch=0.05, shift=0.5
    )
    sources = np.asarray(mapped).reshape(400, rows, columns, 2)
    middle = sources[:, 10, 15]
    down, across = sources[:, 11, 15] - middle, sources[:, 10, 16] - middle
    # Places near the middle have their sources within the image.
    np.testing.assert_allclose(sources[:, 12, 17], middle + 2 * down + 2 * across, atol=1e-4)
    shifts, entries = middle - [10, 15], np.stack([down, across], axis=-1) - np.eye(2)
    for found, spread in ((shifts, 0.5), (entries, 0.05)):
        n = found.size
        assert abs(found.mean()) < 5 * spread / np.sqrt(n)
        assert abs(found.std() - spread) < 5 * spread / np.sqrt(2 * n)


def test_what_comes_in_from_outside_is_zero():
    images = jnp.ones((200, 36))
    moved = distortions.affine(jax.random.key(3), images, (6, 6), shift=2.0)
    assert float(moved.min()) == 0
    assert float(moved.max()) < 1 + 1e-6
