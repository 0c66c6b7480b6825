"""What the binaries share: flags for data, units, learners and optimizers, turned into values.

A binary calls the `define_…` functions that it needs at import, and in `main` turns flags into
frozen settings once; nothing reads a flag later, so tests and notebooks make the settings directly.
"""

import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

from dbn_jax import data, learning, rbm, units
from experiments.common import endings

# Flags defined here count as those of the binary that has them defined, and are in its --help.
flags.disclaim_key_flags()
_LARGEST_INT = 2**31 - 1
_LARGEST_FLOAT = 3.4e38
_FOLDERS = ("data_dir", "pretrained")
# Grey levels become counts of 0 to 8 for units that count.
_COUNTS = 8
UNITS = {
    "bernoulli": units.Bernoulli(),
    "spin": units.Spin(),
    "gaussian": units.Gaussian(),
    # Rarely used pixels would otherwise get a σ far below their largest values.
    "gaussian_learnt": units.Gaussian(learn_sigma=True, min_sigma=0.1),
    "relu": units.ReLU(),
    "poisson": units.Poisson(),
    "binomial": units.Binomial(num_trials=_COUNTS),
    "softmax": units.Softmax(),
}
PIXEL_UNITS = tuple(name for name in UNITS if name != "softmax")  # pixels are no categories
LEARNERS = ("cd", "pcd", "fast_pcd", "tempering", "exact")


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """Which images to learn from; the fields are those of `data.load` and `data.binarise`."""

    dataset: str = "mnist5k"
    data_dir: str | None = None
    classes: tuple[int, ...] | None = None
    image_size: int | None = None
    num_validation: int = 0
    binarisation: str = "none"
    standardise: bool = False

    @property
    def redrawn(self) -> bool:
        """Whether each presentation draws the pixels anew."""
        return self.binarisation == "stochastic"

    def load(self) -> tuple[data.Dataset, data.Transform]:
        """Loads the data set, and the function that makes model units of its bytes."""
        dataset = data.load(
            self.dataset,
            data_dir=self.data_dir,
            classes=self.classes,
            image_size=self.image_size,
            num_validation=self.num_validation,
        )
        if self.standardise:
            if self.binarisation != "none":
                raise ValueError(
                    f"--standardise and --binarisation={self.binarisation} exclude each other: "
                    "standardised pixels are real numbers"
                )
            dataset = data.standardise(dataset)
        return data.binarise(dataset, self.binarisation)

    def left_out(self, dataset: data.Dataset) -> data.Split | None:
        """Test images of the classes that are left out, prepared like those that `load` returned.

        Returns:
          None if there are none.
        """
        if self.classes is None:
            return None
        whole = data.load(self.dataset, data_dir=self.data_dir, image_size=self.image_size)
        others = ~np.isin(whole.test.labels, self.classes)
        if not others.any():
            return None
        split = data.Split(whole.test.images[others], whole.test.labels[others])
        if dataset.standardisation is not None:
            return dataset.standardisation.apply(split, whole.scale)
        return data.binarise(dataclasses.replace(whole, test=split), self.binarisation)[0].test


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Turns rows of a data set into values of visible units inside the compiled update.

    Attributes:
      transform: makes grey levels in [0, 1] (or standardised pixels) of the rows.
      visible: name of the visible units' type.
    """

    transform: data.Transform
    visible: str = "bernoulli"

    def __call__(self, key, rows):
        """(key, (..., pixels)) -> (..., V); the key is consumed."""
        x = self.transform(key, rows)
        match self.visible:
            case "spin":
                return 2 * x - 1
            case "binomial" | "poisson":
                return jnp.round(_COUNTS * x)
        return x

    def grey(self, v: jax.Array) -> jax.Array:
        """Undoes what the unit type did to grey levels: (..., V) -> (..., pixels)."""
        match self.visible:
            case "spin":
                return (v + 1) / 2
            case "binomial" | "poisson":
                return v / _COUNTS
        return v


@functools.partial(jax.jit, static_argnums=0)
def transformed(transform: data.Transform, key: jax.Array, rows: jax.Array) -> jax.Array:
    """Calls a transform outside the training loop, as one program; the key is consumed."""
    return transform(key, rows)


@dataclasses.dataclass(frozen=True)
class LearningSettings:
    """How an RBM learns; the defaults are those of Hinton's programs."""

    learner: str = "cd"
    gibbs_steps: int = 1
    reconstruction: str = "samples"
    num_chains: int = 100
    temperatures: int = 10
    min_beta: float = 0.0
    fast_rate: float = 0.05
    centring: str = "none"
    sparsity_target: float = 0.0
    sparsity_cost: float = 0.1
    learning_rate: float = 0.1
    learning_rate_decay: str = "none"
    initial_momentum: float = 0.5
    final_momentum: float = 0.9
    momentum_epochs: int = 5
    weight_decay: float = 2e-4
    batch_size: int = 100
    epochs: int = 30

    def make_learner(self) -> learning.Learner:
        """Builds the learner, wrapped."""
        match self.learner:
            case "cd":
                samples = self.reconstruction == "samples"
                learner = learning.CD(self.gibbs_steps, sample_visible=samples)
            case "pcd":
                learner = learning.PCD(self.num_chains, self.gibbs_steps)
            case "fast_pcd":
                learner = learning.FastPCD(self.num_chains, self.gibbs_steps, self.fast_rate)
            case "tempering":
                learner = learning.ParallelTempering(
                    self.num_chains, self.temperatures, self.gibbs_steps, self.min_beta
                )
            case "exact":
                learner = learning.Exact()
            case _:
                raise ValueError(f"learner {self.learner!r} is none of {', '.join(LEARNERS)}")
        return self.wrapped(learner)

    def wrapped(self, learner: learning.Learner) -> learning.Learner:
        """Adds to any learner the sparsity target and the form of the gradient."""
        match self.centring:
            case "centred":
                learner = learning.Centred(learner)
            case "enhanced":
                learner = learning.Centred(learner, model_share=0.5, sliding=1.0)
        if self.sparsity_target:
            learner = learning.Sparse(learner, self.sparsity_target, self.sparsity_cost)
        return learner

    def make_optimizer(
        self, updates_per_epoch: int, *, weight_mask: Callable[[Any], Any] = rbm.weight_mask
    ) -> optax.GradientTransformation:
        """Builds gradient descent with the momentum switch, weight decay and rate schedule.

        Args:
          updates_per_epoch: number of batches.
          weight_mask: what of the parameters decays.
        """
        return _optimizer(
            self.learning_rate,
            self.learning_rate_decay,
            self.epochs * updates_per_epoch,
            self.initial_momentum,
            self.final_momentum,
            self.momentum_epochs * updates_per_epoch,
            self.weight_decay,
            weight_mask,
        )


