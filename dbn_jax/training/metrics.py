"""metrics.csv: one row per epoch, readable by any tool, and the same after an interruption."""

import contextlib
import csv
import math
import os
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np

from dbn_jax.training.workdir import write_atomically


class MetricsFile:
    """Appends rows to a CSV file whose columns the first row fixes."""

    def __init__(self, path: str | os.PathLike, *, keep_epochs: int | None = None):
        """Begins a new file, or keeps the rows of one up to an epoch.

        Later rows are dropped: they were written after the checkpoint that the run goes on from.
        """
        self._path = pathlib.Path(path).absolute()
        self._columns: list[str] | None = None
        with _writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if keep_epochs is None or not self._path.exists():
                self._path.write_text("", encoding="utf-8")
            else:
                self._keep(keep_epochs)

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
        with _writing(self._path), self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if self._columns is None:
                writer.writerow(columns)
            # Nine digits tell any two float32 numbers apart.
            writer.writerow([f"{x:.9g}" if isinstance(x, float) else x for x in cells])
        self._columns = columns

    def _keep(self, epochs: int) -> None:
        # Bytes that are no text become cells that are no numbers, and are named as such.
        text = self._path.read_text(encoding="utf-8", errors="replace")
        lines = text.splitlines(keepends=True)
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
        write_atomically(self._path, "".join(lines))


def read_metrics(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the metrics.csv of a run: column name to float64 array, NaN for an empty cell."""
    with open(path, newline="", encoding="utf-8", errors="replace") as file:
        return _parse(file, path)


def _parse(lines: Iterable[str], path: str | os.PathLike) -> dict[str, np.ndarray]:
    reader, rows = csv.reader(lines), []
    header = next(reader, [])
    if not header or len(set(header)) < len(header):
        raise ValueError(f"{path}, line 1: expected a header of distinct names, got {header}")
    for row in reader:
        try:
            rows.append([float(cell) if cell.strip() else math.nan for cell in row])
            if len(row) != len(header):
                raise ValueError(f"{len(row)} cells, but the header names {len(header)} columns")
        except ValueError as e:
            raise ValueError(f"{path}, line {reader.line_num}: {e}") from None
    columns = np.array(rows, dtype=np.float64).reshape(len(rows), len(header)).T
    return dict(zip(header, columns, strict=True))


@contextlib.contextmanager
def _writing(path: pathlib.Path):
    """Adds the path to errors of writing, which do not name it (a full disk, for one)."""
    try:
        yield
    except OSError as e:
        raise OSError(e.errno, f"cannot write {path}: {e.strerror or e}") from e
