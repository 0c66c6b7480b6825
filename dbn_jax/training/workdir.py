"""The folder of one run: its flags, its summary, and the checks made before training starts.

flags.txt       an absl flagfile that repeats the run
summary.json    results, settings, seed, commit, versions, device, wall time; its presence marks the
                run as finished
figures/        pictures; metrics and checkpoints stand beside it

It may lie in a bucket (gs://bucket/run). Buckets have no locks: two runs must not share a folder
there.
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
import types
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from dbn_jax import files, parallel

# Two checkpoints and one being written of the largest published net, its model and its pictures.
_NEEDED_BYTES = 300_000_000
_PACKAGES = ("dbn_jax", "jax", "jaxlib", "optax", "numpy")
# What every summary holds.
_PARTS = {"results": dict, "settings": dict, "program": str, "files": dict}
_SHOWN_DIFFERENCES = 8
# Seconds between two notes of the wall time, which a killed process loses at most.
_NOTE_INTERVAL = 5.0
_CLOCK = "wall_seconds.txt"
# File descriptors of the locks that this process holds until it ends.
_locks: dict[pathlib.Path, int] = {}


class Workdir:
    """The folder of one run, from `open_workdir`; `figures` in it exists.

    `is_done` says whether the run had written its summary.
    """

    def __init__(
        self,
        path: files.Path,
        program: str,
        settings: Mapping[str, Any],
        *,
        is_done: bool,
        flags: str | None = None,
    ):
        """Use `open_workdir`; `flags` is what flags.txt will hold once the run has gone on."""
        self.path = path
        self.is_done = is_done
        self.figures = path / "figures"
        self._clock = path / _CLOCK
        self._program = program
        self._settings = settings
        self._new_flags = flags
        # Now: a checkout that moves on during the run does not change the code in memory.
        self._commit = commit()
        self._opened = time.monotonic()
        self._noted = -_NOTE_INTERVAL
        self._seconds_before = _read_seconds(self._clock)
        self.figures.mkdir(exist_ok=True)

    def wall_seconds(self) -> float:
        """The time that the run has taken, over all its resumptions."""
        return self._seconds_before + time.monotonic() - self._opened

    def note_time(self) -> None:
        """Writes the wall time down, at most every few seconds; call it at every epoch."""
        self._become_longer()
        if time.monotonic() - self._noted >= _NOTE_INTERVAL:
            files.write_text(self._clock, f"{self.wall_seconds():.3f}\n")
            self._noted = time.monotonic()

    def write_summary(
        self, results: Mapping[str, Any], *, seed: int, **more: Any
    ) -> dict[str, Any]:
        """Writes summary.json, which marks the run as finished, and returns what it holds.

        Results are numbers (arrays of one too), strings, lists and dicts. NaN and infinity become
        null. The models and other archives of arrays in the folder are listed with their SHA-256.
        """
        self._become_longer()
        device = jax.devices()[0]
        summary = {
            "results": dict(results),
            "seed": seed,
            "program": self._program,
            "settings": self._settings,
            "commit": self._commit,
            "versions": versions(),
            "device": {
                "platform": device.platform,
                "kind": device.device_kind,
                "count": parallel.num_devices(),
                "processes": jax.process_count(),
            },
            **more,
            "wall_seconds": round(self.wall_seconds(), 3),
            "files": {file.name: files.sha256(file) for file in sorted(self.path.glob("*.npz"))},
        }
        text = json.dumps(_as_json(summary), indent=2, allow_nan=False) + "\n"
        files.write_text(self.path / "summary.json", text)
        return json.loads(text)

    def _become_longer(self) -> None:
        """Takes back what a finished run had found, once it has gone on with more epochs."""
        if self._new_flags is not None:
            (self.path / "summary.json").unlink(missing_ok=True)
            files.write_text(self.path / "flags.txt", self._new_flags)
        self._new_flags = None


def read_summary(path: str | os.PathLike) -> dict[str, Any]:
    """Reads what `Workdir.write_summary` wrote into a folder; ValueError if that is damaged."""
    file = files.path(path) / "summary.json"
    try:
        summary = json.loads(files.read_text(file))
        if not isinstance(summary, dict):
            raise ValueError(f"it holds {str(summary)[:40]}")
        summary.setdefault("files", {})  # early runs did not list them
        for name, kind in _PARTS.items():
            if not isinstance(summary.get(name), kind):
                raise ValueError(f"{name} is missing or of another kind")
    except (ValueError, RecursionError) as e:
        raise ValueError(
            f"{file} is not the summary of a run ({e}); delete it, and the run's own command "
            "writes it anew"
        ) from e
    return summary


def check_files(path: str | os.PathLike, summary: Mapping[str, Any]) -> None:
    """Raises ValueError unless the models that a finished run wrote are still there."""
    for name, digest in summary["files"].items():
        file = files.path(path) / name
        if not file.is_file() or files.sha256(file) != digest:
            what = "holds other bytes than the run wrote" if file.exists() else "is gone"
            raise ValueError(
                f"{file} {what}; put it back, or delete {file.with_name('summary.json')}, and the "
                "run's own command makes it anew"
            )


def open_workdir(
    path: str | os.PathLike,
    flags: Mapping[str, str],
    *,
    program: str,
    settings: Mapping[str, Any] | None = None,
    may_change: frozenset[str] = frozenset(),
    may_grow: Mapping[str, str] = types.MappingProxyType({}),
) -> Workdir:
    """Opens the folder of a run, new or to be resumed, and checks it before anything is computed.

    It is made if need be. On a disk, it is locked against other processes until this one ends, and
    what a killed process left half written in it is removed. An OSError says that it cannot be
    used, a ValueError that it holds something else: only an empty folder is taken, or one with the
    flags of this run.

    Args:
      flags: names and texts of the flags that repeat the run.
      program: what takes the flags, such as ``experiments.train_rbm``.
      settings: what summary.json says of the settings, as JSON; the flags unless given.
      may_change: names of flags that may differ when the run is resumed: they change no result.
      may_grow: names of flags that are numbers, such as epochs, of which the run may get more, also
        when it has finished: it is then to be resumed, and its summary stays until it has made
        another epoch. Or why it may not, and what to do.
    """
    if not os.fspath(path):
        raise ValueError("the workdir is ''; name a folder (--workdir=. is this one)")
    if not os.fspath(path).isprintable():  # flags.txt could not repeat the command
        raise ValueError(f"the workdir is {path!r}; choose one whose name can be printed")
    path = files.absolute(os.path.expanduser(path))
    on_disk = not files.in_bucket(path)
    header = f"# python -m {program} --workdir={path} --flagfile={path / 'flags.txt'}\n"
    text = header + "".join(f"--{name}={value}\n" for name, value in flags.items())
    has_grown = False

    def claim():
        nonlocal has_grown
        with _explained(path):
            if on_disk:
                _check_space(path)
                path.mkdir(parents=True, exist_ok=True)
            has_grown = _check_flags(path, program, flags, may_change, may_grow)
            if on_disk:
                _check_links(path)
                _lock(path)
                files.remove_partial(path)
        if has_grown:
            _note_time_of_summary(path)
        else:
            files.write_text(path / "flags.txt", text)

    parallel.on_first(claim)
    is_done = not has_grown and (path / "summary.json").exists()
    seen = parallel.of_all([(path / "flags.txt").exists(), is_done])
    if not seen[:, 0].all():
        raise OSError(
            f"{path} is not the same folder for all processes of the run; choose as --workdir one "
            "that they share, in a bucket (gs://bucket/run) or on a network disk"
        )
    settings = flags if settings is None else settings
    new_flags = text if has_grown else None
    return Workdir(path, program, settings, is_done=bool(seen[0, 1]), flags=new_flags)


@contextlib.contextmanager
def _explained(path: files.Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        reason = e.strerror or str(e)
        raise OSError(
            e.errno, f"cannot use the workdir {path}: {reason}; choose another --workdir"
        ) from e


def _check_space(path: pathlib.Path) -> None:
    """Refuses a disk that is almost full: a run would lose its work there."""
    folder = next(folder for folder in (path, *path.parents) if folder.exists())
    free = shutil.disk_usage(folder).free
    if free < _NEEDED_BYTES:
        reason = f"{free / 1e6:,.0f} MB are free, and a run may need {_NEEDED_BYTES / 1e6:,.0f} MB"
        raise OSError(errno.ENOSPC, reason)


def _check_links(path: pathlib.Path) -> None:
    """Refuses a folder that holds a symbolic link, through which a run would write elsewhere."""
    for folder, folders, names in os.walk(path):
        for name in folders + names:
            if (entry := pathlib.Path(folder, name)).is_symlink():
                raise ValueError(
                    f"{entry} is a symbolic link, and a run writes inside its workdir alone; put "
                    "there what it points to, or choose another --workdir"
                )


def _check_flags(
    path: files.Path,
    program: str,
    flags: Mapping[str, str],
    may_change: frozenset[str],
    may_grow: Mapping[str, str],
) -> bool:
    """Refuses a folder whose flags.txt tells of another run; returns whether this one is longer."""
    file = path / "flags.txt"
    if not file.exists():
        # A process killed while it opened the folder may leave names that begin with a dot.
        entries = path.iterdir() if path.is_dir() else ()  # a bucket has no empty folders
        if others := sorted(x.name for x in entries if not x.name.startswith(".")):
            named = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
            raise ValueError(
                f"{path} holds {named} and no flags.txt, so that it is no workdir, or has lost its "
                "flags; choose a new or empty folder as --workdir, or put flags.txt back"
            )
        return False
    header, _, lines = files.read_text(file).partition("\n")
    made_by = re.match(r"# python -m (\S+) ", header)
    if made_by is None:
        raise ValueError(f"{file} is not of a run of dbn_jax; choose another --workdir")
    old = {"program": made_by[1], **dict(re.findall(r"^--(\w+)=(.*)$", lines, re.MULTILINE))}
    new = {"program": program, **flags}
    changed = [
        name for name in {**old, **new} if name not in may_change and old.get(name) != new.get(name)
    ]
    if all(name in may_grow and name in old and name in new for name in changed):
        for name in changed:
            _check_growth(path, name, old[name], new[name], may_grow[name])
        return bool(changed)
    differences = [
        f"  {name if name == 'program' else f'--{name}'}: "
        f"was {old.get(name, 'not set')}, now {new.get(name, 'not set')}"
        for name in changed
    ]
    if more := differences[_SHOWN_DIFFERENCES:]:
        differences[_SHOWN_DIFFERENCES:] = [f"  and {len(more)} more"]
    raise ValueError(
        f"{path} holds a run with other settings:\n"
        + "\n".join(differences)
        + f"\nUse another --workdir, or go on with that run: --workdir={path} --flagfile={file}"
    )


def _check_growth(path: files.Path, name: str, old: str, new: str, fault: str) -> None:
    if float(new) < float(old):
        raise ValueError(
            f"--{name}={new}, but the run in {path} has --{name}={old}: it may become longer, not "
            f"shorter; ask for at least {old}, or choose another --workdir"
        )
    if fault:
        raise ValueError(
            f"--{name}={new}, but the run in {path} has --{name}={old}, and cannot go on to more: "
            f"{fault}"
        )


def _note_time_of_summary(path: files.Path) -> None:
    """The wall time of a finished run that becomes longer goes on."""
    if (path / "summary.json").exists():
        seconds = read_summary(path).get("wall_seconds", 0.0)
        files.write_text(path / _CLOCK, f"{seconds}\n")


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
        if file.exists() and os.path.samestat(os.fstat(_locks[path]), file.stat()):
            return
        os.close(_locks.pop(path))  # of a folder that was deleted meanwhile
    lock = os.open(file, os.O_RDWR | os.O_CREAT)
    try:
        # Not lockf, whose locks end when the process closes any descriptor of the file, as a copy
        # of the folder does.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as e:
        os.close(lock)
        raise OSError(errno.EAGAIN, "it is in use by another run") from e
    except OSError:  # some network file systems have no locks either
        os.close(lock)
        return
    _locks[path] = lock


def versions() -> dict[str, str | None]:
    """The versions of Python and of the packages that results depend on."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # used from a checkout, not installed
            found[name] = None
    return found


def commit() -> str | None:
    """The git commit of the checkout that this package lies in; None if it lies in none of its own.

    It ends in ``-dirty`` if tracked files have changed since.
    """

    def git(*arguments):
        command = ["git", "-C", str(pathlib.Path(__file__).parents[1]), *arguments]
        return subprocess.check_output(
            command, text=True, timeout=30, stderr=subprocess.DEVNULL
        ).strip()

    try:
        # A package that is installed below some other checkout is no part of that.
        git("ls-files", "--error-unmatch", "__init__.py")
        return git("describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None


def _read_seconds(clock: files.Path) -> float:
    text = files.read_text(clock) if clock.exists() else "0"
    try:
        if math.isfinite(seconds := float(text)) and seconds >= 0:
            return seconds
        raise ValueError(text)
    except ValueError as e:
        raise ValueError(
            f"{clock} holds {text[:20]!r}, not a number of at least 0; write the seconds that the "
            "run has taken, or delete it"
        ) from e


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
