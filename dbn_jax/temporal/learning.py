"""How models of sequences learn: contrastive divergence in each frame, back through time.

The loss of a frame is F(v_t) − F(v*_t), free energies of the frame's RBM, where v*_t are Gibbs
samples that began at v_t and count as constants: its gradient by the biases is the contrastive
divergence of the RBM, and `jax.grad` carries it through the memory to all parameters (Sutskever,
Hinton, Taylor 2008; Boulanger-Lewandowski et al. 2012). With log Z in the place of −F(v*_t) it is
the exact likelihood. Losses are means over all frames that are learnt, in nats per frame.
"""

import jax
import jax.numpy as jnp
import optax
from jax.sharding import PartitionSpec as P

from dbn_jax import random, rbm, sharded
from dbn_jax.compilation import jit
from dbn_jax.likelihood import partition
from dbn_jax.temporal.base import TemporalRBM, begin, recall
from dbn_jax.temporal.sequences import Sequences
from dbn_jax.train_state import Chains, Params, State, apply_gradient
from dbn_jax.typing import Array, Float, Key

Metrics = dict[str, Array]


def cd_loss(
    key: Key[Array, ""],
    model: TemporalRBM,
    batch: Sequences,
    *,
    num_gibbs_steps: int = 1,
    sample_visible: bool = True,
    input_dropout: float = 0.0,
    memory_dropout: float = 0.0,
) -> tuple[Float[Array, ""], Metrics]:
    """The loss whose gradient is contrastive divergence, and metrics.

    Args:
      sample_visible: whether the last v* is a sample; False takes its means given the last hidden
        states, which are less noisy, and not quite right where these act on each other.
      input_dropout: probability that a value is set to 0 before it gets into the memory.
      memory_dropout: probability that a number of the memory does not act on the biases.
    """
    recall_key, gibbs_key = random.split(key)
    v = rbm.as_visible(model.rbm, batch.values)
    memories = _memories(recall_key, model, v, batch.styles, input_dropout, memory_dropout)

    def frame_loss(key, memory, v):
        params = model.frame(memory)
        fixed = jax.lax.stop_gradient(params)
        fantasy, h = rbm.gibbs(key, fixed, v, num_gibbs_steps)
        if not sample_visible:
            fantasy = rbm.visible_mean(fixed, h)
        free_energy, of_fantasy = (
            rbm.free_energy_given(params, x, rbm.hidden_inputs(params, x)) for x in (v, fantasy)
        )
        return free_energy - of_fantasy, jnp.sum((v - rbm.reconstruct(fixed, v)) ** 2)

    gap, error = jax.vmap(jax.vmap(frame_loss))(_keys(gibbs_key, v), memories, v)
    return batch.mean(gap), {"reconstruction_error": batch.mean(error)}


def exact_loss(
    key: Key[Array, ""], model: TemporalRBM, batch: Sequences
) -> tuple[Float[Array, ""], Metrics]:
    """−log p per frame, exact, for models whose hidden or visible states can be enumerated."""
    v = rbm.as_visible(model.rbm, batch.values)
    memories = _memories(key, model, v, batch.styles)

    def frame_loss(memory, v):
        params = model.frame(memory)
        return rbm.free_energy(params, v) + partition.exact_log_partition(params)

    return batch.mean(jax.vmap(jax.vmap(frame_loss))(memories, v)), {}


@jit(static_argnames=("optimizer", "loss"))
def step(
    key: Key[Array, ""],
    state: State[Params, Chains],
    batch: Sequences,
    *,
    optimizer: optax.GradientTransformation,
    loss=cd_loss,
) -> tuple[State[Params, Chains], Metrics]:
    """One update by the gradient of a loss, such as ``functools.partial(cd_loss, …)``."""
    model = sharded.match_varying(batch, state.params)
    gradient = jax.grad(lambda model, key, batch: loss(key, model, batch), has_aux=True)
    gradient = sharded.automatic(gradient, batch.values, (jax.tree.map(sharded.spec, model), P()))
    gradient, metrics = gradient(model, key, batch)
    metrics |= {"gradient_norm": optax.tree.norm(gradient)}
    return apply_gradient(state, gradient, optimizer), metrics


def _memories(key, model, v, styles, input_dropout=0.0, memory_dropout=0.0):
    """Memories before all frames: (B, T, V) -> (B, T, …)."""
    recall_key, input_key, memory_key = random.split(key, 3)
    keys = random.split(recall_key, len(v))
    seen = _dropout(input_key, v, input_dropout)

    def remember(key, v, style):
        return recall(key, model, v, begin(model, style))[0]

    memories = jax.vmap(remember)(keys, seen, styles)
    return _dropout(memory_key, memories, memory_dropout)


def _dropout(key, tree, rate):
    leaves, structure = jax.tree.flatten(tree)
    keys = random.split(key, len(leaves))
    return structure.unflatten(
        x if x.dtype == bool else random.dropout(key, x, rate)
        for key, x in zip(keys, leaves, strict=True)
    )


def _keys(key, v):
    """One for each frame."""
    return random.split(key, v.shape[0] * v.shape[1]).reshape(v.shape[:2])
