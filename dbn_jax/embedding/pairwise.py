"""Distances of points, and classification by nearest neighbours, in bounded memory.

Functions of all pairs map a function of one point over all points, `BLOCK` points at a time, so
that memory grows with the number of points and not with its square. Distances in many dimensions
come from matrix products. `centred` keeps their errors of cancellation small, and distances within
rounding errors count as 0, so that copies of a point are at distance 0 exactly.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax.typing import Array, Float, Int

BLOCK = 128  # points at a time; their distances to 10,000 points take 5 MB


def centred(x: Float[Array, "N D"]) -> Float[Array, "N D"]:
    """The points with mean 0 and largest coordinate 1 (in magnitude).

    Neither nearest neighbours nor perplexities change; distances from products become more exact.
    """
    # Scaled first, so that no sum overflows.
    x = x / jnp.maximum(jnp.max(jnp.abs(x)), jnp.finfo(x.dtype).tiny)
    x = x - jnp.mean(x, axis=0, keepdims=True)
    return x / jnp.maximum(jnp.max(jnp.abs(x)), jnp.finfo(x.dtype).tiny)


def squared_distances(point: Float[Array, " D"], x: Float[Array, "N D"]) -> Float[Array, " N"]:
    """|point − x_i|² by a product; 0 where it is within rounding errors."""
    squares = jnp.sum(point * point) + jnp.sum(x * x, axis=-1)
    distances = squares - 2 * jnp.matmul(x, point, precision=jax.lax.Precision.HIGHEST)
    return jnp.where(distances > 8 * jnp.finfo(x.dtype).eps * squares, distances, 0)


@jax.jit(static_argnames=("count", "block"))
def nearest(
    x: Float[Array, "N D"],
    queries: Float[Array, "Q D"] | None = None,
    *,
    count: int = 1,
    block: int = BLOCK,
) -> Int[Array, "Q count"]:
    """The numbers of the points that are nearest to each query, the nearest first.

    Of equally near points the first counts. Without queries, each point looks among the others. All
    are finite.
    """
    n = len(x)
    points = centred(x if queries is None else jnp.concatenate([x, queries]))
    x = points[:n]

    def of_query(i):
        distances = squared_distances(points[i], x)
        return jax.lax.top_k(-jnp.where(jnp.arange(n) == i, jnp.inf, distances), count)[1]

    # Queries stand after the points, and are none of them.
    first = 0 if queries is None else n
    return jax.lax.map(of_query, jnp.arange(first, len(points)), batch_size=block)


def leave_one_out_error(x: Float[Array, "N D"], labels: Int[np.ndarray | Array, " N"]) -> float:
    """Share of points whose nearest other point has another label."""
    check_points(x, "x", least=2)
    labels = np.asarray(labels)
    return float(np.mean(labels[np.asarray(nearest(x))[:, 0]] != labels))


def classification_error(
    x: Float[np.ndarray | Array, "N D"],
    labels: Int[np.ndarray, " N"],
    queries: Float[np.ndarray | Array, "Q D"],
    wanted: Int[np.ndarray, " Q"],
    *,
    num_neighbours: int,
) -> float:
    """Share of queries whose nearest points vote for another label than the wanted one.

    Of labels with equally many votes, that of the nearest of their points wins.
    """
    check_points(x, "x", least=num_neighbours)
    check_points(queries, "queries", least=1)
    votes = labels[np.asarray(nearest(x, queries, count=num_neighbours))]
    return float(np.mean(_elected(votes) != wanted))


def check_points(x: Float[np.ndarray | Array, "N D"], name: str, *, least: int) -> None:
    """Raises ValueError unless there are enough points, all finite (unseen while tracing)."""
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


def _elected(votes: np.ndarray) -> np.ndarray:
    """The most frequent of each row's labels; of several, the first: (Q, K) -> (Q,)."""
    counts = np.sum(votes[:, :, None] == votes[:, None, :], axis=-1)
    first = np.argmax(counts, axis=1)
    return np.take_along_axis(votes, first[:, None], axis=1)[:, 0]
