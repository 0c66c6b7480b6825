"""All pairs of N points in blocks of rows, so that memory grows with N times a block, not with N².

Distances in many dimensions come from matrix products. What they lose to cancellation is kept small
by `centred`, and differences that are no more than rounding count as none, so that copies of a
point are at distance 0 exactly.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax.typing import Array, Float, Int, PyTree, Scalar

BLOCK = 128  # rows; of 10,000 points a block takes 5 MB


def by_rows(function: Callable[[Scalar], PyTree], num_rows: int, block: int) -> PyTree[Array]:
    """Fills arrays of N rows, a block of rows at a time.

    Args:
      function: from the number of a block's first row to a pytree of arrays with
        min(block, num_rows) rows; each row must depend on its number alone, as the last block
        reaches back into the one before it unless the blocks divide N.
      num_rows: N.
      block: rows at a time.

    Returns:
      The pytree, of arrays with N rows.

    Raises:
      ValueError: `block` is not positive.
    """
    if block < 1:
        raise ValueError(f"block is {block}; it must be at least 1")
    block = min(block, num_rows)
    parts = jax.eval_shape(function, jnp.int32(0))
    whole = jax.tree.map(lambda part: jnp.zeros((num_rows, *part.shape[1:]), part.dtype), parts)

    def fill(i, whole):
        start = jnp.minimum(i * block, num_rows - block)
        return jax.tree.map(
            lambda x, part: jax.lax.dynamic_update_slice_in_dim(x, part, start, axis=0),
            whole,
            function(start),
        )

    return jax.lax.fori_loop(0, -(-num_rows // block), fill, whole)


def rows_of(x: Float[Array, "N ..."], start: Scalar, block: int) -> Float[Array, "B ..."]:
    """The rows start, …, start + B − 1 of an array, B = min(block, N)."""
    return jax.lax.dynamic_slice_in_dim(x, start, min(block, len(x)))


def are_others(start: Scalar, block: int, num_points: int) -> Array:
    """(B, N): False where a row of the block meets itself, True elsewhere."""
    rows = start + jnp.arange(min(block, num_points), dtype=jnp.int32)
    return rows[:, None] != jnp.arange(num_points, dtype=jnp.int32)[None, :]


def centred(x: Float[Array, "N D"]) -> Float[Array, "N D"]:
    """The points with mean 0 and largest coordinate 1 (in magnitude).

    Neither nearest neighbours nor perplexities change; distances from products become more exact.
    """
    # Scaled first, so that no sum overflows.
    x = x / jnp.maximum(jnp.max(jnp.abs(x)), jnp.finfo(x.dtype).tiny)
    x = x - jnp.mean(x, axis=0, keepdims=True)
    return x / jnp.maximum(jnp.max(jnp.abs(x)), jnp.finfo(x.dtype).tiny)


def squared_distances(a: Float[Array, "A D"], b: Float[Array, "B D"]) -> Float[Array, "A B"]:
    """|a_i − b_j|² by a matrix product; 0 where it is no more than rounding."""
    squares = jnp.sum(a * a, axis=-1)[:, None] + jnp.sum(b * b, axis=-1)[None, :]
    product = jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
    distances = squares - 2 * product
    return jnp.where(distances > 8 * jnp.finfo(a.dtype).eps * squares, distances, 0)


@functools.partial(jax.jit, static_argnames=("block",))
def nearest_neighbours(x: Float[Array, "N D"], *, block: int = BLOCK) -> Int[Array, " N"]:
    """The number of each point's nearest other point: (N, D) -> (N,); the first of equals.

    Args:
      x: finite; two points at least.
      block: rows at a time.
    """
    x = centred(x)

    def nearest(start):
        distances = squared_distances(rows_of(x, start, block), x)
        distances = jnp.where(are_others(start, block, len(x)), distances, jnp.inf)
        return jnp.argmin(distances, axis=-1).astype(jnp.int32)

    return by_rows(nearest, len(x), block)


def leave_one_out_error(x: Float[Array, "N D"], labels: Int[np.ndarray | Array, " N"]) -> float:
    """Share of points whose nearest other point has another label.

    Args:
      x: (N, D), finite.
      labels: (N,) class of each.

    Raises:
      ValueError: there is one point only, or some are not finite.
    """
    check_points(x, "x", least=2)
    labels = np.asarray(labels)
    return float(np.mean(labels[np.asarray(nearest_neighbours(x))] != labels))


def check_points(x: Float[Array, "N D"], name: str, *, least: int) -> None:
    """Raises unless there are enough points, all finite (which is not seen while tracing)."""
    if len(x) < least:
        raise ValueError(f"{name} holds {len(x)} points; there must be at least {least}")
    if isinstance(x, jax.core.Tracer):
        return
    bad = np.flatnonzero(~np.isfinite(np.asarray(x)).all(axis=-1))
    if len(bad):
        raise ValueError(
            f"{len(bad)} of {len(x)} points in {name} hold NaN or infinity, the first at row "
            f"{bad[0]}; leave them out, or mend what made them"
        )
