"""Files that appear whole or not at all, and what is said when one cannot be written."""

import contextlib
import errno
import hashlib
import os
import pathlib
from collections.abc import Iterator
from typing import IO

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


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """Opens a file beside `path` that takes its place if the block ends well, else goes.

    A symbolic link is replaced; what it points to stays as it is. Missing folders are made.
    """
    path = pathlib.Path(path).absolute()
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


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text that appears whole or not at all."""
    with replacing(path) as file:
        file.write(text.encode())


def read_text(path: str | os.PathLike) -> str:
    """Reads a text; a ValueError names the file that holds something else."""
    try:
        return pathlib.Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as e:
        raise ValueError(f"{path} is damaged: it holds bytes that are no text ({e.reason})") from e


def sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file, as sha256sum prints it."""
    with open(path, "rb") as file:
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
        if getattr(error, "errno", None) == number:
            return f"{error.strerror}; {remedy}"
        if os.strerror(number) in str(error):
            return f"{os.strerror(number)}; {remedy}"
    return getattr(error, "strerror", None) or str(error)
