"""Files on this machine's disks or in a bucket of Google Cloud Storage (gs://bucket/folder/file).

They appear whole or not at all: on a disk a partial file takes the name when it is complete, in a
bucket an object is there when all of it has come. Whoever is given the name of a file or folder
makes a path of it by `path` or `absolute`, and works with it as with any `pathlib.Path`.
"""

import contextlib
import errno
import functools
import hashlib
import io
import logging
import os
import pathlib
import tempfile
import time
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from dbn_jax import parallel

# A pathlib.Path, or an epath.Path in a bucket, which has its methods and is no subclass of it.
if TYPE_CHECKING:
    Path = pathlib.Path
else:
    Path = pathlib.PurePath

_BUCKETS = "gs://"
_TIMEOUT = 20  # seconds until Google must have answered whether a bucket can be used
# Google takes an object in a bucket, which cannot grow, once a second at most. What waits for it is
# found here, by path, by those who read; and all of it, in processes that do not write.
_INTERVAL = 2.0
_waiting: dict[Path, bytes] = {}
# Ending of what a killed process leaves half written: ".name.pid.partial" beside the file "name".
_PARTIAL = ".partial"
_REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
    errno.EACCES: "get the permission to write there",
    errno.EPERM: "get the permission to write there",
    errno.EROFS: "mount it for writing",
    errno.ENOTDIR: "move the file away that has a folder's name",
    errno.EEXIST: "move the file away that has a folder's name",
    errno.EISDIR: "move it away",
    errno.ENOENT: "put the folder back",
}


def path(place: str | os.PathLike) -> Path:
    """The path of a name; the bucket that it lies in, if it does, can be reached."""
    if not in_bucket(place):
        return pathlib.Path(place)
    text = os.fspath(place)
    if not text.startswith(_BUCKETS):
        raise ValueError(
            f"{text!r} is an address in a network, of which only buckets are used, as "
            f"{_BUCKETS}bucket/folder; name one, or a local folder"
        )
    _reach(text.removeprefix(_BUCKETS).partition("/")[0])
    from etils import epath

    # It has what pathlib.Path has, without being one.
    return epath.Path(text)  # pyright: ignore[reportReturnType]


def absolute(place: str | os.PathLike) -> Path:
    """The path of a name, wherever the program goes."""
    found = path(place)
    return found if in_bucket(found) else found.absolute()


def in_bucket(place: str | os.PathLike) -> bool:
    """Whether a name is the address of something in a bucket, not on this machine's disks."""
    return "://" in os.fspath(place)


@functools.cache
def _reach(bucket: str) -> None:
    """Raises one sentence unless the bucket can be used, told by a single request."""
    address = f"{_BUCKETS}{bucket}"
    if not bucket:
        raise ValueError(f"{address} names no bucket; write {_BUCKETS}bucket/folder")
    # Whether TensorFlow is installed or not, buckets are reached in one way.
    os.environ["EPATH_USE_TF"] = "false"
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # its failures come as exceptions
    try:
        import fsspec.config
        import gcsfs  # noqa: F401
        import requests
        from google.api_core import exceptions as answers
        from google.auth import exceptions as identities
        from google.cloud import storage
    except ImportError as e:
        raise ImportError(
            f"{address} is in Google Cloud Storage, and what reads and writes there is not "
            "installed: pip install 'dbn_jax[gcs]'"
        ) from e
    # Other processes write there, too: a file would be cut to the size that a listing once told.
    fsspec.config.conf.setdefault("gs", {}).setdefault("use_listings_cache", False)
    try:
        # Its annotations do not know of None, which its documentation has.
        options: Any = {"retry": None, "timeout": _TIMEOUT}
        objects = storage.Client().list_blobs(bucket, max_results=1, **options)
        next(iter(objects), None)
    except Exception as e:
        match e:
            case answers.NotFound():
                reason = (
                    "there is no such bucket; name another, or make it: gcloud storage buckets "
                    f"create {address}"
                )
            case answers.Forbidden():
                reason = (
                    "your account may not read it; have it given the role Storage Admin on the "
                    "bucket"
                )
            case requests.ConnectionError() | requests.Timeout() | identities.TransportError():
                reason = "Google Cloud Storage does not answer; connect this machine to the network"
            case answers.Unauthorized() | identities.GoogleAuthError():
                reason = (
                    "this machine has no valid credentials of Google Cloud; run gcloud auth "
                    "application-default login"
                )
            case _:
                reason = str(e).partition("\n")[0]
        raise OSError(f"cannot use {address}: {reason}") from e


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """Opens a file that takes the place of `path` if the block ends well, else goes.

    A symbolic link is replaced; what it points to stays as it is. Missing folders are made. Of
    several processes the first alone writes.
    """
    path = absolute(path)
    if not parallel.is_first():
        yield io.BytesIO()
        return
    if in_bucket(path):
        content = io.BytesIO()
        yield content
        _upload(path, content.getvalue())
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}{_PARTIAL}")
    with named(f"cannot write {path}"):
        if path.exists() and not (path.is_file() or path.is_symlink()):
            raise OSError(errno.EISDIR, "it is a folder or a device")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)  # "x" does not follow links, but refuses what is there
        try:
            with partial.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # or a power failure may leave the new name with nothing
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


