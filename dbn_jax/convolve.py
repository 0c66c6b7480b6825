"""Products of images with filters, whose derivatives are fast on CPUs too.

The derivatives of a convolution are convolutions whose dimensions stand in another order. XLA:CPU
(jaxlib 0.10.2) puts these right outside of loops only: within a compiled loop, where everything is
learnt, they took 10 to 100 times as long as the convolution itself. Here they are, on CPUs, those
of sums of matrix products, one for each row of a filter. Forwards, and on other devices, it is
XLA's convolution.

Images are (N, rows, columns, channels), filters (rows, columns, channels, K), and what comes out is
(N, places down, places across, K): channels last is the fastest order on CPUs and TPUs. The padding
is a number of zeros before and after, of rows and of columns.
"""

import functools

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from dbn_jax.typing import Array, Float

Padding = tuple[tuple[int, int], tuple[int, int]]


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def convolve(
    images: Float[Array, "N rows columns channels"],
    filters: Float[Array, "R S channels K"],
    padding: Padding,
) -> Float[Array, "N down across K"]:
    """Σ over rows i, columns j and channels c of image[place + (i, j), c] · filter[i, j, c, k]."""
    return _by_convolution(images, filters, padding)


def _convolve_jvp(padding, primals, tangents):
    (images, filters), (images_dot, filters_dot) = primals, tangents
    product = functools.partial(_linear, padding=padding)
    changes = []
    if not isinstance(images_dot, SymbolicZero):
        changes.append(product(images_dot, filters))
    if not isinstance(filters_dot, SymbolicZero):
        changes.append(product(images, filters_dot))
    return convolve(images, filters, padding), sum(changes)


convolve.defjvp(_convolve_jvp, symbolic_zeros=True)


def _linear(images, filters, padding):
    return jax.lax.platform_dependent(
        images,
        filters,
        cpu=functools.partial(_by_rows, padding=padding),
        default=functools.partial(_by_convolution, padding=padding),
    )


def _by_convolution(images, filters, padding):
    return jax.lax.conv_general_dilated(
        images, filters, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _by_rows(images, filters, padding):
    size, *_, num_maps = filters.shape
    across = windows(images, (1, filters.shape[1]), padding)
    down = across.shape[1] - size + 1
    of_rows = filters.reshape(size, -1, num_maps)
    return sum(across[:, i : i + down] @ of_row for i, of_row in enumerate(of_rows))


def windows(
    images: Float[Array, "N rows columns channels"], size: tuple[int, int], padding: Padding
) -> Float[Array, "N down across numbers"]:
    """What a filter of so many rows and columns sees at each place, in the order of its numbers."""
    images = jnp.pad(images, ((0, 0), *padding, (0, 0)))
    down, across = (n - m + 1 for n, m in zip(images.shape[1:3], size, strict=True))
    shifted = [
        images[:, i : i + down, j : j + across] for i in range(size[0]) for j in range(size[1])
    ]
    return jnp.concatenate(shifted, axis=-1)
