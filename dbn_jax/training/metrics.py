"""metrics.csv: one row per epoch, readable by any tool, and the same after an interruption."""

import csv
import math
import os
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np

from dbn_jax import files


class MetricsFile:
    """Appends rows to a CSV file whose columns the first row fixes."""

    def __init__(self, path: str | os.PathLike, *, keep_epochs: int | None = None):
        """Begins a new file, or keeps the rows of one up to an epoch.

        Later rows are dropped: they were written after the checkpoint that the run goes on from.
        """
        self._path = pathlib.Path(path).absolute()
        self._columns: list[str] | None = None
        if keep_epochs is None or not self._path.exists():
            files.write_text(self._path, "")
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
        with (
            files.named(f"cannot write {self._path}"),
            self._path.open("a", newline="", encoding="utf-8") as file,
        ):
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
        files.write_text(self._path, "".join(lines))


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
    with open(path, newline="", encoding="utf-8", errors="replace") as file:
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
