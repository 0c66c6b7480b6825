"""The random bits of ``jax.random``, written so that XLA:CPU fuses them with their use.

JAX lowers threefry on CPUs to a rolled loop over whole arrays, which halves compile time and costs
three times the run time: in a contrastive-divergence update it is most of what is not a matrix
product. Here the twenty rounds are unrolled elementwise operations, so that drawing, comparing and
converting become one pass. The bits are those of `jax.random.bits`, one for one.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dbn_jax.shapes import Array, Float, Key, Num

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def _threefry2x32(key_0, key_1, x_0, x_1):
    """Twenty rounds of Threefry-2x32 (Salmon et al. 2011, "Parallel random numbers")."""
    # Operations of lax, not operators: the same program is traced in half the time.
    keys = (key_0, key_1, key_0 ^ key_1 ^ jnp.uint32(_PARITY))
    x_0, x_1 = lax.add(x_0, keys[0]), lax.add(x_1, keys[1])
    for i in range(5):
        for rotation in _ROTATIONS[i % 2]:
            x_0 = lax.add(x_0, x_1)
            left = lax.shift_left(x_1, np.uint32(rotation))
            x_1 = lax.bitwise_or(left, lax.shift_right_logical(x_1, np.uint32(32 - rotation)))
            x_1 = lax.bitwise_xor(x_0, x_1)
        x_0 = lax.add(x_0, keys[(i + 1) % 3])
        x_1 = lax.add(lax.add(x_1, keys[(i + 2) % 3]), np.uint32(i + 1))
    return x_0, x_1


@functools.partial(jax.jit, static_argnames="shape", inline=True)
def bits(key: Key[Array, ""], shape: tuple[int, ...]) -> Num[Array, "..."]:
    """Draws uniform 32-bit words; equal to ``jax.random.bits(key, shape)``.

    Keys of other generators than threefry (``rbg`` on TPUs) go to `jax.random.bits` itself.

    Args:
      key: consumed.
      shape: of the result.

    Returns:
      An array of uint32.
    """
    size = math.prod(shape)
    is_threefry = str(jax.random.key_impl(key)) == "threefry2x32"
    if not is_threefry or size >= 2**32 or not jax.config.jax_threefry_partitionable:
        return jax.random.bits(key, shape, jnp.uint32)
    key_0, key_1 = jax.random.key_data(key)
    counter = lax.iota(jnp.uint32, size).reshape(shape)
    high, low = _threefry2x32(key_0, key_1, jnp.zeros_like(counter), counter)
    return high ^ low


@functools.partial(jax.jit, static_argnames="shape", inline=True)
def uniform(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Draws float32 multiples of 2⁻²⁴, uniform on [0, 1).

    Args:
      key: consumed.
      shape: of the result.

    Returns:
      An array of float32.
    """
    return (bits(key, shape) >> jnp.uint32(8)).astype(jnp.float32) * jnp.float32(2**-24)


@functools.partial(jax.jit, inline=True)
def bernoulli(key: Key[Array, ""], probability: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Draws independent 0s and 1s in the probabilities' own dtype.

    The probabilities act as multiples of 2⁻²⁴, rounded up; 0 never and 1 always gives a 1.

    Args:
      key: consumed.
      probability: of a 1, any shape.

    Returns:
      0.0 or 1.0, same shape and dtype.
    """
    # Not jnp.promote_types, which strict dtype promotion forbids.
    dtype = jnp.float64 if probability.dtype == jnp.float64 else jnp.float32
    draws = uniform(key, probability.shape).astype(dtype)
    return (draws < probability.astype(dtype)).astype(probability.dtype)
