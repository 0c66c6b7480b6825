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

from dbn_jax.embedding import pairwise
from dbn_jax.typing import Array, Float

# The precision in units of the inverse mean distance: from where all points are neighbours to
# where all distances that float32 can tell apart are large.
_LOG_PRECISIONS = (-20.0, 40.0)
_TOLERANCE = 1e-5  # of the entropy, nats
_MAX_BISECTIONS = 60


def joint_probabilities(
    x: Float[Array, "N D"], perplexity: float = 30.0, *, block: int = pairwise.BLOCK
) -> Float[Array, "N N"]:
    """p_ij of all pairs; they depend on the ratios of distances only.

    For 10,000 points they take 400 MB in float32, and twice that while they are computed. The
    perplexity is reached to 0.1 %; no Gaussian has so small a one at a point with many copies.
    """
    pairwise.check_points(x, "x", least=4)
    check_perplexity(perplexity, len(x))
    p, reached = conditional_probabilities(x, perplexity, block=block)
    _check_reached(reached, perplexity)
    return _symmetric(p)


@jax.jit(static_argnames="block")
def conditional_probabilities(
    x: Float[Array, "N D"], perplexity: float | Float[Array, ""], *, block: int = pairwise.BLOCK
) -> tuple[Float[Array, "N N"], Float[Array, " N"]]:
    """p(j | i) in row i and column j, and the perplexity that each row has reached.

    Finds every point's precision by bisection of its logarithm.
    """
    n = len(x)
    x = pairwise.centred(x)
    wanted = jnp.log(jnp.asarray(perplexity, x.dtype))
    low, high = (jnp.asarray(end, x.dtype) for end in _LOG_PRECISIONS)

    def of_point(i):
        is_other = jnp.arange(n) != i
        distances = pairwise.squared_distances(x[i], x)
        nearest = jnp.min(jnp.where(is_other, distances, jnp.inf))
        # From the nearest on, so that not all exponentials underflow.
        excess = jnp.where(is_other, distances - nearest, 0)
        mean = jnp.sum(excess) / (n - 1)
        unit = jnp.where(mean > 0, 1 / mean, 1)

        def gaussian(log_precision):
            precision = jnp.exp(log_precision) * unit
            weights = jnp.where(is_other, jnp.exp(-precision * excess), 0)
            total = jnp.sum(weights)
            entropy = jnp.log(total) + precision * jnp.sum(weights * excess) / total
            return weights / total, entropy

        def is_off(carry):
            count, *_, entropy = carry
            return (count < _MAX_BISECTIONS) & (jnp.abs(entropy - wanted) > _TOLERANCE)

        def halve(carry):
            count, low, high, _, _ = carry
            middle = (low + high) / 2
            _, entropy = gaussian(middle)
            is_wide = entropy > wanted  # entropy falls as the precision grows
            low, high = jnp.where(is_wide, middle, low), jnp.where(is_wide, high, middle)
            return count + 1, low, high, middle, entropy

        start = jnp.int32(0), low, high, low, jnp.full_like(mean, jnp.inf)
        *_, log_precision, entropy = jax.lax.while_loop(is_off, halve, start)
        return gaussian(log_precision)[0], jnp.exp(entropy)

    # Equal blocks: a remainder would be joined to the others by a copy of all rows.
    block = next(size for size in range(min(block, n), 0, -1) if n % size == 0)
    return jax.lax.map(of_point, jnp.arange(n), batch_size=block)


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
    if isinstance(reached, jax.core.Tracer):
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
