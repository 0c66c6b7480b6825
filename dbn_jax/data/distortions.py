"""Images stretched, turned and moved at random, as a training set without end has them."""

import jax
import jax.numpy as jnp

from dbn_jax import random
from dbn_jax.typing import Array, Float, Key


def affine(
    key: Key[Array, ""],
    images: Float[Array, "N V"],
    image_shape: tuple[int, ...],
    *,
    stretch: float = 0.0,
    shift: float = 0.0,
) -> Float[Array, "N V"]:
    """Maps each image by a random affine map about its centre, x ↦ (I + A)x + t.

    What comes in from outside is 0. Pixels between others are interpolated linearly. Keys are
    consumed.

    Args:
      image_shape: rows, columns, and channels if there are several.
      stretch: standard deviation of the entries of A; 0.1 turns by 6° and scales by 10 %.
      shift: standard deviation of those of t, in pixels.
    """
    matrix_key, shift_key = random.split(key)
    num_images = len(images)
    rows, columns = image_shape[:2]
    matrices = jnp.eye(2)[None] + stretch * jax.random.normal(matrix_key, (num_images, 2, 2))
    shifts = shift * jax.random.normal(shift_key, (num_images, 2))
    centre = jnp.asarray([(rows - 1) / 2, (columns - 1) / 2])
    places = jnp.stack(jnp.meshgrid(jnp.arange(rows), jnp.arange(columns), indexing="ij"))
    offsets = places.reshape(2, -1).astype(jnp.float32) - centre[:, None]

    def distort(image, matrix, shift):
        sources = matrix @ offsets + (centre + shift)[:, None]
        sample = jax.vmap(
            lambda channel: jax.scipy.ndimage.map_coordinates(channel, sources, order=1),
            in_axes=-1,
            out_axes=-1,
        )
        return sample(image.reshape(rows, columns, -1)).reshape(-1)

    return jax.vmap(distort)(images, matrices, shifts)
