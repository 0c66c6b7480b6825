"""Where the rows of a data set are: in memory, or in files that are read as rows are needed.

Data are a pytree of arrays with a common leading axis, the rows. They are *read* if one of the
arrays is a `np.memmap`, or if they are a data source: one object with ``len(source)`` and
``source[number]``, a row as a pytree of arrays and numbers; such are `tfds.data_source`, and the
sources and `MapDataset` of Grain. Data that are read may be larger than memory: what is to stand
for all of them is looked at in rows that are spread over them.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax.typing import Int

NUM_LOOKED_AT = 1000  # rows that stand for all those that are read
_BY = "by grain.MapDataset.source(source).map(function)"


def is_read(data: Any) -> bool:
    """Whether the data lie in files, and are read as they are needed."""
    return is_source(data) or any(isinstance(x, np.memmap) for x in jax.tree.leaves(data))


def is_source(data: Any) -> bool:
    """Whether the data are a data source; tables and sparse matrices have a shape, and are none."""
    return (
        jax.tree_util.all_leaves([data])
        and not isinstance(data, (str, bytes))
        and not hasattr(data, "shape")
        and hasattr(data, "__len__")
        and hasattr(data, "__getitem__")
    )


def num_rows(data: Any) -> int:
    """The number of rows."""
    return len(data if is_source(data) else jax.tree.leaves(data)[0])


def reader(data: Any) -> Callable[[Int[np.ndarray, " rows"]], Any]:
    """The function from numbers of rows to these rows, in this order, as arrays.

    It raises a ValueError if a row of a data source cannot be read, or is unlike row 0.
    """
    if is_source(data):
        return _SourceReader(data)
    return lambda numbers: jax.tree.map(lambda x: _native(x[numbers]), data)


def _native(x):
    """In this machine's order of bytes: files may hold another, which devices do not know."""
    return x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))


def look_at(data: Any) -> Any:
    """The data, or if they are read some rows that stand for them."""
    return spread(data, NUM_LOOKED_AT) if is_read(data) else data


def spread(data: Any, count: int) -> Any:
    """At most `count` rows, evenly spread; see `spread_numbers`."""
    size = num_rows(data)
    return reader(data)(spread_numbers(size, min(count, size)))


def spread_numbers(size: int, count: int) -> Int[np.ndarray, " count"]:
    """Numbers of `count` of so many rows, evenly spread; of fewer rows, each in turn and again.

    They are one row of each of `count` equal parts, drawn alike at each call: the first rows of a
    sorted file are all of one class, and every second row of a file whose ten classes take turns is
    of five.
    """
    if count > size:
        return np.arange(count) % size
    edges = np.linspace(0, size, count + 1).astype(int)
    draws = np.random.RandomState(0).random_sample(count)  # its streams are frozen
    return edges[:-1] + (draws * np.diff(edges)).astype(int)


class _SourceReader:
    """Reads rows of a data source, all like row 0, into arrays."""

    def __init__(self, source: Any):
        self._source = source
        (first,) = self._rows([0])
        leaves, self._structure = jax.tree.flatten(first)
        self._kinds = [_kind(x) for x in leaves]
        numeric = [jnp.issubdtype(t, jnp.number) or t.kind == "b" for t, _ in self._kinds]
        if not (leaves and all(numeric)):
            raise TypeError(
                f"row 0 of the data source holds {_described(first)}; rows are arrays and numbers: "
                f"convert what is none, or leave it out, {_BY}"
            )

    def __call__(self, numbers):
        columns = [np.empty((len(numbers), *shape), dtype) for dtype, shape in self._kinds]
        for i, row in enumerate(self._rows(numbers.tolist())):
            leaves, structure = jax.tree.flatten(row)
            if structure != self._structure or [_kind(x) for x in leaves] != self._kinds:
                (first,) = self._rows([0])
                raise ValueError(
                    f"row {numbers[i]} of the data source holds {_described(row)}, but row 0 "
                    f"{_described(first)}: make all rows alike, {_BY}"
                )
            for column, x in zip(columns, leaves, strict=True):
                column[i] = x
        return jax.tree.unflatten(self._structure, columns)

    def _rows(self, numbers):
        try:
            # Where a source has it: one by one, records of a file take ten times as long.
            if together := getattr(self._source, "__getitems__", None):
                return together(numbers)
            return [self._source[number] for number in numbers]
        except Exception as error:  # each source has its own
            if len(numbers) > 1:  # one of them is to be named
                return [row for number in numbers for row in self._rows([number])]
            raise ValueError(
                f"row {numbers[0]} of the data source cannot be read ({type(error).__name__}: "
                f"{error}): mend it, or leave it out"
            ) from error


def _kind(x):
    return np.asarray(x).dtype, np.shape(x)


def _described(row):
    """The type and shape of each leaf of a row, and its place."""
    leaves = jax.tree_util.tree_leaves_with_path(row)
    kinds = ((jax.tree_util.keystr(path), *_kind(x)) for path, x in leaves)
    texts = [f"{dtype}{list(shape)}" + (f" at {at}" if at else "") for at, dtype, shape in kinds]
    return ", ".join(texts) or "nothing"
