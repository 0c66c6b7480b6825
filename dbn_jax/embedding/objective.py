"""The objective of a map of points, KL(P ‖ Q), and its gradient.

The neighbours of each map point y_i should be those of the point x_i, whose probabilities p_ij come
from `dbn_jax.embedding.affinities`. With the kernel w_ij of a pair's squared distance d_ij in the
map,

    exp(−d_ij)  (SNE, UNI-SNE)    or    1 / (1 + d_ij)  (t-SNE),

Z = Σ_{k≠l} w_kl and s_ij = w_ij / Z, the map's own probabilities are mixed with a background,

    q_ij = (1 − λ) s_ij + λ / (N(N − 1)),

and KL(P ‖ Q) = Σ_{i≠j} p_ij log(p_ij / q_ij). Sums are over ordered pairs; over unordered pairs,
of which each has twice the probability, the background is λ · 2 / (N(N − 1)) and the divergence the
same. The share of q_ij that does not come from the background, r_ij = (1 − λ) s_ij / q_ij, weights
the attraction of a pair; all pairs repel each other by the slope of the potential
φ_i = Σ_{j≠i} w_ij, of which Z is the sum:

    ∂KL/∂y_i = 4 Σ_j p_ij r_ij κ_ij (y_i − y_j) + 2 R/Z ∂φ_i/∂y_i,    R = Σ_{k≠l} p_kl r_kl,

where κ = −∂ log w / ∂d is 1 or w. The attraction is summed over the pairs that `p` has, all or near
ones. With all, the potential is an exact sum over all pairs too. With near ones it comes from a
grid (`dbn_jax.embedding.grid`), so that time and memory grow as N log N.

Below, `positions` are N map points in K dimensions (2 on a grid), `p` is symmetric, 0 on the
diagonal and of sum 1, `background` is λ, `kernel` one of `KERNELS`, and `block` the number of
points whose pairs are in memory at a time.

References: those of `dbn_jax.embedding.sne`.
"""

import functools
import operator
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dbn_jax import precision
from dbn_jax.compilation import jit
from dbn_jax.embedding import affinities, grid, pairwise
from dbn_jax.embedding.affinities import NearProbabilities
from dbn_jax.typing import Array, Float

Probabilities = Float[Array, "N N"] | NearProbabilities


class Kernel(NamedTuple):
    """A kernel w as functions of the squared distance."""

    w: Callable[[Array], Array]
    log_w: Callable[[Array], Array]  # where w is 0 in float32, too
    excess: Callable[[Array], Array]  # w − 1, exact near 0
    kappa: Callable[[Array], Array]  # of w, not of the distance


KERNELS = {
    "gaussian": Kernel(
        lambda d: jnp.exp(-d), lambda d: -d, lambda d: jnp.expm1(-d), lambda w: jnp.ones_like(w)
    ),
    "student": Kernel(
        lambda d: 1 / (1 + d), lambda d: -jnp.log1p(d), lambda d: -d / (1 + d), lambda w: w
    ),
}


@jit(static_argnames=("kernel", "block"))
@precision.full
def divergence(
    positions: Float[Array, "N K"],
    p: Probabilities,
    background: float | Float[Array, ""] = 0.0,
    *,
    kernel: str,
    block: int = pairwise.BLOCK,
) -> Float[Array, ""]:
    """KL(P ‖ Q) in nats."""
    num_pairs = float(len(positions) * (len(positions) - 1))  # as an integer it may not fit
    background = jnp.asarray(background, positions.dtype)
    potentials, _ = _potential(positions, p, kernel, block)
    log_total = jnp.log(jnp.sum(potentials))

    def of_pairs(values, differences):
        log_w = KERNELS[kernel].log_w(_squared(differences))
        # In logarithms nothing underflows, however far apart the points of a pair are.
        log_q = jnp.logaddexp(
            jnp.log1p(-background) + log_w - log_total, jnp.log(background / num_pairs)
        )
        has_any = values > 0
        log_p = jnp.log(jnp.where(has_any, values, 1))
        return jnp.sum(values * (log_p - jnp.where(has_any, log_q, 0)), axis=-1)

    return jnp.sum(_over_pairs(of_pairs, positions, p, block))


