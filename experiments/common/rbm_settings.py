"""Settings of the training of an RBM: its learner and its optimizer."""

import dataclasses
import functools
import math
from typing import ClassVar, Self

import optax

from dbn_jax import convolutional, learning, rbm
from experiments.common import optimizers
from experiments.common.settings import MAX_EPOCHS, Declared, Given, above_0, only, setting

# Passes over as many images as the default job has; of fewer images, passes make fewer updates.
_EPOCHS, _ENOUGH = 60, 4000
# Of fewer pixels than the default job has, an update takes less time, so that there may be more.
_PIXELS, _MOST_UPDATES = 784, 4
_RATE, _MOST_RATE = 0.1, 1.0
_TOP_RATE, _TOP_RATE_GREY = 0.02, 0.005
_CONVOLUTIONAL_EPOCHS = 5
LEARNERS = ("cd", "pcd", "fast_pcd", "tempering", "exact")
_LEARNER_FLAGS = (
    "learner", "gibbs_steps", "num_chains", "temperatures", "min_beta", "centring",
    "sparsity_target", "sparsity_cost",
)  # fmt: skip
_WITH_CHAINS = Given(
    "learner",
    lambda beside: beside.learner not in ("cd", "exact"),
    "=pcd, fast_pcd or tempering",
)
_WITH_TARGET = Given("sparsity_target", lambda beside: beside.sparsity_target, " other than 0")
_WITH_STEPS = Given("learner", lambda beside: beside.learner != "exact", " other than exact")


