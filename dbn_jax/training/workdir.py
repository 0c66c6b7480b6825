"""The folder of one run: its flags, its summary, and the checks made before training starts.

flags.txt       an absl flagfile that repeats the run
summary.json    final figures, seed, commit, versions, device, wall time; there means: done
metrics.csv  checkpoints/  figures/     by convention, for the experiment to fill
"""

import contextlib
import errno
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax

_PROBE_BYTES = 64 << 10
_PACKAGES = ("dbn_jax", "jax", "jaxlib", "optax", "numpy")
# Seconds between two notes of the wall time, which a killed process loses at most.
_NOTE_INTERVAL = 5.0
# File descriptors of the locks that this process holds until it ends.
_locks: dict[pathlib.Path, int] = {}


class Workdir:
    """The folder of one run, from `open_workdir`.

    Attributes:
      path: of the folder.
      figures: path of the folder of pictures, which exists.
      metrics: path of the metrics file.
    """

    def __init__(self, path: pathlib.Path, program: str, flags: dict[str, str]):
        """Use `open_workdir`."""
        self.path = path
        self.figures = path / "figures"
        self.metrics = path / "metrics.csv"
        self._program = program
        self._flags = flags
        # Now: a checkout that moves on during the run does not change the code in memory.
        self._commit = commit()
        self._opened = time.monotonic()
        self._noted = -_NOTE_INTERVAL
        self._seconds_before = 0.0
        if self._clock.exists():
            text = self._clock.read_text(encoding="utf-8")
            try:
                self._seconds_before = float(text)
            except ValueError as e:
                raise ValueError(
                    f"{self._clock} holds {text[:20]!r}, not a number; write the seconds that the "
                    "run has taken, or delete it"
                ) from e
        self.figures.mkdir(exist_ok=True)

    @property
    def _clock(self) -> pathlib.Path:
        return self.path / "wall_seconds.txt"

    def checkpoints(self, phase: str) -> pathlib.Path:
        """Returns the path of a phase's checkpoints, such as those of one layer."""
        return self.path / "checkpoints" / phase

    @property
    def is_done(self) -> bool:
        """Whether the run has written its summary."""
        return (self.path / "summary.json").exists()

    def summary(self) -> dict[str, Any]:
        """Reads the summary of a finished run; raises ValueError if it is damaged."""
        return read_summary(self.path)

    def wall_seconds(self) -> float:
        """Returns the time that the run has taken, over all its resumptions."""
        return self._seconds_before + time.monotonic() - self._opened

    def note_time(self) -> None:
        """Writes the wall time down, at most every few seconds; call it at every epoch."""
        if time.monotonic() - self._noted >= _NOTE_INTERVAL:
            _write_atomically(self._clock, f"{self.wall_seconds():.3f}\n")
            self._noted = time.monotonic()

    def write_summary(self, figures: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
        """Writes summary.json, which marks the run as done.

        Args:
          figures: final figures by name; numbers (arrays of one too), strings, lists and dicts.
            NaN and infinity become null.
          seed: that the run was made with.

        Returns:
          What was written: the figures, and seed, program, flags, commit, versions, device, wall
          time.
        """
        devices = jax.devices()
        summary = {
            "figures": dict(figures),
            "seed": seed,
            "program": self._program,
            "flags": self._flags,
            "commit": self._commit,
            "versions": versions(),
            "device": {
                "platform": devices[0].platform,
                "kind": devices[0].device_kind,
                "count": len(devices),
            },
            "wall_seconds": round(self.wall_seconds(), 3),
        }
        text = json.dumps(_as_json(summary), indent=2, allow_nan=False) + "\n"
        _write_atomically(self.path / "summary.json", text)
        return json.loads(text)


def read_summary(path: str | os.PathLike) -> dict[str, Any]:
    """Reads what `Workdir.write_summary` wrote.

    Args:
      path: of the folder.

    Raises:
      OSError: there is no summary.
      ValueError: it is damaged.
    """
    file = pathlib.Path(path) / "summary.json"
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(summary, dict) or not summary.keys() >= {"figures", "flags", "program"}:
            raise ValueError("figures, flags or program is missing")
    except ValueError as e:
        raise ValueError(
            f"{file} is not the summary of a run ({e}); delete it, and the run's own command "
            "writes it anew"
        ) from e
    return summary


def open_workdir(
    path: str | os.PathLike,
    flags: Mapping[str, Any],
    *,
    program: str,
    needed_bytes: int = 0,
    ignored: Iterable[str] = ("workdir",),
) -> Workdir:
    """Opens the folder of a run, new or to be resumed, and checks it before anything is computed.

    Args:
      path: of the folder; made if need be.
      flags: names and values of the flags that define the run: bool, int, float, str, path, None
        (left out), or a sequence of these (joined by commas).
      program: what takes the flags, such as ``experiments.train_rbm``.
      needed_bytes: free disk space that the run needs.
      ignored: names of flags that may differ when a run goes on: they change no result.

    Returns:
      The folder, locked against other processes until this one ends.

    Raises:
      OSError: the folder cannot be written, lacks space, or is in use by another process.
      ValueError: it holds a run with other flags; names each with its old and new value. Or it is
        no workdir, but holds a summary; or the path is empty.
    """
    if not os.fspath(path):
        raise ValueError("the workdir is ''; name a folder (--workdir=. is this one)")
    if not os.fspath(path).isprintable():  # flags.txt could not repeat the command
        raise ValueError(f"the workdir is {path!r}; choose one whose name can be printed")
    path = pathlib.Path(path).expanduser().absolute()
    with _explained(path):
        folder = next(folder for folder in (path, *path.parents) if folder.exists())
        free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise OSError(
            errno.ENOSPC,
            f"the workdir {path} has {free / 1e6:,.0f} MB free, the run needs "
            f"{needed_bytes / 1e6:,.0f} MB; make room, or choose another --workdir",
        )
    with _explained(path):
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe-{os.getpid()}"
        try:
            probe.write_bytes(bytes(_PROBE_BYTES))
        finally:
            probe.unlink(missing_ok=True)
    _lock(path)
    values = {name: _as_text(name, value) for name, value in flags.items() if value is not None}
    _check_flags(path, program, values, frozenset(ignored))
    lines = [f"# python -m {program} --workdir={path} --flagfile={path / 'flags.txt'}"]
    lines += [f"--{name}={value}" for name, value in values.items()]
    _write_atomically(path / "flags.txt", "\n".join(lines) + "\n")
    return Workdir(path, program, values)


@contextlib.contextmanager
def _explained(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        reason = e.strerror or str(e)
        raise OSError(
            e.errno, f"cannot write the workdir {path}: {reason}; choose another --workdir"
        ) from e


def versions() -> dict[str, str | None]:
    """Returns the versions of Python and of the packages that results depend on."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # used from a checkout, not installed
            found[name] = None
    return found


def commit() -> str | None:
    """Returns the git commit of the checkout that this package lies in.

    Returns:
      The hash, with ``-dirty`` if tracked files have changed since; None if the package does not
      lie in a checkout of its own, or there is no git.
    """

    def git(*arguments):
        return subprocess.run(
            ["git", "-C", str(pathlib.Path(__file__).parents[1]), *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout.strip()

    try:
        # A package that is installed below some other checkout is no part of that.
        git("ls-files", "--error-unmatch", "__init__.py")
        return git("describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None


def _check_flags(
    path: pathlib.Path, program: str, values: dict[str, str], ignored: frozenset[str]
) -> None:
    """Refuses a folder whose flags.txt tells of another run."""
    file = path / "flags.txt"
    if not file.exists():
        if (path / "summary.json").exists():
            raise ValueError(
                f"{path} holds a summary.json, but is no workdir of a run (it has no flags.txt); "
                "choose another --workdir"
            )
        return
    header, _, lines = file.read_text(encoding="utf-8").partition("\n")
    made_by = re.match(r"# python -m (\S+) ", header)
    if made_by is None:
        raise ValueError(f"{file} is not of a run of dbn_jax; choose another --workdir")
    old_program = made_by[1]
    old = dict(re.findall(r"^--(\w+)=(.*)$", lines, re.MULTILINE))
    differences = [
        f"  --{name}: was {old.get(name, 'not set')}, now {values.get(name, 'not set')}"
        for name in {**old, **values}
        if name not in ignored and old.get(name) != values.get(name)
    ]
    if old_program != program:
        differences.insert(0, f"  program: was {old_program}, now {program}")
    if differences:
        raise ValueError(
            f"{path} holds a run with other settings:\n"
            + "\n".join(differences)
            + f"\nUse another --workdir, or go on with that run: --workdir={path} --flagfile={file}"
        )


def _as_text(name: str, value: Any) -> str:
    """Writes a flag's value as absl reads it."""
    if isinstance(value, (list, tuple)):
        parts = [_as_text(name, part) for part in value]
        if any("," in part for part in parts):
            raise ValueError(f"flag {name}: {value!r} has a comma inside an element")
        return ",".join(parts)
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, (int, float, str, os.PathLike)):
        raise TypeError(
            f"flag {name} is {value!r}; flags are numbers, text, paths or lists of them"
        )
    text = repr(value) if isinstance(value, float) else str(value)
    if text != text.strip() or len(text.splitlines()) > 1:
        raise ValueError(f"flag {name} is {text!r}; a flagfile cannot hold its white space")
    return text


def _as_json(value: Any) -> Any:
    """Makes numbers of numpy and jax scalars, lists of arrays, text of paths, None of NaN."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(name): _as_json(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no word for it
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _write_atomically(path: pathlib.Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())  # or a power failure may leave the new name with nothing in it
    os.replace(temporary, path)


def _lock(path: pathlib.Path) -> None:
    """Takes the folder for this process; the system frees it when the process ends, killed or not.

    The process itself may open it again, as a notebook does after an interruption.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no such locks
        return
    path = path.resolve()  # links and .. may name one folder twice
    file = path / ".lock"
    if path in _locks:
        held = os.fstat(_locks[path])
        if file.exists() and os.path.samestat(held, file.stat()):
            return
        os.close(_locks.pop(path))  # of a folder that was deleted meanwhile
    lock = os.open(file, os.O_RDWR | os.O_CREAT)
    try:
        # Not lockf, whose locks end when the process closes any descriptor of the file, as a copy
        # of the folder does.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as e:
        os.close(lock)
        raise OSError(
            errno.EAGAIN, f"the workdir {path} is in use by another run; choose another --workdir"
        ) from e
    except OSError:  # some network file systems have no locks either
        os.close(lock)
        return
    _locks[path] = lock
