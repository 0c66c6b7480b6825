"""How far a map is from the neighbours that its points shall have: KL(P ‖ Q), and its gradient.

Map points y_i shall have the neighbours that the points x_i have, whose probabilities p_ij come
from `dbn_jax.affinities`. With the kernel w_ij of a pair's squared distance d_ij in the map,

    exp(−d_ij)  (SNE, UNI-SNE)    or    1 / (1 + d_ij)  (t-SNE),

Z = Σ_{k≠l} w_kl and s_ij = w_ij / Z, the map's own probabilities are mixed with a background,

    q_ij = (1 − λ) s_ij + λ / (N(N − 1)),

and KL(P ‖ Q) = Σ_{i≠j} p_ij log(p_ij / q_ij). Sums are over ordered pairs; over unordered pairs,
of which each has twice the probability, the background is λ · 2 / (N(N − 1)) and the objective the
same. What a pair owes to the map alone, r_ij = (1 − λ) s_ij / q_ij, weighs its attraction:

    ∂KL/∂y_i = 4 Σ_j (p_ij r_ij − R s_ij) κ_ij (y_i − y_j),    R = Σ_{k≠l} p_kl r_kl,

where κ = −∂ log w / ∂d is 1 or w. Both are exact sums over all pairs, in blocks of bounded memory.

References: Hinton, Roweis, "Stochastic neighbor embedding" (2002); Cook, Sutskever, Mnih, Hinton,
"Visualizing similarity data with a mixture of maps" (2007), for the background; van der Maaten,
Hinton, "Visualizing data using t-SNE" (2008).
"""

import functools

import jax
import jax.numpy as jnp

from dbn_jax.embedding import pairwise
from dbn_jax.typing import Array, Float

KERNELS = ("gaussian", "student")


@functools.partial(jax.jit, static_argnames=("kernel", "block"))
def objective(
    positions: Float[Array, "N K"],
    p: Float[Array, "N N"],
    background: float | Float[Array, ""] = 0.0,
    *,
    kernel: str,
    block: int = pairwise.BLOCK,
) -> Float[Array, ""]:
    """KL(P ‖ Q) in nats: (N, K), (N, N) -> ().

    Args:
      positions: (N, K) map points.
      p: (N, N), symmetric, 0 on the diagonal, of sum 1.
      background: λ.
      kernel: one of `KERNELS`.
      block: rows at a time.
    """
    n, dtype = len(p), p.dtype
    background = jnp.asarray(background, dtype)
    log_total = jnp.log(_total(positions, kernel, block))

    def divergence(start):
        distances = _distances(positions, start, block)
        log_w = -distances if kernel == "gaussian" else -jnp.log1p(distances)
        # In logarithms nothing underflows, however far apart the points of a pair are.
        log_q = jnp.logaddexp(
            jnp.log1p(-background) + log_w - log_total, jnp.log(background / (n * (n - 1)))
        )
        rows = pairwise.rows_of(p, start, block)
        has_any = rows > 0
        terms = rows * (jnp.log(jnp.where(has_any, rows, 1)) - jnp.where(has_any, log_q, 0))
        return jnp.sum(terms, axis=1)

    return jnp.sum(pairwise.by_rows(divergence, n, block))


@functools.partial(jax.jit, static_argnames=("kernel", "block"))
def gradient(
    positions: Float[Array, "N K"],
    p: Float[Array, "N N"],
    background: float | Float[Array, ""] = 0.0,
    *,
    kernel: str,
    exaggeration: float | Float[Array, ""] = 1.0,
    block: int = pairwise.BLOCK,
) -> Float[Array, "N K"]:
    """∂ objective / ∂ positions, exact: (N, K), (N, N) -> (N, K).

    Args:
      positions: (N, K) map points.
      p: (N, N), symmetric, 0 on the diagonal, of sum 1.
      background: λ.
      kernel: one of `KERNELS`.
      exaggeration: factor of the attraction; with another than 1 it is no gradient.
      block: rows at a time.
    """
    n, dtype = len(p), p.dtype
    background = jnp.asarray(background, dtype)
    # The background's part of a pair's probability, in the kernel's unit. Z is needed before the
    # attraction, which costs a pass over all pairs; not without a background.
    rival = jax.lax.cond(
        background > 0,
        lambda: background / ((1 - background) * n * (n - 1)) * _total(positions, kernel, block),
        lambda: jnp.zeros((), dtype),
    )
    # The sum of c_ij (y_i − y_j) over j is y_i Σ c_ij − Σ c_ij y_j.
    extended = jnp.concatenate([positions, jnp.ones((n, 1), dtype)], axis=1)

    def pull(rows, weights):
        sums = jnp.matmul(weights, extended, precision=jax.lax.Precision.HIGHEST)
        return rows * sums[:, -1:] - sums[:, :-1], sums[:, -1]

    def forces(start):
        rows = pairwise.rows_of(positions, start, block)
        w = _kernel(positions, start, block, kernel)
        share = jnp.where(rival > 0, w / (w + rival), 1)
        attraction = pairwise.rows_of(p, start, block) * share
        if kernel == "gaussian":
            attracted, share_sum = pull(rows, attraction)
            repelled, w_sum = pull(rows, w)
        else:
            attracted, _ = pull(rows, attraction * w)
            repelled, _ = pull(rows, w * w)
            share_sum, w_sum = jnp.sum(attraction, axis=1), jnp.sum(w, axis=1)
        return attracted, repelled, share_sum, w_sum

    attracted, repelled, share_sum, w_sum = pairwise.by_rows(forces, n, block)
    ratio = jnp.sum(share_sum) / jnp.sum(w_sum)  # R / Z
    return 4 * (exaggeration * attracted - ratio * repelled)


def _distances(positions, start, block):
    """(B, N) squared distances of a block's map points to all, from differences."""
    rows = pairwise.rows_of(positions, start, block)
    differences = (
        rows[:, k][:, None] - positions[:, k][None, :] for k in range(positions.shape[1])
    )
    return sum(difference * difference for difference in differences)


def _kernel(positions, start, block, kernel):
    """(B, N) w of a block's points and all; 0 for a point and itself."""
    distances = _distances(positions, start, block)
    w = jnp.exp(-distances) if kernel == "gaussian" else 1 / (1 + distances)
    return jnp.where(pairwise.are_others(start, block, len(positions)), w, 0)


def _total(positions, kernel, block):
    """Z, a pass over all pairs."""
    sums = pairwise.by_rows(
        lambda start: jnp.sum(_kernel(positions, start, block, kernel), axis=1),
        len(positions),
        block,
    )
    return jnp.sum(sums)