def init_key(seed: int) -> jax.Array:
    """The key of a network's random weights: no update of the training loop has this number."""
    return jax.random.fold_in(jax.random.key(seed), 2**32 - 2)


def decaying(rate: float, num_updates: int) -> optax.Schedule:
    """A learning rate that is constant for the first half, then falls linearly to a hundredth."""
    half = num_updates // 2
    return optax.linear_schedule(rate, 0.01 * rate, num_updates - half, half)


@functools.cache  # equal settings give the same object, and compile once
def _optimizer(rate, decay, num_updates, momentum, final_momentum, switch, weight_decay, mask):
    if decay == "linear":
        rate = decaying(rate, num_updates)
    momentum_schedule = optax.join_schedules(
        [optax.constant_schedule(momentum), optax.constant_schedule(final_momentum)], [switch]
    )
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=mask),
        optax.inject_hyperparams(optax.sgd)(learning_rate=rate, momentum=momentum_schedule),
    )


def define_data_flags() -> None:
    """Defines the flags of `DataSettings`."""
    default = DataSettings()
    flags.DEFINE_string(
        "dataset",
        default.dataset,
        "mnist5k and digits ship with packages; mnist, fashion_mnist and others are read from the "
        "IDX files in --data_dir, or through TFDS by name.",
    )
    flags.DEFINE_string("data_dir", None, "Folder of the IDX files, or of TFDS data sets.")
    flags.DEFINE_list("classes", None, "Keep only these classes, such as 2 or 3,5.")
    flags.DEFINE_integer("image_size", None, "Shrink the images to this many rows and columns.")
    flags.DEFINE_integer("num_validation", 0, "Training examples held out instead of the test set.")
    flags.DEFINE_enum(
        "binarisation", default.binarisation, data.BINARISATIONS, "How grey levels become 0 and 1."
    )
    flags.DEFINE_bool(
        "standardise", False, "Pixels with mean 0 and variance 1, for Gaussian units."
    )


def data_settings() -> DataSettings:
    """Reads the flags of `define_data_flags`."""
    classes = flags.FLAGS.classes
    if classes is not None:
        classes = whole_numbers("classes", classes, at_least=0)
    return from_flags(DataSettings, classes=classes)


