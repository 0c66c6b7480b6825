"""Rows of a data set: all of them block by block, and some that stand for the whole."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from dbn_jax.compilation import jit

_BLOCK = 1000


@jit(static_argnames="transform")
def apply(transform: Callable[..., Any], key: jax.Array, rows: Any) -> Any:
    """``transform(key, rows)`` as one compiled program."""
    return transform(key, rows)


def in_blocks(function: Callable[..., Any], key: jax.Array, rows: Any) -> Any:
    """Maps rows in blocks of a thousand, so that no more than one is on the device at a time.

    Args:
      function: (key, block) -> array or pytree of arrays, with the block's rows as first axis.
      key: each block gets one made of it.
      rows: (N, …), or a pytree of such arrays.

    Returns:
      What `function` returns, of all rows, on the host.
    """
    blocks = []
    for start in range(0, len(jax.tree.leaves(rows)[0]), _BLOCK):
        block = jax.tree.map(lambda x: x[start : start + _BLOCK], rows)  # noqa: B023
        blocks.append(jax.device_get(function(jax.random.fold_in(key, start), block)))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *blocks)


def spread(rows: Any, count: int) -> Any:
    """At most `count` rows, evenly spread: the first ones of a sorted file are all of one class."""
    size = len(jax.tree.leaves(rows)[0])
    chosen = np.linspace(0, size - 1, min(count, size)).astype(int)
    return jax.tree.map(lambda x: x[chosen], rows)


def rows_with_labels(labels: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Numbers of rows with the wanted labels; each in turn, and again where there are too few.

    Args:
      labels: (N,) of the rows.
      wanted: (M,).

    Returns:
      (M,); row 0 for a label that no row has.
    """
    rows = np.empty(len(wanted), int)
    for label in np.unique(wanted):
        places = np.flatnonzero(wanted == label)
        rows[places] = np.resize(np.flatnonzero(labels == label), len(places))
    return rows
