"""log p of sequences, frame by frame: exact, or by annealed importance sampling.

log p(v_1, …, v_T) is the sum over the frames. Published figures in nats per time step are the sum
over all sequences divided by the number of all frames, which is not the mean over sequences of
their means.

The memory of a TRBM is drawn at random: exp of the sum is an unbiased estimate of the probability,
so that the sum itself is too low on average; less so the log of the mean of exp over several keys.
"""

import jax
import jax.numpy as jnp

from dbn_jax import numerics, precision, random, rbm
from dbn_jax.compilation import jit
from dbn_jax.likelihood import annealing, partition
from dbn_jax.temporal.base import Memory, TemporalRBM, recall
from dbn_jax.typing import Array, Float, Key


@jit
@precision.full
def log_probs(
    key: Key[Array, ""], model: TemporalRBM, v: Float[Array, "T V"], memory: Memory = None
) -> Float[Array, " T"]:
    """log p(v_t | frames before), exact, for models whose frames can be enumerated."""
    memories, _ = recall(key, model, v, memory)

    def one(memory, v):
        params = model.frame(memory)
        return partition.log_likelihood(params, v, partition.exact_log_partition(params))

    return jax.vmap(one)(memories, rbm.as_visible(model.rbm, v))


@jit(static_argnames=("num_chains",))
@precision.full
def ais_log_probs(
    key: Key[Array, ""],
    model: TemporalRBM,
    memories: Memory,
    v: Float[Array, "frames V"],
    *,
    betas: Float[Array, " steps_and_one"],
    num_chains: int,
) -> tuple[Float[Array, " frames"], Float[Array, " frames"], Float[Array, " frames"]]:
    """log p of frames given their memories, estimated from both sides.

    Each frame has its own annealing, from its own visible biases. Errors of frames are independent.

    Returns:
      log p by `annealing.ais`, which flatters on average, and its standard errors; and log p by
      `annealing.reverse_ais` of the frame itself, which is too low on average.
    """

    def one(key, memory, v):
        params = model.frame(memory)
        forward_key, reverse_key = random.split(key)
        estimate = annealing.ais(forward_key, params, betas=betas, num_chains=num_chains)
        copies = jnp.broadcast_to(v, (num_chains, *v.shape))
        reverse = annealing.reverse_ais(reverse_key, params, copies, betas=betas)
        # Σ over the chains before the logarithm: each exp(−r) is an unbiased 1/Z times p's ratio.
        lower = jax.nn.logsumexp(-reverse) - jnp.log(jnp.asarray(num_chains, reverse.dtype))
        free_energy = rbm.free_energy(numerics.widen(params), numerics.widen(v))
        return -free_energy - estimate.log_z, estimate.standard_error, -free_energy + lower

    v = rbm.as_visible(model.rbm, v)
    return jax.vmap(one)(random.split(key, len(v)), memories, v)
