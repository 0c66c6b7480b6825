"""Factorial approximations of a distribution over the states of hidden units.

A posterior as `sbn.posterior` gives it is a table p(x) of binary states. A factorial distribution
q(x) = Π_j q_j(x_j) has one number for each unit, the probability that it is on. It approximates p
in one of two divergences:

- KL(p ‖ q) is least for the product of p's own marginals: right for each unit by itself, it gives
  probability to combinations that p excludes.
- KL(q ‖ p), the slack of a variational bound, is least for a q that keeps to one of p's modes and
  forgets the others (`best`). It need not be unique.

Below, `states` (S, N) are the states of the table, 0 and 1, p and q (S,) their probabilities, and
`on` (N,) is the probability of each unit to be on.

Reference: Saul, Jaakkola, Jordan, "Mean field theory for sigmoid belief networks" (1996).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from dbn_jax.typing import Array, Float

_ROUNDS = 100  # of coordinate descent; the divergence never rises


def marginals(states: Float[Array, "S N"], p: Float[Array, " S"]) -> Float[Array, " N"]:
    """The probability of each unit to be on."""
    return p @ states


@jax.jit
def product(states: Float[Array, "S N"], on: Float[Array, " N"]) -> Float[Array, " S"]:
    """The probability of each state under independent units."""
    on = jnp.broadcast_to(on, states.shape)
    return jnp.prod(jnp.where(states == 1, on, 1 - on), axis=-1)


@jax.jit
def divergence(q: Float[Array, " S"], p: Float[Array, " S"]) -> Float[Array, ""]:
    """KL(q ‖ p) of two distributions over the same states, nats; infinite where p excludes some."""
    return jnp.sum(jnp.where(q > 0, q * (jnp.log(jnp.where(q > 0, q, 1)) - jnp.log(p)), 0))


def best(states: Float[Array, "S N"], p: Float[Array, " S"]) -> Float[Array, " N"]:
    """The factorial q with the least KL(q ‖ p) that coordinate descent finds from near every state.

    One unit at a time gets what is best given the others,

        log q_j(1) − log q_j(0) = E_{q of others}[log p(x_j = 1, others) − log p(x_j = 0, others)].

    Args:
      states: all combinations of the units that vary; the others are the same everywhere.
      p: their probabilities, all above 0.

    Returns:
      The probability of each unit to be on; where several q are best, one of them.

    Raises:
      ValueError: a probability is known, and not above 0.
    """
    _check_positive(p)
    found, gaps = _descend(states, p, 0.1 + 0.8 * states)
    return found[jnp.argmin(gaps)]


@jax.jit
@functools.partial(jax.vmap, in_axes=(None, None, 0))
def _descend(states, p, start):
    """A minimum of the divergence near a start, and its value."""
    log_p = jnp.log(p)
    varies = jnp.any(states != states[:1], axis=0)

    def improve(t, on):
        j = t % states.shape[1]
        column = states[:, j]
        q = product(states.at[:, j].set(1), on.at[j].set(1))  # of the others
        odds = jnp.sum(q * log_p * (2 * column - 1))
        return on.at[j].set(jnp.where(varies[j], jax.nn.sigmoid(odds), column[0]))

    on = jax.lax.fori_loop(0, _ROUNDS * states.shape[1], improve, start)
    return on, divergence(product(states, on), p)


def _check_positive(p):
    if not isinstance(p, Tracer) and not (np.asarray(p) > 0).all():
        raise ValueError(
            f"the smallest probability is {np.min(p)}; all must be above 0: compute them in "
            "float64 (jax.enable_x64)"
        )
