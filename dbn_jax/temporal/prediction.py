"""What a model expects, and what it makes up: prediction, filling in, dreams.

No function here looks ahead: frame t is a function of frames before it, and of what is known of
itself where it is filled in. Chains start at the frame before (Boulanger-Lewandowski et al. 2012),
the first at the mean of the visible biases.
"""

import jax
import jax.numpy as jnp

from dbn_jax import clamping, random, rbm
from dbn_jax.compilation import jit
from dbn_jax.temporal.base import Memory, TemporalRBM, recall
from dbn_jax.typing import Array, Bool, Float, Key


@jit(static_argnames=("num_steps", "num_chains", "mean_field"))
def predict(
    key: Key[Array, ""],
    model: TemporalRBM,
    v: Float[Array, "T V"],
    *,
    num_steps: int = 50,
    num_chains: int = 1,
    mean_field: bool = False,
    memory: Memory = None,
) -> Float[Array, "T V"]:
    """The expectation of each frame given those before it.

    By Gibbs sampling, as published: the last visible means, averaged over the chains. Or by mean
    field, which is deterministic: each layer's means given the other's, over and over.
    """
    recall_key, chain_key = random.split(key)
    v = rbm.as_visible(model.rbm, v)
    memories, _ = recall(recall_key, model, v, memory)

    def one(key, memory, last, is_first):
        params = model.frame(memory)
        start = jnp.where(is_first, blank(params), last)
        if mean_field:
            return jax.lax.fori_loop(0, num_steps, lambda _, x: rbm.reconstruct(params, x), start)
        _, h = rbm.gibbs(
            key, params, jnp.broadcast_to(start, (num_chains, *start.shape)), num_steps
        )
        return jnp.mean(rbm.visible_mean(params, h), axis=0)

    last = jnp.concatenate([v[:1], v[:-1]])
    keys = random.split(chain_key, len(v))
    return jax.vmap(one)(keys, memories, last, jnp.arange(len(v)) == 0)


@jit(static_argnames=("num_steps", "means"))
def complete(
    key: Key[Array, ""],
    model: TemporalRBM,
    v: Float[Array, "T V"],
    observed: Bool[Array, "T V"],
    *,
    num_steps: int = 50,
    means: bool = False,
    memory: Memory = None,
) -> Float[Array, "T V"]:
    """Fills in what is missing of the frames, one after the other: a limb, a voice, or all.

    What was filled in is remembered like what was given. Frames of which nothing is known are a
    dream: see `dream`.

    Args:
      observed: where a value is known; what stands elsewhere does not matter.
      num_steps: of Gibbs sampling in each frame.
      means: the visible means given the last hidden states stand in the missing places, instead of
        samples: quieter (Taylor, Hinton, Roweis 2006 do so).
    """
    start = model.start() if memory is None else memory
    v = rbm.as_visible(model.rbm, v)

    def step(carry, x):
        memory, last = carry
        t, frame, known = x
        params = model.frame(memory)
        gibbs_key, update_key = random.split(random.fold_in(key, t))
        first = jnp.where(known, frame, jnp.where(t == 0, blank(params), last))
        sample, h = clamping.gibbs(gibbs_key, params, first, known, num_steps)
        made = rbm.visible_mean(params, h) if means else sample
        frame = jnp.where(known, frame, made)
        return (model.update(update_key, memory, frame), frame), frame

    _, frames = jax.lax.scan(step, (start, jnp.zeros_like(v[0])), (jnp.arange(len(v)), v, observed))
    return frames


def dream(
    key: Key[Array, ""],
    model: TemporalRBM,
    beginning: Float[Array, "T V"],
    num_frames: int,
    *,
    num_steps: int = 50,
    means: bool = False,
    memory: Memory = None,
) -> Float[Array, "T_and_frames V"]:
    """Goes on from a beginning, which may have no frames, for so many more; options of `complete`.

    Returns:
      The beginning, and what follows it.
    """
    v = jnp.concatenate([beginning, jnp.zeros((num_frames, beginning.shape[1]), beginning.dtype)])
    known = jnp.broadcast_to((jnp.arange(len(v)) < len(beginning))[:, None], v.shape)
    return complete(key, model, v, known, num_steps=num_steps, means=means, memory=memory)


def blank(params):
    """Means of the visible units by their biases alone."""
    return params.visible.mean(jnp.zeros(params.visible.num_units, params.weights.dtype))
