"""Affinities of points: probabilities of pairs, by Gaussians of a given perplexity.

Point i picks point j as its neighbour with probability

    p(j | i) = exp(−β_i |x_i − x_j|²) / Σ_{k≠i} exp(−β_i |x_i − x_k|²),

where the precision β_i makes the entropy equal to the logarithm of the perplexity, which is a
smooth number of neighbours. The probability of a pair is p_ij = (p(j | i) + p(i | j)) / 2N:
symmetric, 0 on the diagonal, with sum 1 over all ordered pairs.

`near_probabilities` keeps only the nearest points, three times the perplexity, as is usual for
large maps, so that memory grows as N. In many dimensions this is no small change: among the pixels
of 2,000 digits, at a perplexity of 30, a ninth of the probability moves to other pairs. At a point
with many copies no Gaussian has so small a perplexity; there all copies are equal neighbours, or
the first of them, where only near ones are kept.

References: Hinton, Roweis, "Stochastic neighbor embedding" (2002), for the perplexity; Cook,
Sutskever, Mnih, Hinton, "Visualizing similarity data with a mixture of maps" (2007), for the
symmetric form; van der Maaten, Hinton, "Visualizing data using t-SNE" (2008), section 3.1, for its
average of the two conditional probabilities; van der Maaten, "Accelerating t-SNE using tree-based
algorithms" (2014), for the three times as many neighbours.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from dbn_jax import pytrees
from dbn_jax.embedding import pairwise
from dbn_jax.embedding.points import Points, Queries, as_points
from dbn_jax.typing import Array, Float, Int

# The precision in units of the inverse mean distance: from where all points are neighbours to
# almost the largest number.
_LOG_PRECISIONS = (-20.0, 88.0)
# Of the nearest distance in units of 1/β: beyond it, the rounding errors of distances are seen in
# the probabilities.
_LARGEST_EXPONENT = 100.0
_TOLERANCE = 1e-5  # of the entropy, nats
_MAX_BISECTIONS = 60
_NEIGHBOURS = 3  # times the perplexity
_WIDTH = 16  # neighbours in a row of `NearProbabilities`
BLOCK = 1024  # rows of it at a time: what is computed of them stays in the cache


@pytrees.dataclass
class NearProbabilities:
    """p_ij of pairs of which one is near the other; that of all others is 0.

    A point has as many rows as its neighbours need, the last one filled up with pairs of
    probability 0. So have the last rows.

    Attributes:
      values: p_ij.
      points: i of each row, in ascending order.
      neighbours: j.
    """

    values: Float[Array, "rows width"]
    points: Int[Array, " rows"]
    neighbours: Int[Array, "rows width"]


def joint_probabilities(
    x: Points, perplexity: float = 30.0, *, block: int = pairwise.BLOCK
) -> Float[Array, "N N"]:
    """p_ij of all pairs; they depend on the ratios of distances only.

    For 10,000 points they take 400 MB in float32, and twice that while they are computed.
    """
    return _symmetric(conditional_probabilities(x, perplexity, block=block)[0])


def near_probabilities(x: Points, perplexity: float = 30.0) -> NearProbabilities:
    """p_ij of near pairs: for 70,000 points and a perplexity of 30 they take some 80 MB."""
    p, neighbours = conditional_near(x, perplexity)
    n, count = p.shape
    ends = np.arange(0, p.size + 1, count)
    one_way = scipy.sparse.csr_array((np.asarray(p).ravel(), np.ravel(neighbours), ends), (n, n))
    return in_rows((one_way + one_way.T) / (2 * n))


def conditional_near(
    x: Points, perplexity: float, queries: Queries | None = None
) -> tuple[Float[Array, "Q count"], Int[Array, "Q count"]]:
    """p(j | i) of the nearest points j of each query i, and their numbers, the nearest first.

    Without queries, each point looks among the others.
    """
    x = as_points(x, "x", least=4)
    check_perplexity(perplexity, len(x))
    count = min(math.ceil(_NEIGHBOURS * perplexity), len(x) - 1)
    neighbours = pairwise.nearest(x, queries, count=count)
    queries = x if queries is None else as_points(queries, "queries")
    return _of_neighbours(x, queries, neighbours, perplexity), neighbours


@jax.jit
def _of_neighbours(x, queries, neighbours, perplexity):
    both = pairwise.scaled(jnp.concatenate([x, queries]))
    x, queries = both[: len(x)], both[len(x) :]
    wanted = jnp.log(jnp.asarray(perplexity, x.dtype))

    def of_query(pair):
        query, near = pair
        points = x[near]
        # |x_j − q|² − |x_0 − q|², without the rounding errors of the two, or of a far origin.
        away = points - query[None]
        excess = jnp.sum((points - points[:1]) * (away + away[:1]), axis=-1)
        return _row(excess - jnp.min(excess), jnp.ones(len(near), bool), wanted)[0][0]

    return jax.lax.map(of_query, (queries, neighbours), batch_size=pairwise.BLOCK)


def in_rows(p: scipy.sparse.csr_array) -> NearProbabilities:
    """The probabilities in rows of one width, as many as make whole blocks."""
    counts = np.diff(p.indptr)
    num_rows = -(-counts // _WIDTH)
    first = np.cumsum(num_rows) - num_rows
    total = -(-np.sum(num_rows) // BLOCK) * BLOCK
    within = np.arange(p.nnz) - np.repeat(p.indptr[:-1], counts)
    places = np.repeat(first, counts) + within // _WIDTH, within % _WIDTH
    values = np.zeros((total, _WIDTH), p.dtype)
    neighbours = np.zeros((total, _WIDTH), np.int32)
    values[places], neighbours[places] = p.data, p.indices
    points = np.full(total, len(counts) - 1, np.int32)
    points[: np.sum(num_rows)] = np.repeat(np.arange(len(counts)), num_rows)
    return NearProbabilities(*map(jnp.asarray, (values, points, neighbours)))


def conditional_probabilities(
    x: Points, perplexity: float, *, block: int = pairwise.BLOCK
) -> tuple[Float[Array, "N N"], Float[Array, " N"]]:
    """p(j | i) in row i and column j, and the perplexity that each row has reached."""
    x = as_points(x, "x", least=4)
    check_perplexity(perplexity, len(x))
    return _conditional(x, perplexity, block)


@jax.jit(static_argnames="block")
def _conditional(x, perplexity, block):
    n, x = len(x), pairwise.scaled(x)
    distances_of = pairwise.squared_distances(x, n)
    wanted = jnp.log(jnp.asarray(perplexity, x.dtype))

    def of_point(i):
        distances = distances_of(i)
        # From the nearest on, so that not all exponentials underflow.
        nearest = jnp.argmin(distances)
        is_other = jnp.arange(n) != i
        row, precision = _row(distances - distances[nearest], is_other, wanted)
        is_blurred = precision * distances[nearest] > _LARGEST_EXPONENT
        return _sharpened(is_blurred, row, i, nearest, x, wanted)

    # Equal blocks: a remainder would be joined to the others by a copy of all rows.
    block = next(size for size in range(min(block, n), 0, -1) if n % size == 0)
    return jax.lax.map(of_point, jnp.arange(n), batch_size=block)


def _row(excess, is_other, wanted):
    """(p(j | i), perplexity) of distances less their smallest, of other points, and β_i.

    It is found by bisection of its logarithm.
    """
    excess = jnp.where(is_other, excess, 0)
    mean = jnp.mean(excess, where=is_other)
    unit = jnp.where(mean > 0, 1 / mean, 1)
    low, high = (jnp.asarray(end, excess.dtype) for end in _LOG_PRECISIONS)

    def gaussian(log_precision):
        precision = jnp.minimum(jnp.exp(log_precision) * unit, jnp.finfo(excess.dtype).max)
        weights = jnp.where(is_other, jnp.exp(-precision * excess), 0)
        total = jnp.sum(weights)
        entropy = jnp.log(total) + precision * jnp.sum(weights * excess) / total
        return weights / total, entropy, precision

    def is_off(carry):
        count, *_, entropy = carry
        return (count < _MAX_BISECTIONS) & (jnp.abs(entropy - wanted) > _TOLERANCE)

    def halve(carry):
        count, low, high, _, _ = carry
        middle = (low + high) / 2
        _, entropy, _ = gaussian(middle)
        is_wide = entropy > wanted  # entropy falls as the precision grows
        low, high = jnp.where(is_wide, middle, low), jnp.where(is_wide, high, middle)
        return count + 1, low, high, middle, entropy

    start = jnp.int32(0), low, high, low, jnp.full_like(mean, jnp.inf)
    *_, log_precision, entropy = jax.lax.while_loop(is_off, halve, start)
    p, _, precision = gaussian(log_precision)
    return (p, jnp.exp(entropy)), precision


# As in `pairwise`, only the rows that need it take the time.
@jax.custom_batching.sequential_vmap
def _sharpened(is_blurred, row, i, nearest, x, wanted):
    """The row of a point far out, whose distances differ by little.

    |x_j − x_i|² − |x_m − x_i|² = (x_j − x_m) · (x_j − x_i + x_m − x_i).
    """

    def from_differences():
        to_nearest, to_point = x - x[nearest][None], x - x[i][None]
        excess = jnp.sum(to_nearest * (to_point + to_point[nearest][None]), axis=-1)
        is_other = jnp.arange(len(x)) != i
        return _row(excess - jnp.min(jnp.where(is_other, excess, jnp.inf)), is_other, wanted)[0]

    return jax.lax.cond(is_blurred, from_differences, lambda: row)


@jax.jit
def _symmetric(p):
    return (p + p.T) / (2 * len(p))


def check_perplexity(perplexity: float, num_points: int) -> None:
    """Raises ValueError unless so many points can have that perplexity."""
    if not 1 < perplexity < num_points - 1:
        raise ValueError(
            f"perplexity is {perplexity:g}, but each of {num_points} points has {num_points - 1} "
            f"neighbours: choose it above 1 and well below {num_points - 1}, or give more points"
        )
