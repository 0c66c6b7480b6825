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
