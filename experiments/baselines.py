"""Other classifiers on the same digits: the rows of the tutorial's table without a deep belief net.

    python -m experiments.baselines --workdir=runs/baselines

classifies the 5,000 images that ship with a package by their nearest neighbours, by support vector
machines, and by nets trained by backpropagation from random weights; for full MNIST add
--dataset=mnist --data_dir=<IDX folder>. None of them knows that images have two dimensions.

The settings of each method are chosen on a sixth of the training images, held out, while it is
trained on the others; a support vector machine is trained on 10,000 of these. With the chosen
settings it is then trained on all training images, and looks at the test images once. When the same
command runs again, settings that have been tried are not tried again. table.txt holds the result.

References: Hinton, "To recognize shapes, first learn to generate images" (2007), whose table quotes
LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition" (1998),
Decoste, Schölkopf, "Training invariant support vector machines" (2002), and others.
"""

import dataclasses
import functools
import json
import math
import re
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from sklearn.svm import SVC

from dbn_jax import data, files, recognition
from dbn_jax.embedding import pairwise
from dbn_jax.training import belonging, progress
from experiments.common import classification, data_settings, runs
from experiments.common.classification import ClassifierSettings
from experiments.common.data_settings import DataSettings
from experiments.common.settings import Declared, group, setting
from experiments.common.tables import columns

_HELD_OUT_SHARE = 1 / 6
# A support vector machine takes a time that grows with more than the square of the images.
_NUM_SEARCH = 10_000
_METHODS = ("neighbours", "svm_rbf", "svm_polynomial", "net_1", "net_2")


class Settings(Declared):
    """Everything that decides the result."""

    dataset: str = setting(
        "mnist5k", "Name of the data set: mnist5k, digits, or mnist in --data_dir."
    )
    data_dir: str | None = setting(
        None, "Folder of the IDX files, or of the TFDS data sets.", folder=True
    )
    methods: tuple[str, ...] = setting(_METHODS, "Methods to compare.", choices=_METHODS)
    num_train: int | None = setting(
        None, "Largest number of training images; by default all.", at_least=20
    )


class Data(DataSettings):
    """Training images, and images to test on: the validation images if there are any."""

    num_train: int | None = setting(None, "Largest number of training images, chosen at random.")

    def load(self) -> tuple[data.Dataset, data.Transform]:
        """Loads the data set, and the function that makes grey levels of its bytes."""
        dataset, transform = super().load()
        if self.num_train is None or self.num_train >= len(dataset.train.labels):
            return dataset, transform
        rows = np.random.default_rng(0).permutation(len(dataset.train.labels))[: self.num_train]
        return dataclasses.replace(dataset, train=dataset.train.take(rows)), transform