class RBMSettings(Declared, title="Learning"):
    """Settings of the training of an RBM; the defaults are those of Hinton's programs."""

    default_epochs: ClassVar[int] = _EPOCHS
    learner: str = setting(
        "cd",
        "Estimator of the gradient: contrastive divergence (cd), persistent CD (pcd), PCD with "
        "fast weights (fast_pcd), parallel tempering, or enumeration of a small RBM (exact).",
        choices=LEARNERS,
    )
    gibbs_steps: int = setting(
        1, "Number of Gibbs steps in each update.", at_least=1, at_most=10_000, given=_WITH_STEPS
    )
    reconstruction: str | None = setting(
        None,
        "What contrastive divergence takes as the reconstruction of the visible units: drawn "
        "states (samples), or their probabilities.",
        unset="probabilities for binary units that see grey levels, and samples for all others",
        choices=("samples", "probabilities"),
        given=only("learner", "cd"),
    )
    num_chains: int = setting(
        100,
        "Number of persistent chains; with tempering, of ladders of chains.",
        at_least=1,
        at_most=100_000,
        given=_WITH_CHAINS,
    )
    temperatures: int = setting(
        10,
        "Number of temperatures of parallel tempering.",
        at_least=2,
        at_most=1000,
        given=only("learner", "tempering"),
    )
    min_beta: float = setting(
        0.0,
        "Inverse temperature of the hottest chain of tempering.",
        at_least=0,
        below=1,
        given=only("learner", "tempering"),
    )
    fast_rate: float = setting(
        0.05,
        "Learning rate of the fast weights of fast PCD.",
        at_least=0,
        given=only("learner", "fast_pcd"),
    )
    centring: str = setting(
        "none",
        "Form of the gradient: as it is (none), centred, or the enhanced gradient (enhanced).",
        choices=("none", "centred", "enhanced"),
    )
    sparsity_target: float = setting(
        0.0, "Mean activity that each hidden unit is pulled to; 0 for no target."
    )
    sparsity_cost: float = setting(
        0.1,
        "Strength of the pull to the sparsity target.",
        at_least=0,
        given=_WITH_TARGET,
    )
    learning_rate: float = setting(0.1, "Learning rate of weights and biases.", at_least=0)
    learning_rate_decay: str = setting(
        "none",
        "Schedule of the learning rate: constant (none), or falling linearly to a hundredth over "
        "the second half (linear).",
        choices=("none", "linear"),
    )
    initial_momentum: float = setting(
        0.5,
        "Momentum in the first epochs.",
        at_least=0,
        at_most=1,
        given=above_0("momentum_epochs"),
    )
    final_momentum: float = setting(
        0.9,
        "Momentum in all later epochs.",
        at_least=0,
        at_most=1,
        given=Given(
            "epochs",
            lambda beside: (beside.epochs or beside.default_epochs) > beside.momentum_epochs,
            " above those of the initial momentum",
        ),
    )
    momentum_epochs: int = setting(
        5,
        "Number of epochs with the initial momentum.",
        at_least=0,
        at_most=MAX_EPOCHS,
        given=Given(
            "final_momentum",
            lambda beside: beside.final_momentum != beside.initial_momentum,
            " other than the initial momentum",
        ),
    )
    weight_decay: float = setting(2e-4, "Strength of L2 weight decay.", at_least=0)
    batch_size: int = setting(100, "Number of examples in each update.", at_least=1)
    epochs: int | None = setting(
        None,
        "Number of passes over the data.",
        unset=f"{_EPOCHS}, and more over fewer than {_ENOUGH:,} images, for as many updates; of "
        f"fewer than {_PIXELS} pixels up to {_MOST_UPDATES} times as many",
        at_least=1,
        at_most=MAX_EPOCHS,
        grows=optimizers.UNLESS_IT_FALLS,
    )

    def suited(self, num_images: int, num_pixels: int = _PIXELS, *, grey: bool) -> Self:
        """The settings with numbers and names where the defaults depend on the data.

        Args:
          num_images: of training.
          num_pixels: of each image.
          grey: whether binary units see grey levels, see `data_settings.is_grey`. These are not
            drawn, so neither are their reconstructions: the noise would drown what the images are.
        """
        found = {}
        if self.epochs is None:
            passes = self.default_epochs * max(1, _ENOUGH / num_images)
            found["epochs"] = math.ceil(passes * _more_updates(num_pixels))
        if self.reconstruction is None and self.learner == "cd":
            found["reconstruction"] = "probabilities" if grey else "samples"
        return dataclasses.replace(self, **found)

    def learner_flags(self, prefix: str = "") -> str:
        """The flags that decide the learner, for messages about it."""
        words = self.as_flags()
        plain = RBMSettings().as_flags()
        given = (x for x in _LEARNER_FLAGS[1:] if x in words and words[x] != plain[x])
        names = (*_LEARNER_FLAGS[:1], *given)
        return " ".join(f"--{prefix}{name}={words[name]}" for name in names)

    def make_learner(self) -> learning.Learner:
        """Builds the learner, with the sparsity target and the form of the gradient."""
        learner = self._plain_learner()
        match self.centring:
            case "centred":
                learner = learning.Centred(learner)
            case "enhanced":
                learner = learning.Centred(learner, model_share=0.5, sliding=1.0)
        if self.sparsity_target:
            learner = learning.Sparse(learner, self.sparsity_target, self.sparsity_cost)
        return learner

    def _plain_learner(self):
        match self.learner:
            case "cd":
                samples = self.reconstruction != "probabilities"
                return learning.CD(self.gibbs_steps, sample_visible=samples)
            case "pcd":
                return learning.PCD(self.num_chains, self.gibbs_steps)
            case "fast_pcd":
                return learning.FastPCD(self.num_chains, self.gibbs_steps, self.fast_rate)
            case "tempering":
                return learning.ParallelTempering(
                    self.num_chains, self.temperatures, self.gibbs_steps, self.min_beta
                )
        return learning.Exact()

    def make_optimizer(self, updates_per_epoch: int) -> optax.GradientTransformation:
        """Builds gradient descent with the momentum switch, weight decay and rate schedule."""
        return _optimizer(
            self.learning_rate,
            self.learning_rate_decay,
            self.epochs * updates_per_epoch,
            self.initial_momentum,
            self.final_momentum,
            min(self.momentum_epochs, self.epochs) * updates_per_epoch,
            self.weight_decay,
        )


class LayerSettings(RBMSettings, title="Learning"):
    """Settings of the training of the layers below the top."""

    learning_rate: float | None = setting(
        None,
        "Learning rate of weights and biases.",
        unset=f"{_RATE}, and more for fewer than {_PIXELS} pixels, in proportion, up to "
        f"{_MOST_RATE:g}",
        at_least=0,
    )

    def suited(self, num_images: int, num_pixels: int = _PIXELS, *, grey: bool) -> Self:
        """See `RBMSettings.suited`."""
        settings = super().suited(num_images, num_pixels, grey=grey)
        if self.learning_rate is not None:
            return settings
        rate = min(_MOST_RATE, _RATE * max(1, _PIXELS / num_pixels))
        return dataclasses.replace(settings, learning_rate=rate)


