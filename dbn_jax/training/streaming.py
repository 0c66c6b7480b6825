"""Batches of data that do not fit into memory, read from files while the device computes.

Grain's threads read ahead in the order in which data in memory are gathered (`batches`): a run ends
with the same bits either way. What goes to the device is a *window*, arrays (L, B, …) of the next L
batches, and the next window goes there while the device computes on this one. On a mesh with an
axis "rows" its devices share B, if it is divisible among them, and each host reads the rows of
its own devices only.

Held are a few windows and what Grain's threads are reading (some 400 MB), and 8 bytes for each row:
its places in the orders of two epochs.
"""

import functools
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dbn_jax import parallel, sources
from dbn_jax.training import batches
from dbn_jax.typing import Array, Int, Key

_WINDOW_BYTES = 32 << 20
_NUM_THREADS = 16  # that read at the same time: disks and networks answer many at once


class Streamed(batches.Batches):
    """The batches of a run of `num_epochs`; `data` is the window in use."""

    def __init__(
        self,
        data: Any,
        key: Key[Array, ""],
        batch_size: int | None,
        updates_per_epoch: int | None,
        mesh: Mesh | None = None,
        *,
        num_epochs: int,
    ):
        """Windows lie on the mesh; without one, on the default device."""
        self._num_epochs = num_epochs
        key = key.addressable_data(0)  # an order is each host's own, made in its threads
        super().__init__(data, key, batch_size, updates_per_epoch, mesh)

    def _open(self, data, mesh):
        self._sharding = _shared(mesh, self.batch_size)
        self._num_updates = self._num_epochs * self.updates_per_epoch
        sizes = self.batch_size, self.updates_per_epoch, self._num_updates
        self._read = _Reader(data, self.order, *sizes, _columns(self._sharding, self.batch_size))
        row = self._read.row()
        batch_bytes = self.batch_size * sum(x.nbytes for x in jax.tree.leaves(row))
        length = min(max(1, _WINDOW_BYTES // max(1, batch_bytes)), self.updates_per_epoch)
        self._num_parts = min(length, _NUM_THREADS)  # of a window, a thread reads each
        self._length = length // self._num_parts * self._num_parts
        self.data = jax.tree.map(self._shape, row)
        self.order_shape = None
        self._here = range(-1, -1)  # the updates whose batches are in `data`
        self._parts: Iterator[Any] = iter(())
        self._next: Any = None

    def at(self, update: int) -> tuple[Any, None, int]:
        """The window with this update's batch, no order, and the batch's position there."""
        if update not in self._here:
            if update != self._here.stop:
                self._parts, self._next = self._read_from(update), None
            self.read_ahead()
            self.data, self._next = self._next, None
            self._here = range(update, update + self._length)
        return self.data, None, update - self._here.start

    def remaining(self, update: int) -> int:
        """How many updates, from this one on, are both of its window and of its epoch."""
        window = self._here.stop - update if update in self._here else self._length
        return min(window, super().remaining(update))

    def read_ahead(self) -> None:
        """Starts copying the next window to the device; at the end of the run there is none."""
        if self._next is None and (parts := list(itertools.islice(self._parts, self._num_parts))):
            self._next = jax.tree.map(lambda *x: self._put(np.concatenate(x)), *parts)

    def _read_from(self, update):
        """The parts of the windows from this update on; Grain reads ahead by a window."""
        import grain  # with it comes Orbax, which takes a second

        part = self._length // self._num_parts
        num_windows = -(-(self._num_updates - update) // self._length)
        firsts = grain.MapDataset.range(update, update + num_windows * self._length, part)
        read = functools.partial(self._read, part)
        options = grain.ReadOptions(
            num_threads=self._num_parts, prefetch_buffer_size=self._num_parts
        )
        return iter(firsts.map(read).to_iter_dataset(options))

    def _put(self, x):
        if self._sharding is None:
            return jax.device_put(x)
        shape = (self._length, self.batch_size, *x.shape[2:])
        return jax.make_array_from_process_local_data(self._sharding, x, shape)

    def _shape(self, x):
        dtype = jax.dtypes.canonicalize_dtype(x.dtype)
        return jax.ShapeDtypeStruct((self._length, self.batch_size, *x.shape), dtype)


class _Reader:
    """Reads batches from files: of each the columns, 0 to B − 1, that this host needs."""

    def __init__(
        self,
        data: Any,
        order: Callable[[int], Int[Array, " N"]],
        batch_size: int,
        updates_per_epoch: int,
        num_updates: int,
        columns: Int[np.ndarray, " columns"],
    ):
        if not sources.is_source(data):  # what is in memory, such as labels, is gathered there
            data = jax.tree.map(np.asarray, data)
        self._take = sources.reader(data)
        # Threads may be at work at the end of an epoch, and at the beginning of the next.
        self._order = functools.lru_cache(2)(lambda epoch: np.asarray(order(epoch)))
        self._lock = threading.Lock()  # so that one of them makes an order, and all use it
        self._sizes = batch_size, updates_per_epoch, num_updates
        self._columns = columns

    def row(self) -> Any:
        """The first row."""
        return jax.tree.map(lambda x: x[0], self._take(np.arange(1)))

    def __call__(self, length: int, first: int) -> Any:
        """Batches of so many updates from the first on, (length, columns, …)."""
        numbers = np.stack([self._numbers(update) for update in range(first, first + length)])
        rows = self._take(numbers.ravel())
        _check_finite(rows, numbers.ravel())
        return jax.tree.map(lambda x: x.reshape(*numbers.shape, *x.shape[1:]), rows)

    def _numbers(self, update):
        batch_size, updates_per_epoch, num_updates = self._sizes
        # The last window may go beyond the end of the run.
        epoch, position = divmod(min(update, num_updates - 1), updates_per_epoch)
        with self._lock:
            order = self._order(epoch)
        return order[position * batch_size + self._columns]


def _check_finite(rows: Any, numbers: Int[np.ndarray, " rows"]) -> None:
    """Data in memory are looked at as a whole, before the first update; these as they come."""
    for path, x in jax.tree_util.tree_leaves_with_path(rows):
        if jax.numpy.issubdtype(x.dtype, np.inexact):
            bad = ~np.isfinite(x).reshape(len(x), -1).all(axis=1)
            if bad.any():
                raise ValueError(
                    f"data{jax.tree_util.keystr(path)}: row {numbers[bad][0]} holds NaN or "
                    "infinity; leave such rows out, or fill the gaps"
                )


def _shared(mesh: Mesh | None, batch_size: int) -> NamedSharding | None:
    """How windows lie: their second axis is shared among the devices, if that can be."""
    if mesh is None:
        return None
    is_even = parallel.ROWS in mesh.shape and batch_size % mesh.shape[parallel.ROWS] == 0
    return NamedSharding(mesh, PartitionSpec(None, parallel.ROWS) if is_even else PartitionSpec())


def _columns(sharding: Any, batch_size: int) -> Int[np.ndarray, " columns"]:
    """The columns of a window (L, B, …) that lie on this host's devices."""
    if sharding is None:
        return np.arange(batch_size)
    indices = sharding.addressable_devices_indices_map((1, batch_size)).values()
    columns = [np.arange(batch_size)[column] for _, column in indices]
    return np.unique(np.concatenate(columns))
