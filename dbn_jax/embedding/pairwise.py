"""Distances of points, and classification by nearest neighbours, in bounded memory.

Functions of all pairs map a function of one point over all points, `BLOCK` points at a time, so
that memory grows with the number of points and not with its square.

|x − y|² = |x|² + |y|² − 2 x·y comes from a matrix product, in a tenth of the time that sums of
squared differences take in many dimensions. But its rounding errors are in proportion to
|x|² + |y|²: beside clusters that are far apart they drown the distances within a cluster. So the
row of a point that has any as near as that is summed from the differences themselves. Every
distance is thus as exact as the differences in its own precision, up to a factor of `_LOSS` in the
rounding errors of the sum; copies of a point are at distance 0.

Points are rows of numbers of any type: float64 stays (where JAX has it), all others become float32.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import precision
from dbn_jax.embedding.points import Points, Queries, as_points
from dbn_jax.typing import Array, Float, Int

BLOCK = 128  # points at a time; their distances to 10,000 points take 5 MB
# How many times its own size |x|² + |y|² may be before a distance is summed from differences. In
# MNIST one point in 200 has a neighbour so near.
_LOSS = 32
# Of the largest coordinate, as a power of two. From 2⁴⁰ neither do squares overflow nor their sums
# over all points, and differences count down to 10⁻³¹ of it.
_EXPONENT = 40
_GROUP = 32  # points of which the nearest one speaks for all, when the nearest of many are chosen


def scaled(x: Float[Array, "N D"]) -> Float[Array, "N D"]:
    """The points times a power of two, which is exact: the largest coordinate is about 10¹².

    Neither nearest neighbours nor perplexities change.
    """
    exponent = jnp.frexp(jnp.max(jnp.abs(x)))[1]
    half = (_EXPONENT - exponent) // 2  # the whole factor may overflow
    return jnp.ldexp(jnp.ldexp(x, half), _EXPONENT - exponent - half)


def squared_distances(x: Float[Array, "M D"], n: int):
    """The function of i that gives |x_i − x_j|² for the first n points j, and ∞ for x_i itself.

    To be mapped over i; the points are `scaled`.
    """
    # Near the mean, |x|² is least.
    y = x - jnp.mean(x, axis=0, keepdims=True)
    squares = jnp.sum(y * y, axis=-1)

    @precision.full
    def of_point(i):
        is_other = jnp.arange(n) != i
        sums = squares[i] + squares[:n]
        by_product = sums - 2 * (y[:n] @ y[i])
        is_blurred = jnp.any(is_other & (by_product < sums / _LOSS))
        return jnp.where(is_other, _mended(is_blurred, by_product, x[:n], x[i]), jnp.inf)

    return of_point


# Of a block of points only those that need it take the time: mapped as usual, all would.
@jax.custom_batching.sequential_vmap
def _mended(is_blurred, by_product, x, point):
    return jax.lax.cond(
        is_blurred, lambda: jnp.sum((x - point[None]) ** 2, axis=-1), lambda: by_product
    )


def nearest(
    x: Points,
    queries: Queries | None = None,
    *,
    count: int = 1,
    block: int = BLOCK,
) -> Int[Array, "Q count"]:
    """The numbers of the points that are nearest to each query, the nearest first.

    Of equally near points the first counts. Without queries, each point looks among the others.
    """
    if queries is None:
        return _nearest(as_points(x, "x", least=count + 1), None, count, block)
    x, queries = as_points(x, "x", least=count), as_points(queries, "queries")
    if queries.shape[1] != x.shape[1]:
        raise ValueError(
            f"queries hold {queries.shape[1]} numbers each, and x {x.shape[1]}; give both the same"
        )
    return _nearest(x, queries, count, block)


@jax.jit(static_argnames=("count", "block"))
def _nearest(x, queries, count, block):
    n = len(x)
    points = x if queries is None else jnp.concatenate([x, queries])
    distances = squared_distances(scaled(points), n)
    # Queries stand after the points, and are none of them.
    numbers = jnp.arange(0 if queries is None else n, len(points))
    return jax.lax.map(lambda i: _smallest(distances(i), count), numbers, batch_size=block)


def _smallest(distances, count):
    """The numbers of the smallest distances, in order; of equal ones the first.

    They lie in the `count` groups whose smallest are smallest, so that few are sorted.
    """
    n = len(distances)
    if n < 4 * count * _GROUP:
        return jax.lax.top_k(-distances, count)[1]
    groups = jnp.pad(distances, (0, -n % _GROUP), constant_values=jnp.inf).reshape(-1, _GROUP)
    chosen = jnp.sort(jax.lax.top_k(-jnp.min(groups, axis=1), count)[1])
    among = jax.lax.top_k(-groups[chosen].reshape(-1), count)[1]
    return chosen[among // _GROUP] * _GROUP + among % _GROUP


def leave_one_out_error(x: Points, labels: Int[np.ndarray | Array, " N"]) -> float:
    """Share of points whose nearest other point has another label."""
    x = as_points(x, "x", least=2)
    labels = _labels_of(x, labels, "labels")
    return float(np.mean(labels[np.asarray(nearest(x))[:, 0]] != labels))


def classification_error(
    x: Points,
    labels: Int[np.ndarray | Array, " N"],
    queries: Queries,
    wanted: Int[np.ndarray | Array, " Q"],
    *,
    num_neighbours: int,
) -> float:
    """Share of queries whose nearest points vote for another label than the wanted one.

    Of labels with equally many votes, that of the nearest of their points wins.
    """
    x, queries = as_points(x, "x", least=num_neighbours), as_points(queries, "queries")
    labels, wanted = _labels_of(x, labels, "labels"), _labels_of(queries, wanted, "wanted")
    votes = labels[np.asarray(nearest(x, queries, count=num_neighbours))]
    return float(np.mean(_elected(votes) != wanted))


def _labels_of(x, labels, name):
    labels = np.asarray(labels)
    if labels.shape != (len(x),):
        raise ValueError(f"{name} has shape {labels.shape} for {len(x)} points; each has one label")
    return labels


def _elected(votes: np.ndarray) -> np.ndarray:
    """The most frequent of each row's labels; of several, the first: (Q, K) -> (Q,)."""
    counts = np.stack([np.sum(votes == vote[:, None], axis=1) for vote in votes.T], axis=1)
    first = np.argmax(counts, axis=1)
    return np.take_along_axis(votes, first[:, None], axis=1)[:, 0]
