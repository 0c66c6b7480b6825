"""Batches of sequences of different lengths."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from dbn_jax import pytrees
from dbn_jax.typing import Array, Bool, Float, Int, Num


@pytrees.dataclass
class Sequences:
    """Sequences in one array, filled up at their ends; B of them, of at most T frames.

    Attributes:
      values: frames; what stands after a sequence's end does not matter, if it is finite.
      lengths: number of frames of each; None: T.
      warm_up: number of frames at the start of each that are remembered but not learnt; None:
        none are.
      styles: of models that have one, such as `ConditionalRBM`; None for all others.
    """

    values: Num[Array | np.ndarray, "B T V"]
    lengths: Int[Array | np.ndarray, " B"] | None = None
    warm_up: Int[Array | np.ndarray, " B"] | None = None
    styles: Float[Array | np.ndarray, "B S"] | None = None

    @staticmethod
    def of(
        sequences: Sequence[np.ndarray], styles: Float[np.ndarray, "B S"] | None = None
    ) -> "Sequences":
        """Makes a batch of arrays (frames, V), all of whose frames are learnt."""
        lengths = np.array([len(x) for x in sequences], np.int32)
        shape = len(sequences), lengths.max(), sequences[0].shape[1]
        values = np.zeros(shape, sequences[0].dtype)
        for row, x in zip(values, sequences, strict=True):
            row[: len(x)] = x
        return Sequences(values, lengths, styles=styles)

    @property
    def learnt(self) -> Bool[Array, "B T"]:
        """Which frames are learnt."""
        learnt = jnp.ones(self.values.shape[:2], bool)
        t = jnp.arange(self.values.shape[1], dtype=jnp.int32)[None]
        if self.lengths is not None:
            learnt &= t < self.lengths.astype(jnp.int32)[:, None]
        if self.warm_up is not None:
            learnt &= t >= self.warm_up.astype(jnp.int32)[:, None]
        return learnt

    def mean(self, each: Float[Array, "B T"]) -> Float[Array, ""]:
        """The mean over all frames that are learnt: the sum divided by their number."""
        total = jnp.sum(jnp.where(self.learnt, each, 0))
        return total / jnp.sum(self.learnt).astype(each.dtype)
