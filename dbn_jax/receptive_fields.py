"""What units of a stack of convolutional RBMs see of an image, and what they stand for in it.

A hidden unit sees a rectangle of pixels, its receptive field: as many as its filter is large, and
in layers above the first all that the units below its filter see, of whole blocks where these are
pooled. Layers are given from the pixels up; the units are those of the last of them, at places
(row, column) of its maps.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import convolutional, linear, rbm
from dbn_jax.compilation import jit
from dbn_jax.typing import Array, Float, Int, Num


def is_convolutional(layer: rbm.RBM) -> bool:
    """Whether a layer knows that an image has two dimensions."""
    return isinstance(layer.weights, convolutional.Local)


def receptive_field(
    layers: Sequence[rbm.RBM],
    place: Int[np.ndarray | Array, "*batch 2"],
    size: tuple[int, int] = (1, 1),
) -> tuple[Int[np.ndarray | Array, "*batch 2"], tuple[int, int]]:
    """The pixels that hidden units see: the first row and column, and the numbers of both.

    The zeros that a border puts around an image count: the first may be negative.

    Args:
      place: of the unit, or the upper left one of a rectangle of them.
      size: rows and columns of that rectangle.
    """
    for number, layer in enumerate(reversed(layers)):
        block = convolutional.block(layer) if number else 1
        weights = convolutional.local(layer)
        place = block * place - np.array([before for before, _ in weights.padding])
        rows, columns = (
            block * n + m - 1 for n, m in zip(size, weights.filter_shape, strict=False)
        )
        size = rows, columns
    return place, size


@jit(static_argnames="size")
def crop(
    image: Num[Array, "rows columns channels"], first: Int[Array, "2"], size: tuple[int, int]
) -> Num[Array, "..."]:
    """The part of an image that begins at a row and a column; zeros where it lies outside."""
    padded = jnp.pad(image, (*((each, each) for each in size), (0, 0)))
    row, column = first + jnp.array(size, first.dtype)
    return jax.lax.dynamic_slice(padded, (row, column, 0), (*size, image.shape[-1]))


@jit
def unit_images(layers: tuple[rbm.RBM, ...]) -> Float[Array, "K rows columns channels"]:
    """What the unit of each map in the middle of the image stands for, projected to pixels.

    The product of its weights and those below, as `dbn.feature_images` has it for all units, and of
    it the pixels that the unit sees. Of a first layer these are its filters.
    """
    *_, num_maps = shape = convolutional.local(layers[-1]).map_shape
    middle = np.array(shape[:2]) // 2
    first, size = receptive_field(layers, middle)

    def image(index):
        x = jnp.zeros(shape, layers[-1].weights.dtype).at[*middle, index].set(1).reshape(-1)
        for number, layer in enumerate(reversed(layers)):
            x = layer.hidden.pool_transposed(x) if number else x
            x = linear.product_transposed(x, layer.weights)
        return crop(x.reshape(convolutional.local(layers[0]).image_shape), jnp.asarray(first), size)

    return jax.lax.map(image, jnp.arange(num_maps))
