"""metrics.csv: one row per epoch, readable by any tool, and the same after an interruption.

The same numbers go into events for TensorBoard, in the folder `tensorboard` beside it.
"""

import contextlib
import csv
import io
import math
import os
from collections.abc import Iterable, Mapping

import numpy as np

from dbn_jax import files
from dbn_jax.training.events import EventFile


class MetricsFile(contextlib.AbstractContextManager):
    """Appends rows to a CSV file whose columns the first row fixes.

    In a bucket, a row may wait for two seconds; `flush` and the end of the context write it. The
    rows go to the events, too.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        keep_epochs: int | None = None,
        events: EventFile | None = None,
    ):
        """Begins a new file, or keeps the rows of one up to an epoch.

        Later rows are dropped: they were written after the checkpoint that the run goes on from.
        """
        self._path = files.absolute(path)
        self._columns: list[str] | None = None
        kept = "" if keep_epochs is None or not self._path.exists() else self._kept(keep_epochs)
        self._file = files.Growing(self._path, kept.encode())
        self._events = events

    def append(self, row: Mapping[str, float | int | None]) -> None:
        """Adds a row with the names of the rows before it; None leaves a cell empty."""
        columns = self._columns or list(row)
        if set(row) != set(columns):
            raise ValueError(
                f"the columns of {self._path} are fixed by its first row; this row adds "
                f"{sorted(set(row) - set(columns))} and lacks {sorted(set(columns) - set(row))}. "
                "Report the same metrics at every epoch"
            )
        cells = [row[name] for name in columns]
        lines = io.StringIO(newline="")
        writer = csv.writer(lines, lineterminator="\n")
        if self._columns is None:
            writer.writerow(columns)
        # Nine digits tell any two float32 numbers apart.
        writer.writerow([f"{x:.9g}" if isinstance(x, float) else x for x in cells])
        self._file.append(lines.getvalue().encode())
        self._columns = columns
        if self._events is not None:
            self._events.append(row)

    def flush(self) -> None:
        """Writes the rows that wait."""
        self._file.flush()
        if self._events is not None:
            self._events.flush()

    def __exit__(self, *exception) -> None:
        self.flush()

    def _kept(self, epochs: int) -> str:
        # Bytes that are no text become cells that are no numbers, and are named as such.
        with files.open_text(self._path, errors="replace") as file:
            lines = file.read().splitlines(keepends=True)
        if lines and not lines[-1].endswith("\n"):
            lines.pop()  # a process that was killed has left it half written
        if lines:
            table = _parse(lines, self._path)
            if "epoch" not in table or np.any(table["epoch"] % 1):
                raise ValueError(
                    f"{self._path} needs a column epoch of whole numbers; mend the file, or move "
                    "it away to begin a new one"
                )
            self._columns = list(table)
            rows = zip(lines[1:], table["epoch"], strict=True)
            lines[1:] = [line for line, epoch in rows if epoch <= epochs]
        return "".join(lines)


class Columns(dict):
    """The columns of a metrics.csv; a ValueError names the file that lacks one."""

    def __init__(self, path: str | os.PathLike, columns: Mapping[str, np.ndarray]):
        """Column name to float64 array."""
        super().__init__(columns)
        self._path = path

    def __missing__(self, name):
        raise ValueError(f"{self._path} is damaged: it has no column {name}, but {', '.join(self)}")


def read_metrics(path: str | os.PathLike) -> Columns:
    """Reads the metrics.csv of a run: column name to float64 array, NaN for an empty cell."""
    if (waiting := files.waiting(path)) is not None:
        return _parse(io.StringIO(waiting.decode()), path)
    with files.open_text(path, newline="", errors="replace") as file:
        return _parse(file, path)


def _parse(lines: Iterable[str], path: str | os.PathLike) -> Columns:
    reader, rows, header = csv.reader(lines), [], []
    try:
        header = next(reader, [])
        if not header or len(set(header)) < len(header):
            raise ValueError(f"expected a header of distinct names, got {header}")
        for row in reader:
            rows.append([float(cell) if cell.strip() else math.nan for cell in row])
            if len(row) != len(header):
                raise ValueError(f"{len(row)} cells, but the header names {len(header)} columns")
    except (ValueError, csv.Error) as e:
        raise ValueError(f"{path}, line {max(reader.line_num, 1)}: {e}") from None
    columns = np.array(rows, dtype=np.float64).reshape(len(rows), len(header)).T
    return Columns(path, dict(zip(header, columns, strict=True)))
