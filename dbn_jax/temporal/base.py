"""What every model of sequences provides: an RBM for each frame, made of the frames before it.

    p(v_1, …, v_T) = Π_t p(v_t | memory_t),      memory_{t+1} = update(memory_t, v_t)

and p(v | memory) is an `rbm.RBM`, the model's own with other biases. So unit types, conditionals,
Gibbs sampling, exact log Z and annealing are those of an RBM, and `jax.vmap` makes them those of
all frames at once: the memories come first, in a scan, and then no frame waits for another.
"""

import abc
from typing import Any

import jax
import jax.numpy as jnp

from dbn_jax import random, rbm, sharded
from dbn_jax.compilation import jit
from dbn_jax.rbm import RBM
from dbn_jax.typing import Array, Float, Key

Memory = Any  # a pytree of arrays


class TemporalRBM(abc.ABC):
    """A model of sequences. The methods are those of one sequence, without batch axes.

    Attributes:
      rbm: the RBM of a frame before the past has changed its biases.
    """

    rbm: RBM

    @abc.abstractmethod
    def start(self) -> Memory:
        """The memory before the first frame."""

    @abc.abstractmethod
    def update(self, key: Key[Array, ""], memory: Memory, v: Float[Array, " V"]) -> Memory:
        """The memory after one more frame. Only a memory that is drawn at random needs the key."""

    @abc.abstractmethod
    def frame(self, memory: Memory) -> RBM:
        """The RBM of the next frame."""


def begin(model: Any, style: Float[Array, " S"] | None) -> Memory:
    """The memory before the first frame of a sequence, of a style if it has one."""
    return model.start() if style is None else model.start(style)


@jit
def recall(
    key: Key[Array, ""], model: TemporalRBM, v: Float[Array, "T V"], memory: Memory = None
) -> tuple[Memory, Memory]:
    """What is remembered before each frame of a sequence, and after the last.

    The memory of frame t does not depend on frame t or later ones.

    Args:
      memory: before the first frame; None: ``model.start()``.

    Returns:
      The memories before the frames, a tree of arrays (T, …); and the one after them.
    """
    v = rbm.as_visible(model.rbm, v)

    def step(memory, x):
        t, frame = x
        return model.update(random.fold_in(key, t), memory, frame), memory

    start = sharded.match_varying(v, model.start() if memory is None else memory)
    last, memories = jax.lax.scan(step, start, (jnp.arange(len(v)), v))
    return memories, last
