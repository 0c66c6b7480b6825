"""Rows of a data set: all of them block by block, and some by their labels."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from dbn_jax import parallel
from dbn_jax.compilation import jit
from dbn_jax.sources import spread_numbers
from dbn_jax.typing import Int

BLOCK = 1000  # rows at a time


@jit(static_argnames="transform")
def apply(transform: Callable[..., Any], key: jax.Array, rows: Any) -> Any:
    """``transform(key, rows)`` as one compiled program."""
    return transform(key, rows)


def in_blocks(function: Callable[..., Any], key: jax.Array, rows: Any) -> Any:
    """``function(key, block)`` of a thousand rows at a time, with a key for each block.

    No more than one block is on the device, or shared by the devices. Rows, and the results on the
    host, are pytrees of arrays whose first axis is the rows'.
    """
    size, shares = len(jax.tree.leaves(rows)[0]), parallel.num_shares()
    blocks = []
    for start in range(0, size, BLOCK):
        count = min(BLOCK, size - start)
        # Where devices cannot share a block evenly, some compute its last row again.
        wanted = start + np.minimum(np.arange(-(-count // shares) * shares), count - 1)
        block = parallel.shard(jax.tree.map(lambda x: x[wanted], rows))  # noqa: B023
        result = parallel.fetch(function(jax.random.fold_in(key, start), block))
        blocks.append(jax.tree.map(lambda x: x[:count], result))  # noqa: B023
    return jax.tree.map(lambda *parts: np.concatenate(parts), *blocks)


def rows_with_labels(
    labels: Int[np.ndarray, " N"], wanted: Int[np.ndarray, " M"]
) -> Int[np.ndarray, " M"]:
    """Numbers of rows with the wanted labels, evenly spread over those that have them.

    Row 0 stands for a label that no row has.
    """
    rows = np.zeros(len(wanted), int)
    for label in np.intersect1d(wanted, labels):
        places, members = np.flatnonzero(wanted == label), np.flatnonzero(labels == label)
        rows[places] = members[spread_numbers(len(members), len(places))]
    return rows
