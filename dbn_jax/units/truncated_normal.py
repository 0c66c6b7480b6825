"""The normal distribution N(m, 1) cut off below 0: log norm, mean and sampler, for any m.

With density exp(m x − x²/2)/Z on x ≥ 0 it is one rectified linear unit with input m (`units.ReLU`).
All functions work element by element, in float32 or float64.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr, ndtri

from dbn_jax import numerics, random

# Left of this m, log Φ cancels against m²/2 in float32, and a continued fraction takes over.
_TAIL = -5.0


def _tail_mean(m):
    """Mean for m <= _TAIL: 1/(t + 2/(t + 3/(t + …))), t = −m (Abramowitz and Stegun 26.2.14)."""
    t = -m
    fraction = t
    for i in range(24, 1, -1):
        fraction = t + i / fraction
    return 1 / fraction


def _tail_hazard(m):
    """Density over survival at 0, φ(m)/Φ(m), for m <= _TAIL; minus its log is `cumulant`."""
    return _tail_mean(m) - m


def _parts(m):
    """m where the formula of the body holds, and where that of the tail does; elsewhere _TAIL."""
    # Not maximum and minimum, which share the derivative of a tie between their arguments.
    return jnp.where(m > _TAIL, m, _TAIL), jnp.where(m > _TAIL, _TAIL, m)


def mean(m):
    """E[x] = m + φ(m)/Φ(m)."""
    body, tail = _parts(m)
    body_mean = body + jnp.exp(-0.5 * body * body - numerics.HALF_LOG_2PI - log_ndtr(body))
    return jnp.where(m > _TAIL, body_mean, _tail_mean(tail))


@jax.custom_jvp
def cumulant(m):
    """log ∫₀^∞ exp(m x − x²/2) dx."""
    body, tail = _parts(m)
    body_value = 0.5 * body * body + log_ndtr(body) + numerics.HALF_LOG_2PI
    return jnp.where(m > _TAIL, body_value, -jnp.log(_tail_hazard(tail)))


@cumulant.defjvp
def _cumulant_jvp(primals, tangents):
    (m,), (m_dot,) = primals, tangents
    return cumulant(m), mean(m) * m_dot


def sample(key, m):
    """Inverts the survival function; in the tail by Newton's method on its logarithm."""
    u = (1 - random.uniform(key, m.shape)).astype(m.dtype)  # on (0, 1]
    body, tail = _parts(m)
    # Below 1, the survival of minus infinity: x would be 0, however large m is.
    survival = jnp.minimum(u * jnp.exp(log_ndtr(body)), 1 - jnp.finfo(m.dtype).epsneg)
    body_sample = body - ndtri(survival)
    # Start where exp(−x²/2 + m x) alone would have the survival u.
    log_u = jnp.log(u)
    x = -2 * log_u / (jnp.sqrt(tail * tail - 2 * log_u) - tail)
    log_first = jnp.log(_tail_hazard(tail))
    for _ in range(3):
        hazard = _tail_hazard(tail - x)
        excess = x * (tail - 0.5 * x) - jnp.log(hazard) + log_first - log_u
        x = x + excess / hazard
    return jnp.maximum(jnp.where(m > _TAIL, body_sample, x), 0)
