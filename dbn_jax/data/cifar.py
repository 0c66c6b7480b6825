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
_SHAPE = (3, 32, 32)
_NUM_VALUES = 3072


def find(name: str, folder: files.Path) -> bool:
    """Whether this is one of the two, and its files are in the folder."""
    return name in _FILES and (folder / _FILES[name][1]["test"][0]).is_file()


def read(
    name: str, folder: files.Path
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[str]]:
    """Images (examples, 32, 32, 3) and labels of each part, and the names of the classes."""
    num_labels, parts, names = _FILES[name]
    needed = [*parts["train"], *parts["test"], names]
    if absent := [file for file in needed if not (folder / file).is_file()]:
        raise FileNotFoundError(f"{folder} lacks {', '.join(absent)}, files of {name}: fetch them")
    found = {}
    for part, batches in parts.items():
        records = np.concatenate([_records(folder / batch, num_labels) for batch in batches])
        images = records[:, num_labels:].reshape(-1, *_SHAPE)
        found[part] = np.moveaxis(images, 1, -1), records[:, num_labels - 1].astype(np.int32)
    return found, (folder / names).read_text().split()


def _records(path, num_labels):
    content = np.frombuffer(path.read_bytes(), np.uint8)
    length = num_labels + _NUM_VALUES
    if not content.size or content.size % length:
        raise ValueError(
            f"{path} is damaged, fetch it again: it holds {content.size} bytes, no whole number of "
            f"records of {length}"
        )
    return content.reshape(-1, length)
