"""Stacks: a second model of sequences learns what the hidden units of the first do.

Trained greedily, layer by layer, as a deep belief net is: the frames of layer l + 1 are the means
of the hidden units of layer l, given its frame and its past (`features`). To generate, the top
layer draws its frame, and each layer below draws its own from that and from its own past (Taylor,
Hinton, Roweis 2006, section 4).
"""

import jax
import jax.numpy as jnp

from dbn_jax import pytrees, random, rbm
from dbn_jax.compilation import jit
from dbn_jax.rbm import RBM
from dbn_jax.temporal.base import Memory, TemporalRBM, begin, recall
from dbn_jax.temporal.prediction import blank
from dbn_jax.temporal.sequences import Sequences
from dbn_jax.typing import Array, Float, Key


@jit
def features(
    key: Key[Array, ""], model: TemporalRBM, v: Float[Array, "T V"], memory: Memory = None
) -> Float[Array, "T H"]:
    """E[h_t | v_t, frames before]: what the next layer of a stack sees."""
    v = rbm.as_visible(model.rbm, v)
    memories, _ = recall(key, model, v, memory)
    return jax.vmap(lambda memory, v: rbm.hidden_mean(model.frame(memory), v))(memories, v)


@jit(static_argnames="warm_up")
def lift(
    key: Key[Array, ""], model: TemporalRBM, batch: Sequences, *, warm_up: int = 0
) -> Sequences:
    """A batch as the next layer sees it: the features of its sequences.

    Args:
      warm_up: number of frames that fill the memory of the next layer, beyond those that fill this
        one's, of sequences that have a warm-up.
    """

    def one(key, v, style):
        return features(key, model, v, begin(model, style))

    v = rbm.as_visible(model.rbm, batch.values)
    values = jax.vmap(one)(random.split(key, len(v)), v, batch.styles)
    given = batch.warm_up
    if given is not None:
        given = jnp.where(given > 0, given + warm_up, given)
    return Sequences(values, batch.lengths, given)


@pytrees.dataclass
class Stack(TemporalRBM):
    """Models of sequences, that of the frames first; each sees the features of the one below.

    Its predictions and its log p are those of the first layer, and so is `frame`; its dreams
    (`dream`, here) are drawn from the top.
    """

    layers: tuple[TemporalRBM, ...]

    def __post_init__(self):
        for i, (below, above) in enumerate(zip(self.layers, self.layers[1:], strict=False)):
            hidden, visible = below.rbm.hidden.num_units, above.rbm.visible.num_units
            if hidden != visible:
                raise ValueError(
                    f"layer {i} has {hidden} hidden units, but layer {i + 1} {visible} visible ones"
                )

    @property
    def rbm(self) -> RBM:
        """That of the first layer."""
        return self.layers[0].rbm

    def start(self, *style: Float[Array, " S"]) -> tuple[Memory, ...]:
        """The memories before the first frame; a style is that of the first layer."""
        first, *above = self.layers
        return first.start(*style), *(layer.start() for layer in above)

    def update(
        self, key: Key[Array, ""], memory: tuple[Memory, ...], v: Float[Array, " V"]
    ) -> tuple[Memory, ...]:
        """The memories after one more frame."""
        updated = []
        keys = random.split(key, len(self.layers))
        for layer, each, own in zip(self.layers, memory, keys, strict=True):
            updated.append(layer.update(own, each, v))
            v = rbm.hidden_mean(layer.frame(each), v)
        return tuple(updated)

    def frame(self, memory: tuple[Memory, ...]) -> RBM:
        """The RBM of the next frame in the first layer."""
        return self.layers[0].frame(memory[0])

    def rise(self, memories: tuple[Memory, ...], v: Float[Array, " V"]) -> Float[Array, " top"]:
        """What the top layer sees of a frame."""
        for layer, memory in zip(self.layers[:-1], memories, strict=False):
            v = rbm.hidden_mean(layer.frame(memory), v)
        return v

    def draw(
        self,
        key: Key[Array, ""],
        memories: tuple[Memory, ...],
        start: Float[Array, " top"],
        *,
        num_steps: int,
        means: bool,
    ) -> Float[Array, " V"]:
        """The next frame: Gibbs sampling in the top layer from `start`, then one pass down.

        Args:
          means: of the last visible units of each layer, in place of samples.
        """
        *below, top = zip(self.layers, memories, strict=True)
        key, top_key = random.split(key)
        params = top[0].frame(top[1])
        x, h = rbm.gibbs(top_key, params, start, num_steps)
        if means:
            x = rbm.visible_mean(params, h)
        for layer, memory in reversed(below):
            key, own_key = random.split(key)
            params = layer.frame(memory)
            x = rbm.visible_mean(params, x) if means else rbm.sample_visible(own_key, params, x)
        return x


@jit(static_argnames=("num_frames", "num_steps", "means"))
def dream(
    key: Key[Array, ""],
    stack: Stack,
    beginning: Float[Array, "T V"],
    num_frames: int,
    *,
    num_steps: int = 50,
    means: bool = False,
    memory: tuple[Memory, ...] | None = None,
) -> Float[Array, "T_and_frames V"]:
    """Goes on from a beginning; as `prediction.dream` for one layer."""
    beginning = rbm.as_visible(stack.rbm, beginning)
    memories = stack.start() if memory is None else memory

    def remember(memories, x):
        t, v = x
        return stack.update(random.fold_in(key, t), memories, v), stack.rise(memories, v)

    def make(carry, t):
        memories, start = carry
        draw_key, update_key = random.split(random.fold_in(key, t))
        v = stack.draw(draw_key, memories, start, num_steps=num_steps, means=means)
        start = stack.rise(memories, v)
        return (stack.update(update_key, memories, v), start), v

    given = jnp.arange(len(beginning))
    memories, seen = jax.lax.scan(remember, memories, (given, beginning))
    start = seen[-1] if len(beginning) else blank(stack.layers[-1].frame(memories[-1]))
    times = len(beginning) + jnp.arange(num_frames)
    _, made = jax.lax.scan(make, (memories, start), times)
    return jnp.concatenate([beginning, made])
