"""Many penalised logistic regressions on the same features, by Newton's method in blocks.

Each of R regressions maximises, over its own coefficients c,

    f(c) = Σ_m [t_m θ_m − log(1 + exp θ_m)] − ½ Σ_k ridge_k c_k²,    θ = offset + features c,

which is strictly concave as long as every ridge is positive, so that it has one maximum. A Newton
step is halved until f does not fall. The curvatures of a whole block of regressions are a single
matrix product, of the variances of the targets with the products of all pairs of features.

Shapes: M observations, K features, R regressions. Targets lie in [0, 1]; ridges are positive.

Reference: McCullagh, Nelder, "Generalized linear models" (1989), sections 2.5 and 4.4.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import numerics, precision
from dbn_jax.compilation import jit
from dbn_jax.typing import Array, Float

# Numbers in a block of targets: 16 MB in float32.
_BLOCK = 2**22
# A step this small that still does not raise f is lost in rounding.
_SMALLEST_STEP = 2.0**-30


@jit
@precision.full
def solve(
    features: Float[Array, "M K"],
    targets: Float[Array, "R M"],
    start: Float[Array, "R K"],
    *,
    offset: Float[Array, " M"],
    ridge: Float[Array, " K"],
    tolerance: float | Float[Array, ""] = 0.0,
    max_iterations: int | Array,
) -> tuple[Float[Array, "R K"], Float[Array, " R"]]:
    """Makes Newton steps in every regression, towards its maximum.

    A regression is done after a step whose predicted gain was less than the tolerance, in nats; as
    the steps converge quadratically, the next one would gain far less.

    Returns:
      The coefficients, for which no f is lower than at the start, up to rounding; and their
      log-likelihoods, which are f without the penalty, in nats.
    """

    def of_one(row):
        targets, start = row

        def is_unfinished(state):
            _, _, gain, iterations = state
            return (gain > tolerance) & (iterations < max_iterations)

        def step(state):
            c, *_, iterations = state
            return *_newton_step(features, pairs, targets, offset, ridge, c), iterations + 1

        unknown = jnp.full((), jnp.inf, start.dtype)
        return jax.lax.while_loop(is_unfinished, step, (start, -unknown, unknown, 0))[:2]

    pairs = _pairs(features)
    rows = max(1, _BLOCK // targets.shape[1])
    return jax.lax.map(of_one, (targets, start), batch_size=rows)


def _newton_step(features, pairs, targets, offset, ridge, c):
    """One step of one regression, from coefficients c.

    Coefficients, their log-likelihood, and what the whole step should gain by Newton's quadratic
    model of f, half the squared Newton decrement.
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
