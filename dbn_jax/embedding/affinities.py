"""Affinities of points: probabilities of pairs, by Gaussians of a given perplexity.

Point i picks point j as its neighbour with probability

    p(j | i) = exp(−β_i |x_i − x_j|²) / Σ_{k≠i} exp(−β_i |x_i − x_k|²),

where the precision β_i makes the entropy equal to the logarithm of the perplexity, which is a
smooth number of neighbours. The probability of a pair is p_ij = (p(j | i) + p(i | j)) / 2N:
symmetric, 0 on the diagonal, with sum 1 over all ordered pairs.

References: Hinton, Roweis, "Stochastic neighbor embedding" (2002), for the perplexity; Cook,
Sutskever, Mnih, Hinton, "Visualizing similarity data with a mixture of maps" (2007), for the
symmetric form; van der Maaten, Hinton, "Visualizing data using t-SNE" (2008), section 3.1, for its
average of the two conditional probabilities.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from dbn_jax.embedding import pairwise
from dbn_jax.embedding.points import Points, as_points
from dbn_jax.typing import Array, Float

# The precision in units of the inverse mean distance: from where all points are neighbours to
# almost the largest number.
_LOG_PRECISIONS = (-20.0, 88.0)
# Of the nearest distance in units of 1/β: beyond it, the rounding errors of distances are seen in
# the probabilities.
_LARGEST_EXPONENT = 100.0
_TOLERANCE = 1e-5  # of the entropy, nats
_MAX_BISECTIONS = 60


def joint_probabilities(
    x: Points, perplexity: float = 30.0, *, block: int = pairwise.BLOCK
) -> Float[Array, "N N"]:
    """p_ij of all pairs; they depend on the ratios of distances only.

    For 10,000 points they take 400 MB in float32, and twice that while they are computed. The
    perplexity is reached to 0.1 %; no Gaussian has so small a one at a point with many copies.
    """
    p, reached = conditional_probabilities(x, perplexity, block=block)
    _check_reached(reached, perplexity)
    return _symmetric(p)


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
        row, precision = _row(distances - distances[nearest], i, wanted)
        is_blurred = precision * distances[nearest] > _LARGEST_EXPONENT
        return _sharpened(is_blurred, row, i, nearest, x, wanted)

    # Equal blocks: a remainder would be joined to the others by a copy of all rows.
    block = next(size for size in range(min(block, n), 0, -1) if n % size == 0)
    return jax.lax.map(of_point, jnp.arange(n), batch_size=block)


def _row(excess, i, wanted):
    """(p(j | i), perplexity) of distances less their smallest, and β_i.

    It is found by bisection of its logarithm.
    """
    is_other = jnp.arange(len(excess)) != i
    excess = jnp.where(is_other, excess, 0)
    mean = jnp.sum(excess) / (len(excess) - 1)
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
        return _row(
            excess - jnp.min(jnp.where(jnp.arange(len(x)) == i, jnp.inf, excess)), i, wanted
        )[0]

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


def _check_reached(reached, perplexity):
    if isinstance(reached, Tracer):
        return
    reached = np.asarray(reached)
    bad = np.flatnonzero(np.abs(reached / perplexity - 1) > 1e-3)
    if len(bad):
        first = bad[0]
        raise ValueError(
            f"{len(bad)} of {len(reached)} points have too many nearest points at one distance for "
            f"a perplexity of {perplexity:g}; point {first} has {reached[first]:.3g} neighbours at "
            f"least. Leave copies out, or choose a perplexity above {math.ceil(reached[bad].max())}"
        )
