"""Batches for the training loop: from data resident on the device, or streamed from the host.

The batch of update t depends on (seed, t) alone, and both ways give the same bits. An epoch is a
random permutation of the N examples, cut into N // B batches of B; the remainder N mod B is left
out, other examples in each epoch, so that all updates have one shape and one weight.
"""

import concurrent.futures
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax.typing import Array, Int, Key

# Two windows of streamed batches are on the device at a time: one in use, one on its way.
_WINDOW_BYTES = 64 << 20


class Window(NamedTuple):
    """Batches for some consecutive updates, on the device.

    Attributes:
      data: pytree of arrays with a common leading axis.
      order: (rows,) int32; update i of the window takes the rows order[i·B : (i+1)·B] of `data`.
      position: number of the window's updates that are done.
      remaining: number that are left.
    """

    data: Any
    order: Array
    position: int
    remaining: int


class Resident:
    """All data on the device, gathered there."""

    def __init__(
        self, data: Any, order_key: Key[Array, ""], batch_size: int, *, placement: Any = None
    ):
        """Copies data that are not on a device yet.

        Args:
          data: pytree of arrays, leading axis N. Arrays that lie on devices stay where they are.
          order_key: key of the epochs' orders.
          batch_size: B.
          placement: sharding of data from the host; None means the default device.
        """
        self._num_examples = num_examples(data)
        self._updates_per_epoch = self._num_examples // batch_size
        self._order_key = order_key
        self._data = jax.tree.map(
            lambda x: x if isinstance(x, jax.Array) else jax.device_put(x, placement), data
        )
        self._epoch: int | None = None
        self._order: Any = None

    def window(self, update: int) -> Window:
        """Returns the batches from `update` to its epoch's end."""
        epoch, position = divmod(update, self._updates_per_epoch)
        if epoch != self._epoch:
            self._order = _epoch_order(self._order_key, epoch, self._num_examples)
            self._epoch = epoch
        return Window(self._data, self._order, position, self._updates_per_epoch - position)

    def close(self) -> None:
        """Nothing to end."""


