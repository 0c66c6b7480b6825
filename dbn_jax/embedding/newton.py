"""Many penalised logistic regressions on the same features, by Newton's method in blocks.

Each of R regressions maximises, over its own coefficients c,

    f(c) = Σ_m [t_m θ_m − log(1 + exp θ_m)] − ½ Σ_k ridge_k c_k²,    θ = offset + features c,

which is strictly concave as long as every ridge is positive, so that it has one maximum. A Newton
step is halved until f does not fall. The curvatures of a whole block of regressions are a single
matrix product, of the variances of the targets with the products of all pairs of features.

Shapes: M observations, K features, R regressions.

Reference: McCullagh, Nelder, "Generalized linear models" (1989), sections 2.5 and 4.4.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import numerics
from dbn_jax.typing import Array, Float

# Numbers in a block of targets: 16 MB in float32.
_BLOCK = 2**22
# A step this small that still does not raise f is lost in rounding.
_SMALLEST_STEP = 2.0**-30


def climb(
    features: Float[Array, "M K"],
    targets: Float[Array, "R M"],
    coefficients: Float[Array, "R K"],
    *,
    offset: Float[Array, " M"],
    ridge: Float[Array, " K"],
) -> tuple[Float[Array, "R K"], Float[Array, " R"]]:
    """Makes one Newton step in every regression.

    Args:
      features: (M, K).
      targets: (R, M) in [0, 1].
      coefficients: (R, K).
      offset: (M,).
      ridge: (K,) positive.

    Returns:
      The coefficients (R, K), with which no f is lower than before, to rounding; and their
      log-likelihoods (R,), which are f without the penalty, in nats.
    """

    def step(row):
        return _newton_step(features, pairs, row[0], offset, ridge, row[1])[:2]

    with jax.default_matmul_precision("highest"):
        pairs = _pairs(features)
        return jax.lax.map(step, (targets, coefficients), batch_size=_rows_per_block(targets))


def solve(
    features: Float[Array, "M K"],
    targets: Float[Array, "R M"],
    *,
    offset: Float[Array, " M"],
    ridge: Float[Array, " K"],
    tolerance: float | Float[Array, ""],
    max_iterations: int | Array,
) -> Float[Array, "R K"]:
    """Finds the maximum of every regression, from zero on.

    Args:
      features: (M, K).
      targets: (R, M) in [0, 1].
      offset: (M,).
      ridge: (K,) positive.
      tolerance: a regression is done after a step that promised less than this, in nats; as the
        steps converge quadratically, the next one would gain far less.
      max_iterations: steps at most.

    Returns:
      The coefficients, (R, K).
    """

    def maximum(row):
        def unfinished(state):
            _, gain, iterations = state
            return (gain > tolerance) & (iterations < max_iterations)

        def step(state):
            c, _, iterations = state
            c, _, gain = _newton_step(features, pairs, row, offset, ridge, c)
            return c, gain, iterations + 1

        start = jnp.zeros_like(ridge), jnp.full((), jnp.inf, row.dtype), 0
        return jax.lax.while_loop(unfinished, step, start)[0]

    with jax.default_matmul_precision("highest"):
        pairs = _pairs(features)
        return jax.lax.map(maximum, targets, batch_size=_rows_per_block(targets))


def _newton_step(features, pairs, targets, offset, ridge, c):
    """One step of one regression.

    Returns:
      Coefficients (K,), their log-likelihood (), and what the whole step should gain by Newton's
      quadratic model of f, half the squared Newton decrement ().
    """

    def f(theta, c):
        return jnp.sum(targets * theta - numerics.softplus(theta)) - jnp.sum(ridge * c**2) / 2

    theta = offset + features @ c
    p = jax.nn.sigmoid(theta)
    gradient = (targets - p) @ features - ridge * c
    curvature = _symmetric((p * (1 - p)) @ pairs, len(ridge)) + jnp.diag(ridge)
    direction = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(curvature), gradient)
    change = features @ direction
    before = f(theta, c)
    # Equal up to rounding counts as no fall: near the maximum nothing else is left of a step.
    least = before - 8 * jnp.finfo(before.dtype).eps * jnp.abs(before)

    def falls(state):
        length, after = state
        return ~(after >= least) & (length > _SMALLEST_STEP)

    def halve(state):
        length = state[0] / 2
        return length, f(theta + length * change, c + length * direction)

    whole = jnp.ones_like(before), f(theta + change, c + direction)
    length, after = jax.lax.while_loop(falls, halve, whole)
    improved = after >= least
    c = jnp.where(improved, c + length * direction, c)
    after = jnp.where(improved, after, before)
    return c, after + jnp.sum(ridge * c**2) / 2, gradient @ direction / 2


def _rows_per_block(targets):
    return max(1, _BLOCK // targets.shape[1])


def _pairs(features):
    """Products of all pairs of features, each pair once: (M, K) -> (M, K(K+1)/2)."""
    rows, columns = np.triu_indices(features.shape[1])
    return features[:, rows] * features[:, columns]


def _symmetric(packed, size):
    """Undoes the packing of `_pairs`: (K(K+1)/2,) -> (K, K)."""
    rows, columns = np.triu_indices(size)
    place = np.zeros((size, size), int)
    place[rows, columns] = place[columns, rows] = np.arange(len(rows))
    return packed[place]
