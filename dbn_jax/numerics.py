"""Numerical functions that several models share."""

import math
import numbers
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

T = TypeVar("T")

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def per_unit(parameter: Any, like: Any) -> Array:
    """Gives a per-unit parameter the batch axes of `like` (rank promotion may be forbidden)."""
    return jnp.broadcast_to(parameter, like.shape)


def check_arrays(tree, what):
    """Raises TypeError unless the leaves of a tree, called `what`, are arrays or single numbers."""

    def holds_numbers(x):
        return type(x) in (list, tuple) and bool(x) and isinstance(x[0], numbers.Number)

    for path, x in jax.tree_util.tree_leaves_with_path(tree, is_leaf=holds_numbers):
        name, kind = what + jax.tree_util.keystr(path), type(x).__name__
        is_array = isinstance(x, (np.ndarray, jax.Array)) and not isinstance(x, np.ma.MaskedArray)
        if isinstance(x, numbers.Number) or (is_array and _is_numeric(x.dtype)):
            continue
        if is_array:
            raise TypeError(f"{name} is an array of {x.dtype}, not of numbers: convert it")
        way = next((way for way in ("toarray", "to_numpy", "filled") if hasattr(x, way)), None)
        remedy = f"its .{way}()" if way else "numpy.asarray"
        raise TypeError(f"{name} is a {kind}, not an array of numbers: make one by {remedy}")


def _is_numeric(dtype):
    kinds = jnp.number, jnp.bool_, jax.dtypes.prng_key
    return any(jnp.issubdtype(dtype, kind) for kind in kinds)


def as_states(x: Any, num_units: int, dtype: Any, units: str) -> Array:
    """States or means of a layer's units, (..., num_units), as `as_floats`, their number checked.

    `units` says in the ValueError what they are, such as "hidden units".
    """
    x = as_floats(x, dtype)
    if x.ndim == 0 or x.shape[-1] != num_units:
        raise ValueError(
            f"the batch has shape {x.shape}; its last axis must hold the {num_units} {units}"
        )
    return x


def as_floats(batch: Any, dtype: Any) -> Array:
    """A batch in a floating dtype, False and True as 0 and 1.

    TypeError if it is no array, or holds integers: bytes would saturate all units, unnoticed.
    """
    check_arrays(batch, "the batch")
    if jnp.issubdtype(batch.dtype, jnp.integer):
        raise TypeError(
            f"the batch holds {batch.dtype} numbers; convert them: bytes to grey levels with "
            "batch.astype('float32') / 255, counts with batch.astype('float32')"
        )
    return jnp.asarray(batch.astype(dtype))


def one_hot(labels: Any, num_labels: int, dtype: Any) -> Array:
    """Label units of classes: (...) -> (..., num_labels). Raises as `check_labels`.

    Traced labels cannot be looked at: one that does not exist becomes NaN, and with it what is made
    of it. Zeros, as `jax.nn.one_hot` has them, would cost nothing in a cross-entropy.
    """
    if not isinstance(labels, Tracer):
        check_labels(labels, num_labels)
    rows = jax.nn.one_hot(jnp.asarray(labels, jnp.int32), num_labels, dtype=dtype)
    return jnp.where(jnp.any(rows, axis=-1, keepdims=True), rows, jnp.nan)


def check_labels(labels, num_labels):
    """TypeError unless the labels are integers, ValueError if one of them does not exist."""
    kind = jnp.result_type(labels)
    if not jnp.issubdtype(kind, jnp.integer):
        raise TypeError(
            f"the labels are {kind} numbers; give the number of each class as an integer, from 0 on"
        )
    unknown = np.setdiff1d(labels, np.arange(num_labels))
    if unknown.size:
        raise ValueError(
            f"there is no label {unknown[0]}; those of {num_labels} classes are 0 to "
            f"{num_labels - 1}: number the classes from 0, and count all of them"
        )


def non_finite(x):
    """Says which rows of an array (N, …) hold NaN or infinity, and where; empty if none does.

    It looks at the values: not for compiled code.
    """
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        return ""
    bad = ~np.isfinite(x)
    if not bad.any():
        return ""
    row, *column = place = tuple(map(int, np.argwhere(bad)[0]))
    where = f"row {row}" + (f", column {', '.join(map(str, column))}" if column else "")
    rows = bad.reshape(len(bad), -1).any(axis=1)
    return (
        f"{rows.sum()} of {len(rows)} rows hold NaN or infinity, the first at {where} "
        f"({float(x[place])}); leave those rows out, or fill the gaps"
    )


def widen(tree: T) -> T:
    """All arrays of a tree (or one array) in float32 at least.

    Half precision has too few uniform numbers to draw from (bfloat16 has 128), and thousands of
    small terms add up to large errors in it.
    """
    return jax.tree.map(lambda x: x if x.dtype == jnp.float64 else x.astype(jnp.float32), tree)


@jax.custom_jvp
def softplus(x):
    """log(1 + exp(x)): a third of the time of `jax.nn.softplus` on CPUs, to the same accuracy.

    Its derivative is the sigmoid itself, which the mean computes already.
    """
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


@softplus.defjvp
def _softplus_jvp(primals, tangents):
    (x,), (x_dot,) = primals, tangents
    return softplus(x), jax.nn.sigmoid(x) * x_dot