class Streamed:
    """Data on the host, such as a `np.memmap`: a thread gathers the next window's batches."""

    def __init__(
        self,
        data: Any,
        order_key: Key[Array, ""],
        batch_size: int,
        *,
        num_epochs: int,
        window_bytes: int = _WINDOW_BYTES,
        placement: Any = None,
    ):
        """Starts the thread.

        Args:
          data: pytree of arrays, leading axis N.
          order_key: key of the epochs' orders.
          batch_size: B.
          num_epochs: no window beyond them is prepared.
          window_bytes: upper bound of a window's size; at least one batch is taken.
          placement: sharding of the windows; None means the default device.
        """
        self._data = jax.tree.map(np.asanyarray, data)
        self._num_examples = num_examples(data)
        self._batch_size = batch_size
        self._order_key = order_key
        self._num_epochs = num_epochs
        self._placement = placement
        self._updates_per_epoch = self._num_examples // batch_size
        batch_bytes = num_bytes(data) * batch_size // self._num_examples
        length = max(1, window_bytes // max(1, batch_bytes))
        self._window_length = min(length, self._updates_per_epoch)
        # The rows of a window lie in the order of their use.
        self._order = jnp.arange(self._window_length * batch_size)
        self._executor = concurrent.futures.ThreadPoolExecutor(1, "dbn_jax-feeding")
        self._futures: dict[tuple[int, int], concurrent.futures.Future] = {}
        self._epoch_order: tuple[int, Any] = (-1, None)

    def window(self, update: int) -> Window:
        """Returns the window that holds `update`, and has the next one gathered."""
        epoch, in_epoch = divmod(update, self._updates_per_epoch)
        number, position = divmod(in_epoch, self._window_length)
        ends = min((number + 1) * self._window_length, self._updates_per_epoch)
        following = (epoch, number + 1) if ends < self._updates_per_epoch else (epoch + 1, 0)
        wanted = [(epoch, number), following]
        self._futures = {
            which: self._futures.get(which) or self._executor.submit(self._gather, *which)
            for which in wanted
            if which[0] < self._num_epochs
        }
        data = self._futures[epoch, number].result()
        return Window(data, self._order, position, ends - in_epoch)

    def close(self) -> None:
        """Ends the thread."""
        self._executor.shutdown(cancel_futures=True)

    def _gather(self, epoch: int, number: int) -> Any:
        if self._epoch_order[0] != epoch:  # only the executor's single thread comes here
            order = np.asarray(_epoch_order(self._order_key, epoch, self._num_examples))
            self._epoch_order = epoch, order[: self._updates_per_epoch * self._batch_size]
        rows = self._window_length * self._batch_size
        chosen = self._epoch_order[1][number * rows : (number + 1) * rows]

        def gather(x):
            # An epoch's last window is filled up, so that all have one shape; a new buffer each
            # time, because the device may use it where it lies.
            buffer = np.zeros((rows, *x.shape[1:]), x.dtype)
            buffer[: len(chosen)] = x[chosen]
            return jax.device_put(buffer, self._placement)

        return jax.tree.map(gather, self._data)


def open_source(
    data: Any,
    order_key: Key[Array, ""],
    *,
    batch_size: int,
    num_epochs: int,
    stream: bool | None,
    max_resident_bytes: int,
    placement: Any = None,
) -> Resident | Streamed:
    """Chooses how the data come to the device.

    Args:
      data: array, or pytree of arrays, with a common leading axis N.
      order_key: key of the epochs' orders; consumed.
      batch_size: B.
      num_epochs: number of epochs that will be asked for.
      stream: True streams from the host, False keeps all data on the device, None streams data on
        the host that are larger than `max_resident_bytes`.
      max_resident_bytes: see `stream`; it also bounds the size of two streamed windows.
      placement: sharding of what comes from the host; None means the default device.

    Returns:
      A source of windows.

    Raises:
      ValueError: the leading axes differ, or there are fewer examples than one batch takes.
    """
    n = num_examples(data)
    if n < batch_size:
        raise ValueError(
            f"there are {n} examples, fewer than the batch size {batch_size}; "
            f"choose a batch size of at most {n}"
        )
    if stream is None:
        on_host = not all(isinstance(x, jax.Array) for x in jax.tree.leaves(data))
        stream = on_host and num_bytes(data) > max_resident_bytes
    if not stream:
        return Resident(data, order_key, batch_size, placement=placement)
    window_bytes = min(_WINDOW_BYTES, max_resident_bytes // 2)
    return Streamed(
        data,
        order_key,
        batch_size,
        num_epochs=num_epochs,
        window_bytes=window_bytes,
        placement=placement,
    )


def num_examples(data: Any) -> int:
    """Returns the length N of the leading axis that all arrays of `data` share.

    Raises:
      ValueError: there is no array, or the leading axes differ.
    """
    shapes = {
        jax.tree_util.keystr(path) or "data": np.shape(x)
        for path, x in jax.tree_util.tree_leaves_with_path(data)
    }
    if not shapes:
        raise ValueError("data holds no array")
    if not all(shapes.values()) or len({shape[0] for shape in shapes.values()}) > 1:
        listing = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(
            f"the arrays of data need one common leading axis, the examples; they have {listing}"
        )
    return next(iter(shapes.values()))[0]


def num_bytes(data: Any) -> int:
    """Returns the size of a pytree's arrays in bytes."""
    return sum(x.nbytes for x in jax.tree.leaves(data))


@functools.partial(jax.jit, static_argnums=2)
def _epoch_order(key: Key[Array, ""], epoch: Any, n: int) -> Int[Array, " n"]:
    return jax.random.permutation(jax.random.fold_in(key, epoch), n)