def define_learning_flags(**defaults) -> None:
    """Defines the flags of `LearningSettings`; `defaults` override its defaults."""
    default = dataclasses.replace(LearningSettings(), **defaults)
    flags.DEFINE_enum("learner", default.learner, LEARNERS, "Estimator of the gradient.")
    flags.DEFINE_integer(
        "gibbs_steps", default.gibbs_steps, "Gibbs steps in each update.", lower_bound=1
    )
    flags.DEFINE_enum(
        "reconstruction",
        default.reconstruction,
        ("samples", "probabilities"),
        "What CD's reconstruction of the visible units holds.",
    )
    flags.DEFINE_integer(
        "num_chains", default.num_chains, "Persistent chains (or ladders).", lower_bound=1
    )
    flags.DEFINE_integer(
        "temperatures", default.temperatures, "Levels of parallel tempering.", lower_bound=2
    )
    flags.DEFINE_float(
        "min_beta",
        default.min_beta,
        "Hottest level of parallel tempering.",
        lower_bound=0,
        upper_bound=1,
    )
    flags.DEFINE_float(
        "fast_rate",
        default.fast_rate,
        "Learning rate of fast PCD's fast weights.",
        lower_bound=0,
    )
    flags.DEFINE_enum(
        "centring", default.centring, ("none", "centred", "enhanced"), "Form of the gradient."
    )
    flags.DEFINE_float(
        "sparsity_target", default.sparsity_target, "Wanted mean of the hidden units; 0 for none."
    )
    flags.DEFINE_float(
        "sparsity_cost", default.sparsity_cost, "Strength of the sparsity target.", lower_bound=0
    )
    flags.DEFINE_float(
        "learning_rate", default.learning_rate, "Of weights and biases.", lower_bound=0
    )
    flags.DEFINE_enum(
        "learning_rate_decay",
        default.learning_rate_decay,
        ("none", "linear"),
        "linear: to a hundredth over the second half.",
    )
    for name, when in (("initial_momentum", "at first"), ("final_momentum", "afterwards")):
        momentum = getattr(default, name)
        flags.DEFINE_float(name, momentum, f"Momentum {when}.", lower_bound=0, upper_bound=1)
    flags.DEFINE_integer(
        "momentum_epochs", default.momentum_epochs, "Epochs of initial momentum.", lower_bound=0
    )
    flags.DEFINE_float(
        "weight_decay", default.weight_decay, "Cost of squared weights.", lower_bound=0
    )
    flags.DEFINE_integer("batch_size", default.batch_size, "Examples per update.", lower_bound=1)
    flags.DEFINE_integer("epochs", default.epochs, "Passes through the data.", lower_bound=1)


def learning_settings() -> LearningSettings:
    """Reads the flags of `define_learning_flags`."""
    return from_flags(LearningSettings)


def define_run_flags(*, checkpoints: bool = True) -> None:
    """Defines the flags of every run; `checkpoints`: whether it makes any."""
    flags.DEFINE_string("workdir", None, "Folder of the run; the same command resumes.")
    if checkpoints:
        flags.DEFINE_float("checkpoint_seconds", 30.0, "Time between checkpoints.", lower_bound=0)
    flags.DEFINE_integer("seed", 0, "Of everything random.")
    flags.mark_flag_as_required("workdir")


def whole_numbers(name: str, texts: list[str], *, at_least: int = 1) -> tuple[int, ...]:
    """Reads a flag that lists whole numbers, none of them smaller than `at_least`."""
    try:
        numbers = tuple(int(text) for text in texts)
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < at_least:
        raise ValueError(
            f"--{name}={','.join(texts)}: expected whole numbers of at least {at_least}, as in 3 "
            "or 3,5"
        )
    for number in numbers:
        _check_size(name, number)
    return numbers


def check_batch_size(flag: str, batch_size: int, num_images: int) -> None:
    """Raises a ValueError if there are fewer images: before a workdir holds the mistake."""
    if batch_size > num_images:
        raise ValueError(
            f"--{flag}={batch_size}, but there are {num_images} training images; choose a batch "
            "size of at most as many"
        )


def flag_values(settings: object) -> dict[str, object]:
    """Flattens settings to the flags that they came from."""
    values = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        values.update(
            flag_values(value) if dataclasses.is_dataclass(value) else {field.name: value}
        )
    return values


def call(argv: list[str], run: Callable[..., object], make_settings: Callable[[], object]) -> None:
    """Runs a binary: what users can mend ends in a sentence, not in a traceback.

    Args:
      argv: what absl has left of the command line.
      run: ``run(settings, workdir)``; with ``checkpoint_seconds=...`` if there is that flag.
      make_settings: makes the settings of the flags.
    """
    values = flags.FLAGS
    stopped = "stopped by Ctrl-C; the same command goes on with what is saved"
    with endings.sentences(argv, stopped=stopped):
        options = {name: _of_flag(name) for name in ("checkpoint_seconds",) if name in values}
        run(make_settings(), values.workdir, **options)


def from_flags(cls: type, **values) -> Any:
    """Makes settings: `values`, and for every other field the flag of its name."""
    names = [field.name for field in dataclasses.fields(cls) if field.name not in values]
    return cls(**values, **{name: _of_flag(name) for name in names})


def _of_flag(name: str) -> Any:
    """A flag's value, if it is one: absl's bounds let nan pass, and numbers of any size."""
    value = flags.FLAGS[name].value
    if isinstance(value, float) and not abs(value) <= _LARGEST_FLOAT:
        raise ValueError(f"--{name}={value}: expected a finite number in single precision")
    if isinstance(value, int):
        _check_size(name, value)
    if name in _FOLDERS and value not in (None, "", "none") and "://" not in value:
        # Who goes on from this run may start in another folder.
        return os.path.abspath(os.path.expanduser(value))
    return value


def _check_size(name: str, number: int) -> None:
    if not abs(number) <= _LARGEST_INT:
        raise ValueError(
            f"--{name}={number}: expected a whole number of at most {_LARGEST_INT} in size"
        )