class MemorySettings(RBMSettings, title="Learning of the top RBM"):
    """Settings of the training of a top RBM, which may have label units."""

    learner: str | None = setting(
        None,
        "Estimator of the gradient, as for the other layers; by default labelled_pcd with labels, "
        "and pcd without.",
        choices=(*LEARNERS, "labelled_pcd"),
    )
    learning_rate: float | None = setting(
        None,
        "Learning rate of weights and biases.",
        unset=f"{_TOP_RATE}, and {_TOP_RATE_GREY} over grey pixels, whose features vary more; up "
        f"to {_TOP_RATE} over fewer than {_PIXELS} of them",
        at_least=0,
    )
    label_cost: float = setting(
        10.0,
        "Weight of the cost −log p(label | features) beside the likelihood.",
        at_least=0,
        given=only("learner", "labelled_pcd"),
    )

    def suited(self, num_images: int, num_pixels: int = _PIXELS, *, grey: bool) -> Self:
        """See `RBMSettings.suited`."""
        settings = super().suited(num_images, num_pixels, grey=grey)
        if self.learning_rate is not None:
            return settings
        rate = _TOP_RATE_GREY * _more_updates(num_pixels) if grey else _TOP_RATE
        return dataclasses.replace(settings, learning_rate=rate)

    def _plain_learner(self):
        if self.learner == "labelled_pcd":
            return learning.LabelledPCD(self.num_chains, self.gibbs_steps, self.label_cost)
        return super()._plain_learner()


class ConvolutionalSettings(RBMSettings, title="Learning"):
    """Settings of the training of convolutional RBMs, whose rates are per place."""

    default_epochs = _CONVOLUTIONAL_EPOCHS
    # The centred gradient needs a bias for each unit.
    centring: ClassVar[str] = "none"
    fast_rate: ClassVar[float] = 0.0
    learner: str = setting(
        "cd",
        "Estimator of the gradient: contrastive divergence (cd), persistent CD (pcd), or parallel "
        "tempering.",
        choices=("cd", "pcd", "tempering"),
    )
    reconstruction: str = setting(
        "probabilities",
        "What contrastive divergence takes as the reconstruction of the visible units: their "
        "means, or drawn states (samples).",
        choices=("samples", "probabilities"),
        given=only("learner", "cd"),
    )
    sparsity_through: str = setting(
        "weights_and_biases",
        "What pulls hidden units to the sparsity target: their weights and biases, towards a mean "
        "over many updates, or biases alone, by the mean of each batch (Lee et al.).",
        choices=("weights_and_biases", "biases"),
        given=_WITH_TARGET,
    )
    start_share: float = setting(
        1.0,
        "Odds that a hidden unit is on before training, if no other one of its block is.",
        at_least=1e-9,
        at_most=1,
    )
    learning_rate: float = setting(
        0.1,
        "Learning rate of filters and biases per place: it is divided by the number of places that "
        "share them, over which gradients are sums.",
        at_least=0,
    )
    epochs: int | None = setting(
        None,
        "Number of passes over the data.",
        unset=f"{_CONVOLUTIONAL_EPOCHS}, and more over fewer than {_ENOUGH:,} images, for as many "
        "updates",
        at_least=1,
        at_most=MAX_EPOCHS,
        grows=optimizers.UNLESS_IT_FALLS,
    )

    def make_learner(self) -> learning.Learner:
        """See `RBMSettings.make_learner`."""
        learner = super().make_learner()
        if self.sparsity_target and self.sparsity_through == "biases":
            return dataclasses.replace(learner, bias_only=True, decay=0.0)
        return learner

    def make_optimizer(self, updates_per_epoch: int) -> optax.GradientTransformation:
        """See `RBMSettings.make_optimizer`; gradients become means over places first."""
        return _per_place(super().make_optimizer(updates_per_epoch))


@functools.cache
def _per_place(optimizer):
    return optax.chain(convolutional.per_place(), optimizer)


def _more_updates(num_pixels):
    """How many times as many updates images of so few pixels get."""
    return min(_MOST_UPDATES, max(1, _PIXELS / num_pixels))


@functools.cache  # equal settings give the same object, and compile once
def _optimizer(rate, decay, num_updates, momentum, final_momentum, switch, weight_decay):
    if decay == "linear":
        rate = optimizers.decaying(rate, num_updates)
    momentum_schedule = optax.join_schedules(
        [optax.constant_schedule(momentum), optax.constant_schedule(final_momentum)], [switch]
    )
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=rbm.weight_mask),
        optax.inject_hyperparams(optax.sgd)(learning_rate=rate, momentum=momentum_schedule),
    )