@jit(static_argnames=("kernel", "block"))
@precision.full
def gradient(
    positions: Float[Array, "N K"],
    p: Probabilities,
    background: float | Float[Array, ""] = 0.0,
    *,
    kernel: str,
    exaggeration: float | Float[Array, ""] = 1.0,
    block: int = pairwise.BLOCK,
) -> Float[Array, "N K"]:
    """∂ divergence / ∂ positions; no gradient if the attraction is exaggerated."""
    num_pairs = float(len(positions) * (len(positions) - 1))  # as an integer it may not fit
    background = jnp.asarray(background, positions.dtype)
    potentials, slope = _potential(positions, p, kernel, block)
    total = jnp.sum(potentials)
    # The background's part of a pair's probability, in the kernel's unit.
    rival = background / ((1 - background) * num_pairs) * total
    w_of, _, _, kappa_of = KERNELS[kernel]

    def attraction(values, differences):
        w = w_of(_squared(differences))
        # Without a background all of it is the map's own, where w is 0 in float32, too.
        drawn = values * jnp.where(rival > 0, w / (w + rival), 1)
        pull = drawn * kappa_of(w)
        return jnp.sum(drawn, axis=-1), *(jnp.sum(pull * d, axis=-1) for d in differences)

    share, *pulls = _over_pairs(attraction, positions, p, block)
    return 4 * exaggeration * jnp.stack(pulls, axis=-1) + 2 * jnp.sum(share) / total * slope


def potential(
    targets: Float[Array, "M 2"], sources: Float[Array, "N 2"], kernel: str
) -> tuple[Float[Array, " M"], Float[Array, "M 2"]]:
    """Σ_j w(|y_i − y_j|²) of each target, over all sources, and its slope; by a grid."""
    functions = KERNELS[kernel]

    def of_all_pairs(targets, sources):  # on a map that is too large for grids
        return _sums(targets, sources, functions, pairwise.BLOCK, are_same=False)

    return grid.potential(targets, sources, functions.w, functions.excess, of_all_pairs)


def _potential(positions, p, kernel, block):
    """φ of the map points, and its slope: as exact as P."""
    if isinstance(p, NearProbabilities):
        with_itself, slope = potential(positions, positions, kernel)
        return with_itself - 1, slope
    return _sums(positions, positions, KERNELS[kernel], block, are_same=True)


def _sums(targets, sources, kernel, block, *, are_same):
    """The potential and its slope as sums over all pairs; a point is no pair with itself."""
    numbers = jnp.arange(len(sources))

    def of_target(i):
        differences = [y[i] - z for y, z in zip(targets.T, sources.T, strict=True)]
        w = kernel.w(_squared(differences))
        w = jnp.where(numbers == i, 0, w) if are_same else w
        weighted = -2 * w * kernel.kappa(w)
        return jnp.sum(w), jnp.stack([jnp.sum(weighted * d) for d in differences])

    return jax.lax.map(of_target, jnp.arange(len(targets)), batch_size=block)


def _over_pairs(function, positions, p, block):
    """What `function` of the probabilities and differences of a point's pairs gives, summed."""
    if not isinstance(p, NearProbabilities):

        def of_point(i):
            return function(p[i], [y[i] - y for y in positions.T])

        return jax.lax.map(of_point, jnp.arange(len(p)), batch_size=block)

    def of_rows(rows):
        own, near = ([y[index] for y in positions.T] for index in (rows.points, rows.neighbours))
        return function(rows.values, [y[:, None] - z for y, z in zip(own, near, strict=True)])

    blocks = jax.tree.map(lambda a: a.reshape(-1, affinities.BLOCK, *a.shape[1:]), p)
    sums = jax.lax.map(of_rows, blocks)
    zeros = jnp.zeros(len(positions), positions.dtype)
    return jax.tree.map(
        lambda x: zeros.at[p.points].add(x.reshape(-1), indices_are_sorted=True), sums
    )


def _squared(differences):
    """Squared distances of pairs."""
    return functools.reduce(operator.add, (d**2 for d in differences))
