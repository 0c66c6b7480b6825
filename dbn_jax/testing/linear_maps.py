"""What weights with structure have to be."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from dbn_jax import linear
from dbn_jax.testing.sentences import Numbers, apart, fail, number, worst
from dbn_jax.typing import Array, Key


def check_weights(key: Key[Array, ""], weights: linear.LinearMap) -> None:
    """Raises AssertionError, in one sentence, unless weights keep the contract of `LinearMap`.

    `up` is linear in x, with any leading axes, and linear in the arrays; `down` is the product with
    the transposed matrix; `outer_total` is the derivative of Σ x W yᵀ by the arrays. The matrix is
    what `up` makes of each visible unit alone. All of it in float64, and in `jit`.

    Args:
      key: consumed.
      weights: of few units, with arrays that are not all zero; of one model.
    """
    if not isinstance(weights, linear.LinearMap):
        raise TypeError(f"check_weights takes a linear.LinearMap, not {weights!r}")
    name = type(weights).__name__
    leaves = jax.tree.leaves(weights)
    if any(isinstance(leaf, linear.LinearMap) for leaf in leaves) or not leaves:
        raise AssertionError(
            f"{name} is no pytree with arrays: decorate the class with dbn_jax.pytrees.dataclass"
        )
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    with jax.enable_x64(True):
        weights = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), weights)
        *models, num_visible, num_hidden = weights.shape
        if models:
            raise ValueError(f"weights of {models} models: check those of one")
        x, y = (jnp.asarray(rng.normal(size=(2, 3, n))) for n in (num_visible, num_hidden))
        _check_shapes(weights, x, y)
        _check_products(weights, x, y)


def _check_shapes(weights: linear.LinearMap, x: Array, y: Array) -> None:
    for method, given, wanted in (("up", x, y), ("down", y, x)):
        for one, other in ((given, wanted), (given[0, 0], wanted[0, 0])):
            found = jax.eval_shape(
                lambda weights, x, m=method: getattr(weights, m)(x), weights, one
            )
            if (found.shape, found.dtype) != (other.shape, other.dtype):
                fail(
                    weights,
                    method,
                    f"of shape {one.shape} it makes {found.dtype} of shape {found.shape}; expected "
                    f"{other.dtype} of shape {other.shape}",
                )
    found = jax.eval_shape(lambda weights: weights.outer_total(x, y), weights)
    described = jax.eval_shape(lambda weights: weights, weights)
    if found != described:
        fail(weights, "outer_total", f"it makes {found}; expected arrays like {described}")


@jax.jit
def _products(weights: linear.LinearMap, x: Array, y: Array) -> dict[str, Array]:
    flat, unravel = ravel_pytree(weights)

    def matrix(flat: Array) -> Array:
        return unravel(flat).up(jnp.eye(x.shape[-1], dtype=x.dtype))

    zeros = matrix(jnp.zeros_like(flat))
    return {
        "flat": flat,
        "zeros": zeros,
        "matrix": matrix(flat),
        # What each number of the arrays does: (P, V, H).
        "each": jax.lax.map(matrix, jnp.eye(len(flat), dtype=flat.dtype)),
        "up": weights.up(x),
        "down": weights.down(y),
        "outer_total": ravel_pytree(weights.outer_total(x, y))[0],
    }


def _check_products(weights: linear.LinearMap, x: Array, y: Array) -> None:
    found = jax.tree.map(np.asarray, _products(weights, x, y))
    matrix = found["matrix"]

    def compare(method: str, made: Numbers, expected: Numbers, what: str) -> None:
        if (place := worst(made, expected)) is not None:
            one, other = apart(np.asarray(made)[place], np.asarray(expected)[place])
            where = place[0] if len(place) == 1 else number(np.asarray(place))
            fail(weights, method, what.format(where, one, other))

    compare(
        "up",
        found["up"],
        x @ matrix,
        "at {} of its result it is {}, but the sum over units, each alone, is {}: it is not linear "
        "in x",
    )
    compare(
        "up",
        found["zeros"],
        np.zeros_like(matrix),
        "at {} the matrix is {}, not {}, where all arrays are 0: it is not linear in the arrays",
    )
    compare(
        "up",
        matrix,
        np.einsum("p,pij->ij", found["flat"], found["each"]),
        "at {} the matrix is {}, but the sum over the arrays' numbers, each alone, is {}: it is "
        "not linear in the arrays",
    )
    compare(
        "down",
        found["down"],
        y @ matrix.T,
        "at {} of its result it is {}, but the product with the transposed matrix is {}",
    )
    compare(
        "outer_total",
        found["outer_total"],
        np.einsum("pij,abi,abj->p", found["each"], x, y),
        "number {} of its arrays is {}, but the derivative of Σ x W yᵀ by it is {}",
    )
