"""CIFAR-10 and CIFAR-100 in their binary files, as their author publishes them.

A file is records of one label (CIFAR-10) or two (CIFAR-100: a coarse and a fine one, of which the
fine one counts), and 3,072 bytes: the red, green and blue 32×32 pixels of an image (Krizhevsky,
"Learning multiple layers of features from tiny images", 2009). The archives for Python are pickles,
which may run any program, and are not read.
"""

import numpy as np

from dbn_jax import files

_FILES = {
    "cifar10": (
        1,
        {
            "train": [f"data_batch_{number}.bin" for number in range(1, 6)],
            "test": ["test_batch.bin"],
        },
        "batches.meta.txt",
    ),
    "cifar100": (2, {"train": ["train.bin"], "test": ["test.bin"]}, "fine_label_names.txt"),
}
NAMES = tuple(_FILES)
_SHAPE = (3, 32, 32)
_NUM_VALUES = 3072


def find(name: str, folder: files.Path) -> bool:
    """Whether this is one of the two, and some of its files are in the folder, or its pickles."""
    binary = _batches(name) if name in _FILES else []
    pickles = [file.removesuffix(".bin") for file in binary]
    return any((folder / file).is_file() for file in binary + pickles)


def read(
    name: str, folder: files.Path
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[str]]:
    """Images (examples, 32, 32, 3) and labels of each part, and the names of the classes."""
    num_labels, parts, names = _FILES[name]
    if absent := [file for file in (*_batches(name), names) if not (folder / file).is_file()]:
        raise FileNotFoundError(
            f"{folder} lacks {', '.join(absent)}: fetch the binary version of {name} (that for "
            "Python is pickles, which are not read)"
        )
    found = {}
    for part, batches in parts.items():
        records = np.concatenate([_records(folder / batch, num_labels) for batch in batches])
        images = records[:, num_labels:].reshape(-1, *_SHAPE)
        found[part] = np.moveaxis(images, 1, -1), records[:, num_labels - 1].astype(np.int32)
    return found, (folder / names).read_text().split()


def _batches(name):
    parts = _FILES[name][1]
    return [*parts["train"], *parts["test"]]


def _records(path, num_labels):
    content = np.frombuffer(path.read_bytes(), np.uint8)
    length = num_labels + _NUM_VALUES
    if not content.size or content.size % length:
        raise ValueError(
            f"{path} is damaged, fetch it again: it holds {content.size} bytes, no whole number of "
            f"records of {length}"
        )
    return content.reshape(-1, length)
