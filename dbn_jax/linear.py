"""The weights of an RBM: a linear map from its visible to its hidden units, and products with it.

They are a matrix W of shape (V, H), or weights with structure: a `LinearMap`, such as those of
`dbn_jax.convolutional`, that is such a matrix without ever writing it down. All that learning and
sampling need of weights are the three products here; they work on any mesh of devices (`sharded`).

"..." are batch axes; V visible, H hidden units. Products are linear in the weights' arrays.
"""

import abc
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from dbn_jax import sharded
from dbn_jax.typing import Array, Float


class LinearMap(abc.ABC):
    """Weights with structure: a pytree of arrays, which are learnt, and what is static.

    Attributes:
      shape: (*models, V, H), that of the matrix.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]  # they are dataclasses
    shape: tuple[int, ...]

    @property
    def ndim(self) -> int:
        """Number of axes of the matrix."""
        return len(self.shape)

    @property
    def dtype(self) -> jnp.dtype:
        """That of the arrays."""
        return jax.tree.leaves(self)[0].dtype

    @abc.abstractmethod
    def up(self, x: Float[Array, "*batch V"]) -> Float[Array, "*batch H"]:
        """x W."""

    def down(self, y: Float[Array, "*batch H"]) -> Float[Array, "*batch V"]:
        """y Wᵀ."""
        zeros = jnp.zeros_like(y, shape=(*y.shape[:-1], self.shape[-2]))
        return jax.vjp(self.up, zeros)[1](y)[0]

    def outer_total(self, x: Float[Array, "*batch V"], y: Float[Array, "*batch H"]) -> "LinearMap":
        """The derivative of Σ x W yᵀ, over the batch, by the arrays."""
        weights = sharded.match_varying(x, self)
        return jax.vjp(lambda weights: weights.up(x), weights)[1](y)[0]


Weights = Float[Array, "*models V H"] | LinearMap


def product(x: Float[Array, "*batch V"], weights: Weights) -> Float[Array, "*batch H"]:
    """x W."""
    if not isinstance(weights, LinearMap):
        return sharded.product(x, weights)
    return _automatic(lambda x, weights: weights.up(x), x, weights)


def product_transposed(y: Float[Array, "*batch H"], weights: Weights) -> Float[Array, "*batch V"]:
    """y Wᵀ."""
    if not isinstance(weights, LinearMap):
        return sharded.product(y, weights.T)
    return _automatic(lambda y, weights: weights.down(y), y, weights)


def outer_total(x: Float[Array, "*batch V"], y: Float[Array, "*batch H"], like: Weights) -> Weights:
    """Σ xᵀy over the batch, for a matrix; else what it says of the arrays of weights like these."""
    if not isinstance(like, LinearMap):
        return sharded.outer_total(x, y, like=like)

    def total(x, y, weights):
        return weights.outer_total(x, y)

    specs = jax.tree.map(sharded.spec, like)
    return sharded.automatic(total, (x, like), specs)(x, y, like)


def dense(weights: Weights) -> Float[Array, "*models V H"]:
    """The weights where only a matrix will do; ValueError if they have structure."""
    if isinstance(weights, LinearMap):
        raise ValueError(
            f"the weights are {type(weights).__name__}, where only a matrix will do: take an RBM "
            "of `rbm.init_params`"
        )
    return weights


def matrix(weights: Weights) -> Float[Array, "V H"]:
    """The matrix itself: V·H numbers, which of images are many."""
    if not isinstance(weights, LinearMap):
        return weights
    return product(jnp.eye(weights.shape[-2], dtype=weights.dtype), weights)


def _automatic(function, x, weights):
    """Its results lie as the rows x do, all units of a row in one place."""
    rows = P(*sharded.spec(x)[:-1], None)
    return sharded.automatic(function, (x, weights), rows)(x, weights)
