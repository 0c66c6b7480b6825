"""How exactly matrices are multiplied: in full where a number is told, in learning as it is asked.

JAX multiplies matrices of float32 as the device is fast at. TPUs then round the factors to
bfloat16, by up to 1 part in 256, and recent GPUs to TF32, by up to 1 in 2048; their products are
summed in float32. CPUs round nothing. Learning from samples bears that; log-probabilities, which
add up thousands of units, do not. So functions that tell numbers are `full`, and what learners are
made of (conditionals, Gibbs sampling, gradients) takes the precision in force: JAX's default, or
what `learning` says.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax
import jax.numpy as jnp

P = ParamSpec("P")
R = TypeVar("R")
# What JAX calls them; None is its own default.
_IN_JAX = {"default": None, "bfloat16": "BF16_BF16_F32", "float32": "highest"}
NAMES = tuple(_IN_JAX)
# A number of which TF32, with its 11 bits, loses the last term, and bfloat16, with 8, the last two.
_TRIED = 1 + 2**-10 + 2**-20
_LEFT = {"float32": _TRIED, "tensorfloat32": 1 + 2**-10, "bfloat16": 1}


def full(function: Callable[P, R]) -> Callable[P, R]:
    """Decorates a function that multiplies in full float32 on every device, with all that it calls.

    It stands below `jit`: the precision is that of the products that are traced meanwhile, and of
    their derivatives. JAX's decompositions of matrices need no such thing.
    """

    @functools.wraps(function)
    def call(*args: P.args, **keywords: P.kwargs) -> R:
        with jax.default_matmul_precision("highest"):
            return function(*args, **keywords)

    return call


def learning(name: str) -> contextlib.AbstractContextManager[None]:
    """A context that multiplies by one of `NAMES`, except in functions that are `full`."""
    return jax.default_matmul_precision(_IN_JAX[name])


def found(name: str) -> str:
    """What factors are in `learning`, by a trial: float32, tensorfloat32 or bfloat16."""
    with learning(name):
        product = jnp.full((128, 128), _TRIED, jnp.float32) @ jnp.eye(128, dtype=jnp.float32)
    left = float(product[0, 0])
    return min(_LEFT, key=lambda name: abs(_LEFT[name] - left))
