"""The folder of one run: its flags, its summary, and the checks made before training starts.

flags.txt       an absl flagfile that repeats the run
summary.json    final figures, seed, commit, versions, device, wall time; there means: done
metrics.csv  checkpoints/  figures/     by convention, for the experiment to fill
"""

import errno
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
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
        self._opened = time.monotonic()
        self._noted = -_NOTE_INTERVAL
        self._seconds_before = 0.0
        if self._clock.exists():
            self._seconds_before = float(self._clock.read_text())
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
        """Reads the summary of a finished run."""
        return json.loads((self.path / "summary.json").read_text())

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
            "commit": commit(),
            "versions": versions(),
            "device": {
                "platform": devices[0].platform,
                "kind": devices[0].device_kind,
                "count": len(devices),
            },
            "wall_seconds": round(self.wall_seconds(), 3),
        }
        text = json.dumps(summary, indent=2, default=_as_json) + "\n"
        _write_atomically(self.path / "summary.json", text)
        return json.loads(text)


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
      ValueError: it holds a run with other flags; names each with its old and new value.
    """
    path = pathlib.Path(path).expanduser().absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe-{os.getpid()}"
        try:
            probe.write_bytes(bytes(_PROBE_BYTES))
        finally:
            probe.unlink(missing_ok=True)
    except OSError as e:
        reason = e.strerror or str(e)
        raise OSError(
            e.errno, f"cannot write the workdir {path}: {reason}; choose another --workdir"
        ) from e
    _lock(path)
    free = shutil.disk_usage(path).free
    if free < needed_bytes:
        raise OSError(
            errno.ENOSPC,
            f"the workdir {path} has {free / 1e6:,.0f} MB free, the run needs "
            f"{needed_bytes / 1e6:,.0f} MB; make room, or choose another --workdir",
        )
    values = {name: _as_text(name, value) for name, value in flags.items() if value is not None}
    _check_flags(path, program, values, frozenset(ignored))
    lines = [f"# python -m {program} --flagfile={path / 'flags.txt'}"]
    lines += [f"--{name}={value}" for name, value in values.items()]
    _write_atomically(path / "flags.txt", "\n".join(lines) + "\n")
    return Workdir(path, program, values)


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
            ["git", "-C", str(pathlib.Path(__file__).parent), *arguments],
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
        return
    header, _, lines = file.read_text().partition("\n")
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
            + f"\nUse another --workdir, or repeat that run with --flagfile={file}"
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
    """Makes numbers of numpy and jax scalars, lists of arrays, and text of paths."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _write_atomically(path: pathlib.Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def _lock(path: pathlib.Path) -> None:
    """Takes the folder for this process; the system frees it when the process ends, killed or not.

    The process itself may open it again, as a notebook does after an interruption.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no such locks
        return
    if path in _locks:
        return
    lock = os.open(path / ".lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as e:
        os.close(lock)
        raise OSError(
            errno.EAGAIN, f"the workdir {path} is in use by another run; choose another --workdir"
        ) from e
    except OSError:  # some network file systems have no locks either
        os.close(lock)
        return
    _locks[path] = lock
