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
the attraction of a pair:

    ∂KL/∂y_i = 4 Σ_j (p_ij r_ij − R s_ij) κ_ij (y_i − y_j),    R = Σ_{k≠l} p_kl r_kl,

where κ = −∂ log w / ∂d is 1 or w. Both are exact sums over all pairs.

Below, `positions` are N map points in K dimensions, `p` is symmetric, 0 on the diagonal and of sum
1, `background` is λ, `kernel` one of `KERNELS`, and `block` the number of points whose pairs are in
memory at a time.

References: those of `dbn_jax.embedding.sne`.
"""

import jax
import jax.numpy as jnp

from dbn_jax.compilation import jit
from dbn_jax.embedding import pairwise
from dbn_jax.typing import Array, Float

KERNELS = ("gaussian", "student")


@jit(static_argnames=("kernel", "block"))
def divergence(
    positions: Float[Array, "N K"],
    p: Float[Array, "N N"],
    background: float | Float[Array, ""] = 0.0,
    *,
    kernel: str,
    block: int = pairwise.BLOCK,
) -> Float[Array, ""]:
    """KL(P ‖ Q) in nats."""
    n = len(p)
    background = jnp.asarray(background, p.dtype)
    log_total = jnp.log(_total(positions, kernel, block))

    def of_point(i):
        distances = _distances(positions, i)
        log_w = -distances if kernel == "gaussian" else -jnp.log1p(distances)
        # In logarithms nothing underflows, however far apart the points of a pair are.
        log_q = jnp.logaddexp(
            jnp.log1p(-background) + log_w - log_total, jnp.log(background / (n * (n - 1)))
        )
        has_any = p[i] > 0
        log_p = jnp.log(jnp.where(has_any, p[i], 1))
        return jnp.sum(p[i] * (log_p - jnp.where(has_any, log_q, 0)))

    return jnp.sum(jax.lax.map(of_point, jnp.arange(n), batch_size=block))


@jit(static_argnames=("kernel", "block"))
def gradient(
    positions: Float[Array, "N K"],
    p: Float[Array, "N N"],
    background: float | Float[Array, ""] = 0.0,
    *,
    kernel: str,
    exaggeration: float | Float[Array, ""] = 1.0,
    block: int = pairwise.BLOCK,
) -> Float[Array, "N K"]:
    """∂ divergence / ∂ positions, exact; no gradient if the attraction is exaggerated."""
    n, dtype = len(p), p.dtype
    background = jnp.asarray(background, dtype)
    # The background's part of a pair's probability, in the kernel's unit. Z is needed before the
    # attraction, which costs a pass over all pairs; not without a background.
    rival = jax.lax.cond(
        background > 0,
        lambda: background / ((1 - background) * n * (n - 1)) * _total(positions, kernel, block),
        lambda: jnp.zeros((), dtype),
    )

    def pull(i, weights):
        # Summed differences: y_i Σ c_ij − Σ c_ij y_j would cancel where clusters are far out.
        return jnp.stack([jnp.sum(weights * (y[i] - y)) for y in positions.T])

    def forces(i):
        w = _kernel(positions, i, kernel)
        kappa = 1 if kernel == "gaussian" else w
        attraction = p[i] * jnp.where(rival > 0, w / (w + rival), 1)
        sums = jnp.sum(attraction), jnp.sum(w)
        return pull(i, attraction * kappa), pull(i, w * kappa), *sums

    attracted, repelled, share_sum, w_sum = jax.lax.map(forces, jnp.arange(n), batch_size=block)
    ratio = jnp.sum(share_sum) / jnp.sum(w_sum)  # R / Z
    return 4 * (exaggeration * attracted - ratio * repelled)


def _distances(positions, i):
    """(N,) squared distances of a map point to all, from differences."""
    return sum((positions[i, k] - positions[:, k]) ** 2 for k in range(positions.shape[1]))


def _kernel(positions, i, kernel):
    """(N,) w of a map point and all; 0 for itself."""
    distances = _distances(positions, i)
    w = jnp.exp(-distances) if kernel == "gaussian" else 1 / (1 + distances)
    return jnp.where(jnp.arange(len(positions)) == i, 0, w)


def _total(positions, kernel, block):
    """Z, a pass over all pairs."""
    sums = jax.lax.map(
        lambda i: jnp.sum(_kernel(positions, i, kernel)),
        jnp.arange(len(positions)),
        batch_size=block,
    )
    return jnp.sum(sums)
