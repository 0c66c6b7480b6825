"""The random bits and keys of ``jax.random``, written so that XLA:CPU fuses them with their use.

JAX lowers threefry on CPUs to a rolled loop over whole arrays, which halves compile time and costs
three times the run time: in a contrastive-divergence update it is most of what is not a matrix
product. Here the twenty rounds are unrolled elementwise operations, so that drawing, comparing and
converting become one pass. The bits are those of `jax.random.bits`, and the keys those of
`jax.random.split` and `jax.random.fold_in`, one for one; as loops of tiny programs, these two cost
up to 4 % of an update with 784×500 weights and a batch of 100, and a tenth of one with 16×8 weights
and a batch of 10. Keys of other generators than threefry (``rbg`` on TPUs) go to `jax.random`
itself. All keys are consumed.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dbn_jax.compilation import jit
from dbn_jax.typing import Array, Float, Key, Num

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA
_FEW = 8  # keys that a TPU derives one by one


# Not inlined: XLA does that, and a program that draws often is traced and lowered in half the time.
@jax.jit
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


def _is_ours(key):
    """Whether the draws of a key are those of `_words`."""
    is_threefry = str(jax.random.key_impl(key)) == "threefry2x32"
    is_one = jax.random.key_data(key).shape == (2,)  # jax.random refuses several in plain words
    # Its attributes are made at run time.
    is_plain = jax.config.jax_threefry_partitionable  # pyright: ignore[reportAttributeAccessIssue]
    return is_threefry and is_one and is_plain


def _words(key, counter):
    """Two words for each count."""
    key_0, key_1 = jax.random.key_data(key)
    return _threefry2x32(key_0, key_1, jnp.zeros_like(counter), counter)


def _derive(key, counter):
    """The keys that a key makes of a number, or of 0, 1, …"""
    one_by_one = _one_by_one if 0 < counter.size <= _FEW else _at_once
    return lax.platform_dependent(key, counter, tpu=one_by_one, default=_at_once)


def _at_once(key, counter):
    # The barrier keeps XLA from deriving a key again in every program that draws with it.
    words = lax.optimization_barrier(jnp.stack(_words(key, counter), axis=-1))
    return jax.random.wrap_key_data(words, impl="threefry2x32")


def _one_by_one(key, counter):
    # A TPU has a processor for single numbers. Small arrays make kernels, and each takes as long as
    # a product of matrices: ten of them were 37 % of an update by CD-1.
    if counter.ndim:
        return jnp.stack([_one_by_one(key, jnp.uint32(i)) for i in range(len(counter))])
    return jax.random.wrap_key_data(jnp.stack(_words(key, counter)), impl="threefry2x32")


@jit(static_argnames="num")
def split(key: Key[Array, ""], num: int = 2) -> Key[Array, " {num}"]:
    """Makes new keys of one; equal to ``jax.random.split(key, num)``."""
    if not _is_ours(key):
        return jax.random.split(key, num)
    return _derive(key, lax.iota(jnp.uint32, num))


def fold_in(key: Key[Array, ""], data: int | Num[Array, "..."]) -> Key[Array, ""]:
    """Makes a new key of a key and a number; equal to ``jax.random.fold_in(key, data)``.

    The key may be used again, with other numbers.
    """
    if jnp.ndim(data):
        raise TypeError(f"data has shape {jnp.shape(data)}; fold_in takes one number, or jax.vmap")
    data = jnp.asarray(data, jnp.uint32)
    if not _is_ours(key):
        return jax.random.fold_in(key, data)
    return _derive(key, data)


@jit(static_argnames="shape")
def bits(key: Key[Array, ""], shape: tuple[int, ...]) -> Num[Array, "..."]:
    """Draws uniform 32-bit words, uint32; equal to ``jax.random.bits(key, shape)``."""
    size = math.prod(shape)
    # Sizes that are symbols (`jax.export.symbolic_shape`) cannot be compared.
    known = all(isinstance(length, int) for length in shape)
    if not known or size >= 2**32 or not _is_ours(key):
        return jax.random.bits(key, shape, jnp.uint32)
    high, low = _words(key, lax.iota(jnp.uint32, size).reshape(shape))
    return high ^ low


@jit(static_argnames="shape")
def uniform(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Draws multiples of 2⁻²⁴, uniform on [0, 1), float32."""
    return (bits(key, shape) >> jnp.uint32(8)).astype(jnp.float32) * jnp.float32(2**-24)


@jit
def bernoulli(key: Key[Array, ""], probability: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Draws independent 0s and 1s in the probabilities' own dtype.

    The probabilities act as multiples of 2⁻²⁴, rounded up; 0 never and 1 always gives a 1.
    """
    # Not jnp.promote_types, which strict dtype promotion forbids.
    dtype = jnp.float64 if probability.dtype == jnp.float64 else jnp.float32
    draws = uniform(key, probability.shape).astype(dtype)
    return (draws < probability.astype(dtype)).astype(probability.dtype)


def dropout(key: Key[Array, ""], x: Float[Array, "*shape"], rate: float) -> Float[Array, "*shape"]:
    """Sets each value to zero with probability `rate`, and divides the rest by 1 − rate.

    So its expectation is x, and the trained weights need no scaling (inverted dropout; Srivastava
    et al. 2014, section 10). At a rate of 0 nothing is drawn.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"the dropout rate is {rate}; it must be at least 0 and below 1")
    if rate == 0:
        return x
    kept = bernoulli(key, jnp.full_like(x, 1 - rate))
    return x * kept / (1 - rate)
