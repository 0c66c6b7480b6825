"""The partition function by enumeration, and likelihoods.

log Z = log Σ_v exp(−F(v)) = log Σ_h exp(−U_h(h) + A_v(W s_h(h))): only one layer has to be
enumerated, whichever has fewer states.
"""

import functools
import math

import jax
import jax.numpy as jnp

from dbn_jax import rbm
from dbn_jax.shapes import Array, Float

MAX_STATES = 2**25
_BLOCK = 2**12


@functools.partial(jax.jit, inline=True)
def exact_log_partition(params: rbm.RBM) -> Float[Array, ""]:
    """log Z by enumerating the layer with fewer states, block by block.

    Differentiable: the gradient is the exact model expectation that learning needs.

    Args:
      params: an RBM of which one layer has at most `MAX_STATES` states (25 binary units).

    Returns:
      log Z, in nats.

    Raises:
      ValueError: neither layer can be enumerated; the cost is named.
    """
    num_visible_states = _num_states(params.visible)
    num_hidden_states = _num_states(params.hidden)
    num_states = min(num_visible_states, num_hidden_states)
    if num_states > MAX_STATES:
        raise ValueError(
            f"exact enumeration is limited to {MAX_STATES:.3g} states, and the smaller layer of "
            f"this RBM has {num_states:.3g}; estimate log Z by sampling instead"
        )

    def log_weight(index):
        if num_visible_states < num_hidden_states:
            return -rbm.free_energy(params, params.visible.states(index))
        h = params.hidden.states(index)
        return params.visible.cumulant(rbm.visible_inputs(params, h)) - params.hidden.energy(h)

    block = min(_BLOCK, num_states)

    @jax.checkpoint  # the backward pass enumerates again instead of storing every state
    def add_block(log_z, start):
        index = start + jnp.arange(block)
        weights = jnp.where(index < num_states, log_weight(index), -jnp.inf)
        return jnp.logaddexp(log_z, jax.nn.logsumexp(weights)), None

    first = jax.nn.logsumexp(log_weight(jnp.arange(block)))
    return jax.lax.scan(add_block, first, jnp.arange(block, num_states, block))[0]


def log_likelihood(
    params: rbm.RBM, v: Float[Array, "*batch V"], log_z: Float[Array, ""]
) -> Float[Array, "*batch"]:
    """log p(v) = −F(v) − log Z, in nats: (..., V) -> (...)."""
    return -rbm.free_energy(params, v) - log_z


def _num_states(side):
    try:
        return side.num_states
    except TypeError:
        return math.inf
