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
FEW_STATES = 2**20  # enumerated within seconds
_BLOCK = 2**12


@jit
@precision.full
def exact_log_partition(params: rbm.RBM) -> Float[Array, ""]:
    """log Z by enumerating the layer with fewer states, block by block; at most `MAX_STATES`.

    Differentiable: the gradient is the exact model expectation that learning needs.
    """
    params = numerics.widen(params)
    count = num_states(params)
    _check(count)

    def log_weight(index):
        if _num_states(params.visible) < _num_states(params.hidden):
            return -rbm.free_energy(params, params.visible.states(index))
        h = params.hidden.states(index)
        return params.visible.cumulant(rbm.visible_inputs(params, h)) - params.hidden.energy(h)

    block = min(_BLOCK, count)

    @jax.checkpoint  # the backward pass enumerates again instead of storing every state
    def log_sum(start):
        index = start + jnp.arange(block)
        return jax.nn.logsumexp(jnp.where(index < count, log_weight(index), -jnp.inf))

    # All blocks are summed at once: added one after the other to a large log Z they would be
    # rounded each time, which adds up to a tenth of a nat.
    return jax.nn.logsumexp(jax.lax.map(log_sum, jnp.arange(0, count, block)))


def num_states(params: rbm.RBM) -> int | float:
    """Number of states of the layer that has fewer, which `exact_log_partition` enumerates."""
    return min(map(_num_states, (params.visible, params.hidden)))


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


def _check(count):
    if count > MAX_STATES:
        many = "infinitely many" if count == math.inf else f"2^{math.log2(count):.3g}"
        raise ValueError(
            f"exact enumeration is limited to 2^{math.log2(MAX_STATES):.3g} states, and the "
            f"smaller layer of this RBM has {many}; estimate log Z with `ais`, and learn by CD or "
            "PCD"
        )
