"""Partition functions by enumeration, and likelihoods.

log Z = log Σ_v exp(−F(v)) = log Σ_h exp(−U_h(h) + A_v(W s_h(h))): only one layer has to be
enumerated, whichever has fewer states. All results are in nats and in single precision at least,
whatever the parameters are.
"""

import math

import jax
import jax.numpy as jnp

from dbn_jax import numerics, precision, rbm
from dbn_jax.compilation import jit
from dbn_jax.typing import AnyArray, Array, Float

MAX_STATES = 2**25  # of 25 binary units
_BLOCK = 2**12


@jit
@precision.full
def exact_log_partition(params: rbm.RBM) -> Float[Array, ""]:
    """log Z by enumerating the layer with fewer states, block by block; at most `MAX_STATES`.

    Differentiable: the gradient is the exact model expectation that learning needs.
    """
    params = numerics.widen(params)
    num_visible_states, num_hidden_states = map(_num_states, (params.visible, params.hidden))
    num_states = min(num_visible_states, num_hidden_states)
    _check(num_states)

    def log_weight(index):
        if num_visible_states < num_hidden_states:
            return -rbm.free_energy(params, params.visible.states(index))
        h = params.hidden.states(index)
        return params.visible.cumulant(rbm.visible_inputs(params, h)) - params.hidden.energy(h)

    block = min(_BLOCK, num_states)

    @jax.checkpoint  # the backward pass enumerates again instead of storing every state
    def log_sum(start):
        index = start + jnp.arange(block)
        return jax.nn.logsumexp(jnp.where(index < num_states, log_weight(index), -jnp.inf))

    # All blocks are summed at once: added one after the other to a large log Z they would be
    # rounded each time, which adds up to a tenth of a nat.
    return jax.nn.logsumexp(jax.lax.map(log_sum, jnp.arange(0, num_states, block)))


@jit
def log_likelihood(
    params: rbm.RBM, v: Float[AnyArray, "*batch V"], log_z: Float[Array, "..."]
) -> Float[Array, "*batch"]:
    """log p(v) = −F(v) − log Z.

    `log_z` is one number, or one for each example, as `annealing.reverse_ais` gives.
    """
    params = numerics.widen(params)
    free_energy = rbm.free_energy(params, v)
    return -free_energy - log_z.astype(free_energy.dtype)


def _num_states(side):
    try:
        return side.num_states
    except TypeError:
        return math.inf


def _check(num_states):
    if num_states > MAX_STATES:
        many = "infinitely many" if num_states == math.inf else f"2^{math.log2(num_states):.3g}"
        raise ValueError(
            f"exact enumeration is limited to 2^{math.log2(MAX_STATES):.3g} states, and the "
            f"smaller layer of this RBM has {many}; estimate log Z with `ais`, and learn by CD or "
            "PCD"
        )