class NetSettings(runs.TrainingSettings):
    """Settings of a net trained by backpropagation from random weights."""

    data: Data = group(Data)
    hidden_sizes: tuple[int, ...] = setting(help="Number of units of each hidden layer.")
    learning: ClassifierSettings = group(ClassifierSettings)


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to classify.

    Attributes:
      title: its name in the table.
      tutorial: its test error in the tutorial's table, as a share; None if it has no row there.
      candidates: the settings to choose from.
      error_rate: (data, folder, **settings) -> share of the held-out images that it gets wrong. In
        the folder it can keep what it needs to resume.
      num_search: largest number of images it is trained on while its settings are chosen.
    """

    title: str
    tutorial: float | None
    candidates: tuple[dict[str, Any], ...]
    error_rate: Callable[..., float]
    num_search: int | None = None


def _by_neighbours(images: Data, folder: files.Path, *, k: int) -> float:
    del folder
    train, test = _grey_levels(images)
    return pairwise.classification_error(*train, *test, num_neighbours=k)


def _by_machine(images: Data, folder: files.Path, **settings) -> float:
    del folder
    (x, labels), (queries, wanted) = _grey_levels(images)
    machine = SVC(cache_size=1000, **settings).fit(x, labels)
    return float(np.mean(machine.predict(queries) != wanted))


def _by_net(images: Data, folder: files.Path, *, hidden_sizes: tuple[int, ...], **settings):
    learning = ClassifierSettings(adversarial_radius=0.0, **settings)
    settings = NetSettings(data=images, hidden_sizes=hidden_sizes, learning=learning)
    dataset, transform = images.load()
    start = classification.random_classifier(settings.seed, dataset, hidden_sizes)
    run = runs.open(settings, str(folder))
    model, _ = classification.train(run, learning, start, dataset, transform)
    _, held_out = dataset.held_out
    answers = recognition.log_posteriors(
        jax.random.key(0), model, held_out.images, transform, classification.classify
    )
    return recognition.error_rate(answers, held_out.labels)


def _grey_levels(images):
    """((N, pixels) in [0, 1], (N,) labels) for training, and for testing."""
    dataset, _ = images.load()
    parts = (dataset.train, dataset.held_out[1])
    return [(part.images.astype(np.float32) / dataset.scale, part.labels) for part in parts]


_NET_CANDIDATES = tuple(
    {"learning_rate": 1e-3, "weight_decay": decay, "epochs": 30} for decay in (0.0, 0.1, 0.3)
)
METHODS = {
    "neighbours": Method(
        "k nearest neighbours",
        0.033,
        tuple({"k": k} for k in (1, 3, 4, 5, 7)),
        _by_neighbours,
    ),
    "svm_rbf": Method(
        "support vector machine, Gaussian kernel",
        0.014,
        tuple(
            {"kernel": "rbf", "C": cost, "gamma": gamma}
            for gamma in (0.01, 0.02, 0.03)
            for cost in (3.0, 10.0)
        ),
        _by_machine,
        num_search=_NUM_SEARCH,
    ),
    # The kernel is (γ x·x′ + 1)^degree; γ is about the inverse of an image's squared length.
    "svm_polynomial": Method(
        "support vector machine, polynomial kernel",
        None,
        tuple(
            {"kernel": "poly", "degree": degree, "C": 10.0, "gamma": 0.01, "coef0": 1.0}
            for degree in (2, 3, 5, 7, 9)
        ),
        _by_machine,
        num_search=_NUM_SEARCH,
    ),
    "net_1": Method(
        "backpropagation, 1000 hidden units",
        0.016,
        _NET_CANDIDATES,
        functools.partial(_by_net, hidden_sizes=(1000,)),
    ),
    "net_2": Method(
        "backpropagation, 500 and 300 hidden units",
        0.016,
        _NET_CANDIDATES,
        functools.partial(_by_net, hidden_sizes=(500, 300)),
    ),
}


def run(settings: Settings, workdir: str) -> dict:
    """Makes the table in a workdir, or resumes there."""
    images = Data(
        dataset=settings.dataset, data_dir=settings.data_dir, num_train=settings.num_train
    )
    dataset, _ = images.load()
    data_settings.check_classes(dataset)
    run = runs.open(settings, workdir)
    if run.is_done:
        return run.report()
    results = {}
    seen = {part: split.arrays() for part, split in dataset.splits().items()}
    belongs_to = belonging.of_arrays("data", seen)
    for name in settings.methods:
        result = _evaluate(run, belongs_to, name, images, len(dataset.train.labels))
        error = result["error_rate"]
        result["standard_error"] = math.sqrt(error * (1 - error) / len(dataset.test.labels))
        results[name] = result
    run.save_table(table(results, dataset))
    rates = {f"error_rate_{name}": result["error_rate"] for name, result in results.items()}
    return run.finish(rates | {"methods": results})


def table(results: dict[str, dict], dataset: data.Dataset) -> str:
    """The tutorial's table, with the errors measured here beside its own.

    The results are, by method, what `_evaluate` returns and the standard error.
    """
    rows = [["test error", "tutorial", "here", "± s.e.", "held out", "seconds", "settings"]]
    for key, result in results.items():
        tutorial = METHODS[key].tutorial
        rows.append(
            [
                METHODS[key].title,
                "–" if tutorial is None else f"{tutorial:.1%}",
                f"{result['error_rate']:.2%}",
                f"{result['standard_error']:.2%}",
                f"{result['held_out_error_rate']:.2%}",
                f"{result['seconds']:.0f}",
                _words(result["settings"]),
            ]
        )
    counts = (
        f"{len(dataset.train.labels):,} training images, {len(dataset.test.labels):,} test images"
    )
    return f"{dataset.name}: {counts}\n{columns(rows)}\n"


def _evaluate(run, belongs_to, name, images, num_train):
    """Chooses a method's settings on held-out training images, then tests it once."""
    method = METHODS[name]
    held_out = round(_HELD_OUT_SHARE * num_train)
    search = dataclasses.replace(images, num_validation=held_out)
    if method.num_search is not None:
        search = dataclasses.replace(search, num_train=min(method.num_search, num_train - held_out))
    tried = [_once(run, belongs_to, name, candidate, search) for candidate in method.candidates]
    best = min(tried, key=lambda result: result["error_rate"])
    tested = _once(run, belongs_to, name, best["settings"], images)
    return {**tested, "held_out_error_rate": best["error_rate"], "tried": tried}


def _once(run, belongs_to, name, candidate, images):
    """The error with these settings, computed or read from the file of an earlier process."""
    part = "held-out" if images.num_validation else "test"
    words = f"{name}, {_words(candidate)}"
    unit = run.path / "units" / (re.sub(r"\W+", "_", f"{words}, {part}") + ".json")
    if unit.exists():
        result = _read(unit)
        belonging.check(result.pop("made_with"), belongs_to, str(unit))
        return result
    progress.say(f"{words} …")
    start = time.monotonic()
    error = METHODS[name].error_rate(images, unit.with_suffix(""), **candidate)
    seconds = time.monotonic() - start
    progress.say(f"{words}: {part} error {error:.2%} ({seconds:.0f} s)")
    result = {"settings": candidate, "error_rate": error, "seconds": round(seconds, 1)}
    files.write_text(unit, json.dumps(result | {"made_with": belongs_to}))
    run.workdir.note_time()
    return result


def _read(unit):
    try:
        result = json.loads(files.read_text(unit))
        if {"settings", "error_rate", "seconds", "made_with"} - result.keys():
            raise ValueError("a part is missing")
    except (ValueError, AttributeError) as e:
        raise ValueError(f"{unit} is damaged ({e}); delete it to measure it again") from e
    return result


def _words(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items() if name != "kernel")


if __name__ == "__main__":
    runs.main(run, Settings)
