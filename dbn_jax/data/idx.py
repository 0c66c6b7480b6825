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

from dbn_jax.typing import Int, UInt8

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
FILE_NAMES = "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and " + (
    "t10k-labels-idx1-ubyte, each with or without .gz"
)
_UNSIGNED_BYTE = 8

IdxSplit = tuple[UInt8[np.ndarray, "examples rows columns"], Int[np.ndarray, " examples"]]


def find(folder: str | os.PathLike, name: str) -> Path | None:
    """Returns the path of one IDX file in a folder, or None.

    Args:
      folder: where to look.
      name: as in `FILES`; also found with ``.gz`` and spelt with a dot before ``idx``, as some
        archives unpack.
    """
    for spelling in (name, name.replace("-idx", ".idx")):
        for candidate in (Path(folder, spelling), Path(folder, spelling + ".gz")):
            if candidate.is_file():
                return candidate
    return None


def holds_any(folder: str | os.PathLike) -> bool:
    """Says whether at least one of the four files is in the folder."""
    return any(find(folder, name) for names in FILES.values() for name in names)


def read(path: str | os.PathLike) -> UInt8[np.ndarray, "..."]:
    """Reads one IDX file of unsigned bytes, gzipped or not (told by its content, not its name).

    Args:
      path: the file.

    Returns:
      The array in the shape that the header states.

    Raises:
      ValueError: if the gzip stream is corrupt, the header is not IDX, or the length is wrong.
    """
    content = Path(path).read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path} is a corrupt gzip file ({error}): fetch it again") from error
    if len(content) < 4 or content[:3] != bytes([0, 0, _UNSIGNED_BYTE]):
        raise ValueError(
            f"{path} starts with bytes 0x{content[:4].hex()}, but an IDX file of bytes starts with "
            "0x000008 and its number of axes (0x00000803 for images, 0x00000801 for labels): this "
            "is another kind of file, fetch the right one"
        )
    header = 4 + 4 * content[3]
    if len(content) < header:
        raise ValueError(f"{path} ends inside its header ({len(content)} bytes): fetch it again")
    shape = tuple(int(size) for size in np.frombuffer(content[4:header], ">u4"))
    expected = header + math.prod(shape)
    if len(content) != expected:
        fault = "is truncated" if len(content) < expected else "has bytes left over"
        raise ValueError(
            f"{path} {fault}: its header states the shape {shape}, {expected} bytes in all, but it "
            f"holds {len(content)} bytes: fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def read_folder(folder: str | os.PathLike) -> dict[str, IdxSplit]:
    """Reads the four files of a data set.

    Args:
      folder: holds the files named in `FILES`.

    Returns:
      (images, labels) of "train" and of "test".

    Raises:
      FileNotFoundError: naming the files that are missing.
      ValueError: if a file is damaged, holds the wrong kind of array, or images and labels differ
        in number or shape.
    """
    missing = [n for names in FILES.values() for n in names if find(folder, n) is None]
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {', '.join(missing)}: an IDX data set is the four files {FILE_NAMES}"
        )
    splits = {split: _read_split(folder, *names) for split, names in FILES.items()}
    shapes = {split: images.shape[1:] for split, (images, _) in splits.items()}
    if shapes["train"] != shapes["test"]:
        raise ValueError(
            f"{folder} mixes data sets: training images are {shapes['train']} pixels, test images "
            f"{shapes['test']}"
        )
    return splits


def _read_split(folder: str | os.PathLike, image_name: str, label_name: str) -> IdxSplit:
    image_path, label_path = find(folder, image_name), find(folder, label_name)
    images, labels = read(image_path), read(label_path)
    for path, array, axes in ((image_path, images, 3), (label_path, labels, 1)):
        if array.ndim != axes:
            raise ValueError(
                f"{path} holds an array of {array.ndim} axes where {axes} are expected (its magic "
                f"number is 0x0000080{array.ndim:x}, not 0x0000080{axes}): were images and labels "
                "mixed up?"
            )
    if len(images) != len(labels):
        raise ValueError(
            f"{image_path} holds {len(images)} images but {label_path} {len(labels)} labels: "
            "they do not belong together"
        )
    if images.size == 0:
        raise ValueError(f"{image_path} holds no pixels: its shape is {images.shape}")
    return images, labels.astype(np.int32)
