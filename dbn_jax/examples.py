"""Examples that count differently, or are known in part.

Wherever a model learns from a batch (..., V), it takes these as well:

    batch = Examples(x, weights=jnp.array([1.0, 2.0, 0.5]))
    state, metrics = rbm.cd_step(key, state, batch, optimizer=optimizer)

An example of weight 2 counts as two equal ones: means over a batch are Σ w·x / Σ w. Examples are
pytrees, so that a data set of them is handed over as a batch is. "..." are batch axes; N units of a
layer; V visible units.
"""

from typing import Generic

import jax.numpy as jnp
import numpy as np

from dbn_jax import pytrees
from dbn_jax.typing import AnyArray, Array, Bool, Float, Num, TypeVar

A = TypeVar("A", bound=AnyArray, default=Array, covariant=True)
B = TypeVar("B", bound=AnyArray, default=Array)


@pytrees.dataclass
class Examples(Generic[A]):
    """Values of the visible units; what each example counts; which values are known.

    Attributes:
      values: (..., V), anything where they are missing.
      weights: at least 0, one for each example; None: all the same. A batch whose weights are all
        0 teaches nothing.
      observed: True where a value is known, for `learning.Incomplete`; None: everywhere.
    """

    values: Num[A, "*batch V"]
    weights: Num[A, "*batch"] | None = None
    observed: Bool[A, "*batch V"] | None = None

    def __post_init__(self):
        shape = np.shape(self.values)
        if self.weights is not None and np.shape(self.weights) != shape[:-1]:
            raise ValueError(
                f"weights of shape {np.shape(self.weights)} for values of shape {shape}: give "
                "one for each example"
            )
        if isinstance(self.weights, np.ndarray) and not np.all(self.weights >= 0):
            raise ValueError(f"the smallest weight is {np.min(self.weights)}; none may be negative")
        if self.observed is not None and np.shape(self.observed) != shape:
            raise ValueError(
                f"observed has shape {np.shape(self.observed)}, but the values have {shape}: say "
                "of each whether it is known"
            )

    @staticmethod
    def of(batch: "B | Examples[B]") -> "Examples[B]":
        """The batch itself, if it is `Examples`, or values that all count the same."""
        return batch if isinstance(batch, Examples) else Examples(batch)

    def with_values(self, values: Float[Array, "*batch N"]) -> "Examples[Array | A]":
        """Other values, all known, of the same weights."""
        return Examples(values, self.weights)

    def with_floats(self, values: Float[Array, "*batch V"]) -> "Examples[Array | A]":
        """Other values for the known ones, with weights in their dtype."""
        weights = None if self.weights is None else jnp.asarray(self.weights, values.dtype)
        return Examples(values, weights, self.observed)

    @property
    def count(self) -> int | Float[Array, ""]:
        """Σ w."""
        if self.weights is None:
            return self.values.size // self.values.shape[-1]
        return jnp.sum(self.weights)

    def total(self, each: Float[Array, "*batch"]) -> Float[Array, ""]:
        """Σ w·x."""
        if self.weights is None:
            return jnp.sum(each)
        return jnp.sum(self.weights.astype(each.dtype) * each)

    def mean(self, each: Float[Array, "*batch"]) -> Float[Array, ""]:
        """Σ w·x / Σ w."""
        return jnp.mean(each) if self.weights is None else divide(self.total(each), self.count)

    def weigh(self, each: Float[Array, "*batch N"]) -> Float[Array, "*batch N"]:
        """w·x."""
        if self.weights is None:
            return each
        return each * jnp.broadcast_to(self.weights.astype(each.dtype)[..., None], each.shape)

    def unit_means(self, each: Float[Array, "*batch N"]) -> Float[Array, " N"]:
        """Σ w·x / Σ w of each unit, over the examples where it is known."""
        if self.weights is None and self.observed is None:
            return jnp.mean(each, axis=range(each.ndim - 1))
        if self.observed is not None:
            each = jnp.where(self.observed, each, 0)
        return divide(self._sum(each), self.unit_counts)

    @property
    def unit_counts(self) -> int | Float[Array, "..."]:
        """Σ w over the examples where a unit is known: (N,), or one number if all values are."""
        if self.observed is None:
            return self.count
        return self._sum(self.observed.astype(self.values.dtype))

    def _sum(self, each):
        return jnp.sum(self.weigh(each), axis=range(each.ndim - 1))


# What models learn from.
Batch = Num[AnyArray, "..."] | Examples[AnyArray]


def divide(total, count):
    """Their ratio; 0 if nothing was counted."""
    if isinstance(count, int):
        return total / count
    count = jnp.broadcast_to(count, total.shape).astype(total.dtype)
    return jnp.where(count > 0, total / jnp.where(count > 0, count, 1), 0)
