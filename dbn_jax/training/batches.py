"""Batches for the training loop, gathered on the device.

The batch of update t depends on (seed, t) alone. An epoch is a random permutation of the N
examples, cut into N // B batches of B; the remainder N mod B is left out, other examples in each
epoch, so that all updates have one shape and one weight. Without data, N = B = 0, and batches are
None.
"""

import functools
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding

from dbn_jax import numerics, parallel, sources
from dbn_jax.typing import Array, Int, Key


class Batches:
    """The data, copied to the device once, and `order`: an epoch's number to its permutation."""

    def __init__(
        self,
        data: Any,
        key: Key[Array, "..."],
        batch_size: int | None,
        updates_per_epoch: int | None,
        mesh: Any = None,
    ):
        """Arrays on devices stay there; those from the host are copied to all devices of a mesh.

        The key of an ensemble is one of each member.
        """
        n = None if data is None else num_examples(data)
        _check(n, batch_size, updates_per_epoch)
        self._members = key.shape
        self.num_examples = n or 0
        self.batch_size = batch_size or 0
        self.updates_per_epoch = updates_per_epoch or self.num_examples // self.batch_size
        # Kept for the epoch's other chunks: of a million examples it takes a CPU a second.
        self.order = functools.lru_cache(1)(functools.partial(_order, key, self.num_examples))
        self.where = parallel.rows_like(data)
        self._open(data, mesh)

    def _open(self, data, mesh):
        if fault := non_finite(data, np.ndarray):
            raise ValueError(fault)
        self.data = jax.tree.map(
            lambda x: x if isinstance(x, jax.Array) else parallel.everywhere(x, mesh), data
        )
        self.order_shape = jax.ShapeDtypeStruct((*self._members, self.num_examples), np.int32)

    def at(self, update: int) -> tuple[Any, Any, int]:
        """What `gather` takes of the data, the order and the position for this update."""
        epoch, position = divmod(update, self.updates_per_epoch)
        return self.data, self.order(epoch), position

    def remaining(self, update: int) -> int:
        """How many updates, this one included, `at` serves alike: those to the epoch's end."""
        return self.updates_per_epoch - update % self.updates_per_epoch

    def read_ahead(self) -> None:
        """Prepares what comes next, while the device is at work: nothing, the data are there."""


def gather(
    data: Any,
    order: Int[Array, " n"] | None,
    i: Any,
    batch_size: int,
    where: NamedSharding | None = None,
) -> Any:
    """Batch i of an epoch's order, i less than N // B; without an order, of batches (L, B, …)."""
    if order is None:
        batch = jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), data)
        return parallel.place(batch, where)
    rows = jax.lax.dynamic_slice(order, (i * batch_size,), (batch_size,))
    options: dict[str, Any] = {"mode": "promise_in_bounds"}
    if where is not None and AxisType.Explicit in where.mesh.axis_types:
        options["out_sharding"] = where
    batch = jax.tree.map(lambda x: x.at[rows].get(**options), data)
    return parallel.place(batch, where)


def num_examples(data: Any) -> int:
    """N, the length of the leading axis that all arrays of `data` share, or of a data source."""
    if sources.is_source(data):
        return len(data)
    numerics.check_arrays(data, "data")
    lengths = {np.shape(x)[:1] for x in jax.tree.leaves(data)}
    if len(lengths) != 1 or () in lengths:
        raise ValueError(
            "the arrays of data need one common leading axis, the examples; their shapes are "
            f"{jax.tree.map(np.shape, data)}"
        )
    return lengths.pop()[0]


def non_finite(data: Any, kind: type) -> str:
    """Says where the arrays of data that are of this kind hold NaN or infinity; empty if nowhere.

    On the host this is a pass over the data; on devices it would be a program more.
    """
    for path, x in jax.tree_util.tree_leaves_with_path(data):
        here = getattr(x, "is_fully_addressable", True)  # not on other hosts
        if isinstance(x, kind) and here and (fault := numerics.non_finite(x)):
            return f"data{jax.tree_util.keystr(path)}: {fault}"
    return ""


def _check(n: int | None, batch_size: int | None, updates_per_epoch: int | None) -> None:
    if (batch_size is None, updates_per_epoch is None) != (n is None, n is not None):
        case = "without data, give updates_per_epoch" if n is None else "with data, give batch_size"
        raise ValueError(
            f"batch_size is {batch_size} and updates_per_epoch {updates_per_epoch}; {case} alone"
        )
    if n is not None and batch_size is not None and n < batch_size:
        raise ValueError(
            f"there are {n} examples, fewer than the batch size {batch_size}; "
            f"choose a batch size of at most {n}"
        )


@functools.partial(jax.jit, static_argnums=1)
def _order(key: Key[Array, "..."], n: int, epoch: Any) -> Int[Array, "... n"]:
    """One permutation for each key."""
    if key.ndim:
        return jax.vmap(lambda key: _order(key, n, epoch))(key)
    return jax.random.permutation(jax.random.fold_in(key, epoch), n)
