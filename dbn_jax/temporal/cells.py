"""Recurrent cells for `recurrent.RNNRBM`, from Flax NNX."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from dbn_jax.typing import Array, Key

# The plain one has logistic units, as published (Boulanger-Lewandowski et al. 2012).
CELLS = {
    "plain": functools.partial(nnx.SimpleCell, activation_fn=nnx.sigmoid, dtype=None),
    "gru": nnx.GRUCell,
    "lstm": nnx.OptimizedLSTMCell,
}


def make(key: Key[Array, ""], kind: str, num_inputs: int, size: int) -> tuple[Any, Any]:
    """Makes a cell of one of the `CELLS`, and its first carry, zeros."""
    if kind not in CELLS:
        raise ValueError(f"there is no cell {kind!r}; choose one of {', '.join(CELLS)}")
    cell = CELLS[kind](num_inputs, size, rngs=nnx.Rngs(key))
    carry = cell.initialize_carry((num_inputs,), nnx.Rngs(0))
    return cell, jax.tree.map(jnp.zeros_like, carry)


def describe(cell: Any) -> tuple[dict[str, Any], dict[str, Array]]:
    """What `rebuild` takes: how a cell of `make` was made, and its arrays by name."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(cell)
    for kind in CELLS:
        how = {"kind": kind, "num_inputs": cell.in_features, "size": cell.hidden_features}
        if jax.tree.structure(_blank(**how)) == structure:
            return how, {jax.tree_util.keystr(path): x for path, x in leaves}
    raise TypeError(
        f"the {type(cell).__name__} is none of the cells {', '.join(CELLS)} as `cells.make` makes "
        "them"
    )


def rebuild(arrays: dict[str, Array], *, kind: str, num_inputs: int, size: int) -> Any:
    """The cell that `describe` described; ValueError if the arrays are not its own."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(_blank(kind, num_inputs, size))
    shapes = {jax.tree_util.keystr(path): x.shape for path, x in leaves}
    found = {name: jnp.shape(x) for name, x in arrays.items()}
    if shapes != found:
        raise ValueError(f"the {kind} cell has arrays {found}; expected {shapes}")
    return structure.unflatten(arrays[name] for name in shapes)


def _blank(kind, num_inputs, size):
    """The cell without its numbers."""
    return jax.eval_shape(lambda: make(jax.random.key(0), kind, num_inputs, size)[0])
