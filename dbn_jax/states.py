"""What is given to an RBM: states of its layers, batches to learn from, numbers of Gibbs steps.

Here they are checked, and states get the dtype of the parameters. Bytes, other widths and missing
values would pass unnoticed otherwise.
"""

import jax
import jax.numpy as jnp
from jax.core import Tracer

from dbn_jax import numerics, sharded
from dbn_jax.examples import Batch, Examples
from dbn_jax.typing import AnyArray, Array, Float, PyTree


def as_visible(params: PyTree, v: AnyArray) -> Float[Array, "*batch V"]:
    """Visible values in the parameters' dtype, booleans as 0 and 1.

    ValueError if the number of units differs, TypeError if they are integers, which may be bytes.
    """
    num_visible, dtype = params.weights.shape[-2], params.weights.dtype
    return numerics.as_states(v, num_visible, dtype, "visible units of the RBM")


def as_hidden(params: PyTree, h: AnyArray) -> Float[Array, "*batch H"]:
    """The same for hidden values."""
    num_hidden, dtype = params.weights.shape[-1], params.weights.dtype
    return numerics.as_states(h, num_hidden, dtype, "hidden units of the RBM")


def as_batch(params: PyTree, batch: Batch) -> Examples:
    """Checks examples to learn from, as `as_visible` does.

    ValueError if there is none, or if values are missing.
    """
    batch = as_examples(params, batch)
    if batch.observed is not None:
        raise ValueError(
            "values of the batch are missing: learn by `learning.Incomplete`, or fill them in "
            "with `clamping.impute`"
        )
    return batch


def as_examples(params: PyTree, batch: Batch) -> Examples:
    """The same for examples that may have missing values."""
    given = Examples.of(batch)
    v = as_visible(params, given.values)
    sharded.check(v, jax.tree.leaves(params.weights)[0])
    if not v.size:
        raise ValueError(f"the batch has shape {v.shape}: it holds no example to learn from")
    weights, observed = jax.tree.map(jnp.asarray, (given.weights, given.observed))
    return Examples(v, weights, observed)


def check_steps(num_steps: int | Array) -> None:
    """Raises if a number of Gibbs steps is no integer, or is known (not traced) and below 1."""
    dtype = jnp.result_type(num_steps)
    if not jnp.issubdtype(dtype, jnp.integer):
        raise TypeError(f"the number of Gibbs steps is a {dtype}; it must be a whole number")
    if not isinstance(num_steps, Tracer) and num_steps < 1:
        raise ValueError(f"the number of Gibbs steps is {num_steps}; it must be at least 1")
