"""How much points belong together: probabilities of pairs, by Gaussians of a given perplexity.

Point i takes point j for its neighbour with probability

    p(j | i) = exp(−β_i |x_i − x_j|²) / Σ_{k≠i} exp(−β_i |x_i − x_k|²),

its precision β_i such that the entropy is the logarithm of the perplexity, which is a smooth number
of neighbours. Of a pair, p_ij = (p(j | i) + p(i | j)) / 2N: symmetric, 0 on the diagonal, of sum 1
over all ordered pairs.

References: Hinton, Roweis, "Stochastic neighbor embedding" (2002), for the perplexity; Cook,
Sutskever, Mnih, Hinton, "Visualizing similarity data with a mixture of maps" (2007), for the
symmetric form; van der Maaten, Hinton, "Visualizing data using t-SNE" (2008), section 3.1, for its
average of the two conditional probabilities.
"""

import functools
import math
from typing import NamedTuple

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


class Neighbourhoods(NamedTuple):
    """Every point's Gaussian: p(j | i) = exp(−precision_i (d_ij − nearest_i)) / total_i.

    Attributes:
      precision: (N,) β_i, of squared distances between the points as `pairs.centred` scales them.
      nearest: (N,) squared distance to the nearest other point; with it no exponential underflows
        for all points.
      total: (N,) what normalises.
      perplexity: (N,) that was reached.
    """

    precision: Array
    nearest: Array
    total: Array
    perplexity: Array


def joint_probabilities(
    x: Float[Array, "N D"], perplexity: float = 30.0, *, block: int = pairwise.BLOCK
) -> Float[Array, "N N"]:
    """p_ij of all pairs: (N, D) -> (N, N); of 10,000 points 400 MB in float32.

    They depend on distances only, and not on their unit.

    Args:
      x: (N, D) points.
      perplexity: smooth number of neighbours, above 1, below N − 1; reached to 0.1 %.
      block: rows at a time.

    Raises:
      ValueError: points are not finite; there are too few of them for the perplexity; or some have
        so many copies of themselves that no Gaussian has so small a perplexity. (While tracing,
        values are not looked at.)
    """
    pairwise.check_points(x, "x", least=4)
    check_perplexity(perplexity, len(x))
    found = neighbourhoods(x, perplexity, block=block)
    if not isinstance(x, jax.core.Tracer):
        _check_reached(np.asarray(found.perplexity), perplexity)
    return _joint(x, found, block=block)


def check_perplexity(perplexity: float, num_points: int) -> None:
    """Raises ValueError unless so many points can have that perplexity."""
    if not 1 < perplexity < num_points - 1:
        raise ValueError(
            f"perplexity is {perplexity:g}, a number of neighbours, but each of {num_points} "
            f"points has {num_points - 1}: choose it above 1 and well below {num_points - 1}, or "
            "give more points"
        )


@functools.partial(jax.jit, static_argnames=("block",))
def neighbourhoods(
    x: Float[Array, "N D"], perplexity: float | Float[Array, ""], *, block: int = pairwise.BLOCK
) -> Neighbourhoods:
    """Finds every point's precision by bisection of its logarithm.

    Args:
      x: (N, D).
      perplexity: wanted.
      block: rows at a time.
    """
    x = pairwise.centred(x)

    def of_block(start):
        distances = pairwise.squared_distances(pairwise.rows_of(x, start, block), x)
        others = pairwise.are_others(start, block, len(x))
        return _bisect(distances, others, jnp.log(jnp.asarray(perplexity, x.dtype)))

    return pairwise.by_rows(of_block, len(x), block)


def _bisect(distances, others, wanted):
    """The precisions of some points from their distances (B, N) to all; `wanted` entropy, nats."""
    nearest = jnp.min(jnp.where(others, distances, jnp.inf), axis=1, keepdims=True)
    excess = jnp.where(others, distances - nearest, 0)
    mean = jnp.sum(excess, axis=1, keepdims=True) / (others.shape[1] - 1)
    unit = jnp.where(mean > 0, 1 / mean, 1)

    def entropy(log_precision):
        precision = jnp.exp(log_precision) * unit
        weights = jnp.where(others, jnp.exp(-precision * excess), 0)
        total = jnp.sum(weights, axis=1, keepdims=True)
        moment = jnp.sum(weights * excess, axis=1, keepdims=True)
        return precision, total, jnp.log(total) + precision * moment / total

    def is_off(found):
        return jnp.abs(found - wanted) > _TOLERANCE

    def is_not_done(carry):
        count, *_, found = carry
        return (count < _MAX_BISECTIONS) & jnp.any(is_off(found))

    def halve(carry):
        count, low, high, middle, found = carry
        # A point that is done waits for the others, and does not depend on them.
        middle = jnp.where(is_off(found), (low + high) / 2, middle)
        _, _, found = entropy(middle)
        is_wide = found > wanted  # entropy falls as the precision grows
        return (
            count + 1, jnp.where(is_wide, middle, low), jnp.where(is_wide, high, middle), middle,
            found,
        )  # fmt: skip

    low, high = (jnp.full_like(mean, end) for end in _LOG_PRECISIONS)
    start = jnp.int32(0), low, high, low, jnp.full_like(mean, jnp.inf)
    *_, log_precision, found = jax.lax.while_loop(is_not_done, halve, start)
    precision, total, _ = entropy(log_precision)
    columns = Neighbourhoods(precision, nearest, total, jnp.exp(found))
    return jax.tree.map(lambda column: column[:, 0], columns)


@functools.partial(jax.jit, static_argnames=("block",))
def _joint(x, found, *, block):
    x = pairwise.centred(x)

    def of_block(start):
        rows = [pairwise.rows_of(values, start, block)[:, None] for values in found[:3]]
        columns = [values[None, :] for values in found[:3]]
        distances = pairwise.squared_distances(pairwise.rows_of(x, start, block), x)
        p = sum(
            jnp.exp(-precision * (distances - nearest)) / total
            for precision, nearest, total in (rows, columns)
        )
        return jnp.where(pairwise.are_others(start, block, len(x)), p / (2 * len(x)), 0)

    return pairwise.by_rows(of_block, len(x), block)


def _check_reached(reached: np.ndarray, perplexity: float) -> None:
    bad = np.flatnonzero(np.abs(reached / perplexity - 1) > 1e-3)
    if len(bad):
        first = bad[0]
        raise ValueError(
            f"{len(bad)} of {len(reached)} points have too many nearest points at one distance, "
            f"such as copies of themselves, for a perplexity of {perplexity:g}; point {first} has "
            f"{reached[first]:.3g} neighbours at least. Leave copies out, or choose a perplexity "
            f"above {math.ceil(reached[bad].max())}"
        )