class Growing:
    """A file that grows: on a disk at once, in a bucket within two seconds or by `flush`.

    Of several processes the first alone writes.
    """

    def __init__(self, path: Path, content: bytes = b""):
        """Begins anew, with this content."""
        self._path, self._content = path, content
        with replacing(path) as file:
            file.write(content)
        self._written = time.monotonic()

    def append(self, more: bytes) -> None:
        """Adds to its end."""
        if parallel.is_first() and not in_bucket(self._path):
            with named(f"cannot write {self._path}"), self._path.open("ab") as file:
                file.write(more)
            return
        self._content += more
        _waiting[self._path] = self._content
        if time.monotonic() - self._written >= _INTERVAL:
            self.flush()

    def flush(self) -> None:
        """Writes what waits."""
        if self._path in _waiting and parallel.is_first():
            with replacing(self._path) as file:
                file.write(self._content)
            del _waiting[self._path]
            self._written = time.monotonic()


def waiting(place: str | os.PathLike) -> bytes | None:
    """What a `Growing` file holds, if some of it waits to be written."""
    return _waiting.get(path(place))


def _upload(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except Exception as e:  # of Google, of aiohttp, of requests, and OSErrors
        raise OSError(f"cannot write {path}: {' '.join(why(e).split())}") from e


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text that appears whole or not at all."""
    with replacing(path) as file:
        file.write(text.encode())


def read_text(path: str | os.PathLike, *, encoding: str = "utf-8") -> str:
    """Reads a text; a ValueError names the file that holds something else."""
    try:
        with open_text(path, encoding=encoding) as file:
            return file.read()
    except UnicodeDecodeError as e:
        raise ValueError(f"{path} is damaged: it holds bytes that are no text ({e.reason})") from e


def open_text(
    place: str | os.PathLike, *, encoding: str = "utf-8", **options: Any
) -> io.TextIOWrapper:
    """Opens a text to be read; the options are those of `open`."""
    return io.TextIOWrapper(path(place).open("rb"), encoding=encoding, **options)


@contextlib.contextmanager
def on_disk(folder: Path) -> Iterator[pathlib.Path]:
    """The folder, or a copy of one in a bucket, for what reads disks only.

    The copy, without the folders in it, goes when the block ends.
    """
    if not in_bucket(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory() as copy:
        for file in folder.glob("*"):
            if file.is_file():
                pathlib.Path(copy, file.name).write_bytes(file.read_bytes())
        yield pathlib.Path(copy)


def sha256(place: str | os.PathLike) -> str:
    """The SHA-256 of a file, as sha256sum prints it."""
    with path(place).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_partial(folder: pathlib.Path) -> None:
    """Removes what killed processes have left half written in a folder and the folders in it."""
    for partial in folder.rglob(f".*{_PARTIAL}"):
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def named(what: str) -> Iterator[None]:
    """Makes an OSError of the block say what failed, why, and what to do."""
    try:
        yield
    except OSError as e:
        raise OSError(e.errno or errno.EIO, f"{what}: {why(e)}") from e


def why(error: Exception) -> str:
    """The cause of a failure, such as "No space left on device; make room".

    Storage layers report other exceptions than OSError, with the system's words in their texts.
    """
    for number, remedy in _REMEDIES.items():
        if isinstance(error, OSError) and error.errno == number:
            return f"{error.strerror}; {remedy}"
        if os.strerror(number) in str(error):
            return f"{os.strerror(number)}; {remedy}"
    return getattr(error, "strerror", None) or str(error)
