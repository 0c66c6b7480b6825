"""Training of a classifier by backpropagation in a run."""

import dataclasses
import functools
from typing import Any

import jax
import optax

from dbn_jax import data, networks, train_state, training
from dbn_jax.data import distortions
from dbn_jax.learning import backprop
from experiments.common import data_settings, early_stopping, finetuning, optimizers, runs
from experiments.common.settings import MAX_EPOCHS, Declared, setting


class ClassifierSettings(Declared, title="Learning"):
    """Settings of the training of a classifier."""

    optimizer: str = setting(
        "adam", "Optimizer: gradient descent with momentum (sgd), or Adam.", choices=("sgd", "adam")
    )
    learning_rate: float = setting(
        1e-3,
        "Learning rate of all weights and biases; it falls to a hundredth over the second half.",
        at_least=0,
    )
    momentum: float = setting(
        0.9, "Momentum of sgd; decay rate of adam's mean gradient.", at_least=0, at_most=1
    )
    weight_decay: float = setting(
        0.0,
        "Strength of weight decay: L2 with sgd, decoupled from the gradient with adam (AdamW).",
        at_least=0,
    )
    input_dropout: float = setting(0.0, "Dropout rate of the pixels.", at_least=0, below=1)
    hidden_dropout: float = setting(0.0, "Dropout rate of the hidden units.", at_least=0, below=1)
    label_smoothing: float = setting(
        0.0, "Share of each target that is spread evenly over all classes.", at_least=0, below=1
    )
    adversarial_radius: float = setting(
        2.0,
        "Length of the perturbations in virtual adversarial training, as a Euclidean distance "
        "between images; 0 for none. It makes an update take 2.5 times as long.",
        at_least=0,
    )
    stretch: float = setting(
        0.0,
        "Each presentation stretches and turns the image at random: standard deviation of the "
        "entries that the map of the plane has beside the identity's; 0.1 is about 6° and 10 %.",
        at_least=0,
        at_most=1,
    )
    shift: float = setting(
        0.0, "The same for shifts: their standard deviation, in pixels.", at_least=0, at_most=1000
    )
    top_only_epochs: int = setting(
        0, "Number of epochs at the start in which only the softmax layer is trained.", at_least=0
    )
    batch_size: int = setting(100, "Number of examples in each update.", at_least=1)
    epochs: int = setting(
        60,
        "Number of passes over the data.",
        at_least=1,
        at_most=MAX_EPOCHS,
        grows=optimizers.FIXED,
    )
    patience: int | None = early_stopping.patience("the error rate")

    def __post_init__(self):
        super().__post_init__()
        if self.top_only_epochs > self.epochs:
            raise ValueError(
                f"--top_only_epochs={self.top_only_epochs} is more than --epochs={self.epochs}"
            )


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Makes pixels of the data set's rows, distorted or as they are, and keeps their labels."""

    transform: data.Transform
    image_shape: tuple[int, ...]
    stretch: float
    shift: float

    def __call__(self, key, rows):
        """(key, {"images", "labels"}) -> (v (..., V), labels (...))."""
        key, distort_key = jax.random.split(key) if self._distorts else (key, None)
        v = self.transform(key, rows["images"])
        if self._distorts:
            v = distortions.affine(
                distort_key, v, self.image_shape, stretch=self.stretch, shift=self.shift
            )
        return v, rows["labels"]

    @property
    def _distorts(self):
        return self.stretch > 0 or self.shift > 0


def check(settings: ClassifierSettings, dataset: data.Dataset) -> None:
    """Raises a ValueError where data and settings do not fit each other."""
    finetuning.check_patience(settings.patience, dataset)
    data_settings.check_classes(dataset)
    data_settings.check_updates(settings, len(dataset.train.labels))


def train(
    run: runs.Run,
    settings: ClassifierSettings,
    start: networks.Classifier,
    dataset: data.Dataset,
    transform: data.Transform,
) -> tuple[networks.Classifier, int]:
    """Trains a classifier in a run, or goes on where an earlier process stopped.

    Returns the classifier, and the number of the epoch that it is from.
    """
    graphdef, params = backprop.split(start)
    updates_per_epoch = len(dataset.train.labels) // settings.batch_size
    optimizer = _optimizer(
        settings.optimizer,
        settings.learning_rate,
        settings.momentum,
        settings.weight_decay,
        settings.epochs * updates_per_epoch,
        settings.top_only_epochs * updates_per_epoch,
    )
    loss = functools.partial(
        backprop.classification_loss,
        input_dropout=settings.input_dropout,
        hidden_dropout=settings.hidden_dropout,
        label_smoothing=settings.label_smoothing,
        adversarial_radius=settings.adversarial_radius,
    )
    errors = finetuning.watch_errors(dataset, transform, way=classify, num_validation=None)
    state = run.train(
        "classifier",
        functools.partial(backprop.step, graphdef=graphdef, loss=loss, optimizer=optimizer),
        train_state.init_state(params, optimizer),
        dataset.train.arrays(),
        transform=Labelled(transform, dataset.image_shape, settings.stretch, settings.shift),
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        evaluate=lambda state: errors(backprop.merge(graphdef, state.params)),
        held_out=dataset.held_out[1].arrays(),
        early_stopping=early_stopping.rule(settings.patience, "error_rate"),
    )
    return backprop.merge(graphdef, state.params), int(run.kept("classifier")["epoch"])


def random_classifier(
    seed: int, dataset: data.Dataset, hidden_sizes: tuple[int, ...]
) -> networks.Classifier:
    """A classifier of a data set's images with random weights."""
    sizes = (dataset.train.images.shape[1], *hidden_sizes, dataset.num_classes)
    return networks.init_classifier(training.spare_key(seed), sizes)


@jax.jit
def classify(key: jax.Array, model: networks.Classifier, v: jax.Array) -> jax.Array:
    """log p(label | image), as `recognition.Way` has it; nothing is drawn."""
    del key
    return jax.nn.log_softmax(model(v))


@functools.cache  # equal settings give the same object, and compile once
def _optimizer(name, learning_rate, momentum, weight_decay, num_updates, held) -> Any:
    decay = optax.add_decayed_weights(weight_decay, mask=backprop.kernel_mask)
    rate = optax.scale_by_learning_rate(optimizers.decaying(learning_rate, num_updates))
    if name == "sgd":
        parts = decay, optax.trace(momentum), rate
    else:
        parts = optax.scale_by_adam(b1=momentum), decay, rate
    return optax.chain(*parts, backprop.top_first(held))
