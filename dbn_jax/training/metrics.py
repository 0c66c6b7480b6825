"""metrics.csv: one row per epoch, readable by any tool, and the same after an interruption."""

import csv
import io
import os
import pathlib
from collections.abc import Mapping


class MetricsFile:
    """Appends rows to a CSV file whose columns the first row fixes."""

    def __init__(self, path: str | os.PathLike, *, keep_epochs: int | None = None):
        """Opens the file for a new run, or for one that goes on.

        Args:
          path: of the file; its folder is made if need be.
          keep_epochs: None begins a new file. A number keeps the rows up to that epoch and drops
            the later ones: they were written after the checkpoint that the run goes on from.

        Raises:
          OSError: the file cannot be written.
        """
        self._path = pathlib.Path(path).absolute()
        self._columns: list[str] | None = None
        with _named(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if keep_epochs is not None and self._path.exists():
                self._keep(keep_epochs)
            else:
                self._path.write_text("", encoding="utf-8")

    def append(self, row: Mapping[str, float | int | None]) -> None:
        """Adds a row; None leaves a cell empty.

        Raises:
          ValueError: the row's names are not those of the rows before it.
          OSError: the file cannot be written.
        """
        lines = io.StringIO()
        writer = csv.writer(lines, lineterminator="\n")
        if self._columns is None:
            self._columns = list(row)
            writer.writerow(self._columns)
        elif set(row) != set(self._columns):
            added = sorted(set(row) - set(self._columns))
            missing = sorted(set(self._columns) - set(row))
            raise ValueError(
                f"the columns of {self._path} are fixed by its first row; this row adds {added} "
                f"and lacks {missing}. Report the same metrics at every epoch"
            )
        writer.writerow([_cell(row[name]) for name in self._columns])
        with _named(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(lines.getvalue())

    def _keep(self, epochs: int) -> None:
        lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
        if not lines or not lines[0].endswith("\n"):
            self._path.write_text("", encoding="utf-8")
            return
        header, *rows = lines
        self._columns = next(csv.reader([header]))
        if "epoch" not in self._columns:
            raise ValueError(f"{self._path} has no column named epoch; move it away")
        place = self._columns.index("epoch")
        # A process that is killed may leave a row half written; only the last one can be.
        whole = [row for row in rows if row.endswith("\n")]
        try:
            kept = [row for row in whole if int(next(csv.reader([row]))[place]) <= epochs]
        except (IndexError, ValueError) as e:
            raise ValueError(
                f"{self._path} is damaged: a row has no whole number as its epoch; mend it, or "
                "move it away to begin a new one"
            ) from e
        temporary = self._path.with_name(self._path.name + ".tmp")
        temporary.write_text("".join([header, *kept]), encoding="utf-8")
        os.replace(temporary, self._path)


def _cell(value: float | int | None) -> str:
    if value is None:
        return ""
    # Nine digits tell any two float32 numbers apart.
    return str(value) if isinstance(value, int) else f"{value:.9g}"


class _named:
    """Adds the path to errors of writing, which do not name it (a full disk, for one)."""

    def __init__(self, path: pathlib.Path):
        self._path = path

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            raise OSError(error.errno, f"cannot write {self._path}: {reason}") from error
