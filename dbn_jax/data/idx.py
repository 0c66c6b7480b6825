"""The IDX format, in which MNIST, Fashion-MNIST, KMNIST, QMNIST and others are published.

A file is a big-endian header, then the numbers of one array, big-endian too: two zero bytes, a code
for their type (8 means unsigned bytes), the number of axes, and one 32-bit size per axis. A data
set is four such files in one folder, gzipped or not (Y. LeCun, C. Cortes and C. Burges, "The MNIST
database"): images (examples, rows, columns[, channels]), and labels (examples,), or QMNIST's
(examples, 8), whose first column is the class (Yadav and Bottou, "Cold case: the lost MNIST
digits", 2019).
"""

import gzip
import math
import os
import re
import sys
import zlib

import numpy as np

from dbn_jax import files

_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_AXES = {"images": (3, 4), "labels": (1, 2)}
_QMNIST_COLUMNS = 8
# The parts, and what their files are called: the test set of EMNIST is test.
_PARTS = {"train": "train", "test": "(?:t10k|test)"}
FILE_NAMES = (
    "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, "
    "t10k-labels-idx1-ubyte (each with or without .gz, and ubyte or another type of number)"
)


def find(folder: str | os.PathLike, prefix: str = "") -> dict[tuple[str, str], files.Path]:
    """The paths of those of the four files that are in the folder, by part and kind.

    `prefix` is what all of their names begin with, such as "emnist-letters-".
    Number of axes and type may differ from MNIST's, as in train-images-idx4-float; a name may also
    end in ".gz", and have a dot before "idx" as some archives unpack.
    """
    paths = sorted(files.path(folder).glob("*"), reverse=True)
    found = {}
    for part, word in _PARTS.items():
        for kind in _AXES:
            name = re.compile(rf"{prefix}{word}-{kind}[-.](idx\d-\w+)(\.gz)?")
            fits = {
                match[1]: path
                for path in paths
                if (match := name.fullmatch(path.name)) and path.is_file()
            }
            if len(fits) > 1:
                raise ValueError(
                    f"{folder} holds {' and '.join(sorted(p.name for p in fits.values()))}: move "
                    "all but one away"
                )
            for path in fits.values():
                found[part, kind] = path
    return found


def read_folder(
    folder: str | os.PathLike, resident_bytes: int = sys.maxsize, prefix: str = ""
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Reads the four files of a data set: (images, labels) of "train" and of "test".

    Images of more bytes stay in their file, a `np.memmap`.
    """
    paths = find(folder, prefix)
    missing = [
        f"{prefix}{'train' if part == 'train' else 't10k'}-{kind}-idx{axes[0]}-ubyte"
        for part in _PARTS
        for kind, axes in _AXES.items()
        if (part, kind) not in paths
    ]
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {', '.join(missing)}: an IDX data set is the files {FILE_NAMES}"
        )
    splits = {
        part: _read_split(paths[part, "images"], paths[part, "labels"], resident_bytes)
        for part in _PARTS
    }
    train, test = (images.shape[1:] for images, _ in splits.values())
    if train != test:
        raise ValueError(
            f"{folder} mixes data sets: training images are {train} pixels, test images {test}"
        )
    return splits


def _read_split(image_path, label_path, resident_bytes):
    images = _read(image_path, "images", resident_bytes)
    labels = _read(label_path, "labels", sys.maxsize)
    columns = labels.shape[1:]
    if labels.dtype.kind not in "ui" or columns not in ((), (_QMNIST_COLUMNS,)):
        raise ValueError(
            f"{label_path} holds {labels.dtype} numbers of shape {labels.shape}; labels are whole "
            f"numbers, one for each image, or QMNIST's {_QMNIST_COLUMNS}, of which the first is "
            "the class"
        )
    if len(images) != len(labels) or images.size == 0:
        raise ValueError(
            f"{image_path} holds images of shape {images.shape} and {label_path} {len(labels)} "
            "labels: there must be one label for each image, and at least one image"
        )
    return images, labels.reshape(len(labels), -1)[:, 0].astype(np.int32)


def _read(path, kind, resident_bytes):
    """The array in a file, gzipped or not (told by its content, not its name)."""
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    can_stay = not (is_gzip or files.in_bucket(path))
    if can_stay and path.stat().st_size > resident_bytes:
        content = np.memmap(path, np.uint8, "r")
    else:
        content = path.read_bytes()
        if is_gzip:
            content = _unzipped(path, content)
        content = np.frombuffer(content, np.uint8)
    start, axes = content[:4].tobytes(), _AXES[kind]
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _TYPES or start[3] not in axes:
        raise ValueError(
            f"{path} starts with the bytes {start.hex()}, but an IDX file of {kind} with 0000, one "
            f"of {', '.join(f'{code:02x}' for code in _TYPES)} for the type of number, and "
            f"{' or '.join(f'{count:02x}' for count in axes)} axes: fetch the right file"
        )
    dtype, header = np.dtype(_TYPES[start[2]]), 4 + 4 * start[3]
    shape = [int.from_bytes(content[at : at + 4].tobytes()) for at in range(4, header, 4)]
    size = header + dtype.itemsize * math.prod(shape)
    if len(content) != size:
        raise ValueError(
            f"{path} is damaged, fetch it again: it holds {len(content)} bytes, but {size} by its "
            f"header of shape {shape}"
        )
    if size > resident_bytes and not (can_stay and dtype.itemsize == 1):
        raise ValueError(
            f"{path} holds {size:,} bytes, more than the {resident_bytes:,} that may be in "
            "memory (--resident_gigabytes), and only bytes on a local disk that are not gzipped "
            "can be read as they are needed: unpack, convert or copy the file, or allow more"
        )
    numbers = content[header:].view(dtype).reshape(shape)
    return numbers.astype(dtype.newbyteorder("="), copy=False)


def _unzipped(path, content):
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} is a corrupt gzip file ({error}): fetch it again") from error
