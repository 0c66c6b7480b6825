"""The IDX format, in which MNIST, Fashion-MNIST, KMNIST and others are published.

A file is a big-endian header, then the bytes of one array: two zero bytes, a type code (8 means
unsigned bytes), the number of axes, and one 32-bit size per axis. A data set is four such files in
one folder, gzipped or not (Y. LeCun, C. Cortes and C. Burges, "The MNIST database").
"""

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np

_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_NAMES = [name for names in _FILES.values() for name in names]
FILE_NAMES = f"{', '.join(_NAMES)} (each with or without .gz)"


def find(folder: str | os.PathLike) -> dict[str, Path]:
    """The paths of those of the four files that are in the folder.

    A name may also end in ".gz", and have a dot before "idx" as some archives unpack.
    """
    found = {}
    for name in _NAMES:
        dotted = name.replace("-idx", ".idx")
        for file in (name, name + ".gz", dotted, dotted + ".gz"):
            if (path := Path(folder, file)).is_file():
                found.setdefault(name, path)
    return found


def read_folder(folder: str | os.PathLike) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Reads the four files of a data set: (images, labels) of "train" and of "test"."""
    paths = find(folder)
    if missing := [name for name in _NAMES if name not in paths]:
        raise FileNotFoundError(
            f"{folder} lacks {', '.join(missing)}: an IDX data set is the files {FILE_NAMES}"
        )
    splits = {
        split: _read_split(paths[images], paths[labels])
        for split, (images, labels) in _FILES.items()
    }
    train, test = (images.shape[1:] for images, _ in splits.values())
    if train != test:
        raise ValueError(
            f"{folder} mixes data sets: training images are {train} pixels, test images {test}"
        )
    return splits


def _read_split(image_path, label_path):
    images, labels = _read(image_path, axes=3), _read(label_path, axes=1)
    if len(images) != len(labels) or images.size == 0:
        raise ValueError(
            f"{image_path} holds images of shape {images.shape} and {label_path} {len(labels)} "
            "labels: there must be one label for each image, and at least one image"
        )
    return images, labels.astype(np.int32)


def _read(path, *, axes):
    """The array of bytes in a file, gzipped or not (told by its content, not its name)."""
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path} is a corrupt gzip file ({error}): fetch it again") from error
    if content[:4] != bytes([0, 0, 8, axes]):
        raise ValueError(
            f"{path} starts with the bytes {content[:4].hex()}, but an IDX file of "
            f"{'images' if axes == 3 else 'labels'} with 0000080{axes}: fetch the right file"
        )
    header = 4 + 4 * axes
    shape = [int.from_bytes(content[start : start + 4]) for start in range(4, header, 4)]
    size = header + math.prod(shape)
    if len(content) != size:
        raise ValueError(
            f"{path} is damaged, fetch it again: it holds {len(content)} bytes, but {size} by its "
            f"header of shape {shape}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
