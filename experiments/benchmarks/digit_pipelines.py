"""An RBM below a logistic regression, on digits: scikit-learn's RBM, and the estimator's learners.

    python -m experiments.benchmarks.digit_pipelines   # minutes, most of them regressions

The setting is that of scikit-learn's own example, "Restricted Boltzmann Machine features for digit
classification": 1,797 digits of 8×8 pixels and, of each, copies moved by one pixel; a random fifth
is the test set, so that many a test image has a moved copy among the training images.
"""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.ndimage
from sklearn import datasets
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import BernoulliRBM

from dbn_jax import learning
from dbn_jax.sklearn import RestrictedBoltzmannMachine
from dbn_jax.typing import Float
from experiments.common import command_line, tables
from experiments.common.settings import Declared, setting

_MOVES = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))
_SAME = {"n_components": 100, "learning_rate": 0.06, "batch_size": 10}
MODELS: Mapping[str, Any] = {
    "BernoulliRBM of scikit-learn": BernoulliRBM(**_SAME),
    "learning.CD()": RestrictedBoltzmannMachine(**_SAME),
    "learning.PCD(10)": RestrictedBoltzmannMachine(**_SAME, learner=learning.PCD(10)),
}


class Settings(Declared):
    """What is measured."""

    seeds: int = setting(3, "Number of seeds, each of a model and of a regression.", at_least=2)
    passes: int = setting(10, "Passes over the images.", at_least=1)
    images: int = setting(1797, "Number of images before they are moved.", at_least=100)


def moved(images: Float[np.ndarray, "N rows columns"]) -> Float[np.ndarray, "M pixels"]:
    """The images, then copies of all, moved by one pixel in each direction; what enters is 0."""
    copies = [scipy.ndimage.shift(images, (0, *move), order=0) for move in _MOVES]
    return np.concatenate(copies).reshape(-1, images[0].size)


def measure(settings: Settings) -> str:
    """The table: test accuracy, and seconds of the first fit and of the median of all others."""
    digits = datasets.load_digits()
    images, labels = digits.images[: settings.images], digits.target[: settings.images]
    train, test, train_labels, test_labels = train_test_split(
        moved(images / 16), np.tile(labels, len(_MOVES)), test_size=0.2, random_state=0
    )
    rows = [["learner", "accuracy", "± s.e.", "first fit", "others"]]
    for name, model in MODELS.items():
        accuracies, seconds = [], []
        for seed in range(settings.seeds):
            model.set_params(random_state=seed, n_iter=settings.passes)
            start = time.perf_counter()
            model.fit(train)
            seconds.append(time.perf_counter() - start)
            classifier = LogisticRegression(C=6000, solver="newton-cg")
            classifier.fit(model.transform(train), train_labels)
            accuracies.append(classifier.score(model.transform(test), test_labels))
        error = np.std(accuracies, ddof=1) / len(accuracies) ** 0.5
        times = seconds[0], np.median(seconds[1:])
        row = [f"{np.mean(accuracies):.2%}", f"{error:.2%}", *(f"{t:.2f} s" for t in times)]
        rows.append([name, *row])
    return tables.columns(rows)


if __name__ == "__main__":
    command_line.main(lambda settings: print(measure(settings)), Settings)
