"""Trains an RBM with Gaussian visible units on patches of photographs.

    python -m experiments.train_patches --workdir=runs/patches

The mean is subtracted from each patch (`dbn_jax.data.patches`: photographs that packages ship), and
the patches are whitened. The visible units have a learnt σ. No term asks for sparseness or
locality, and yet the hidden units become edges and bars with a place, an orientation and a width.
`figures/` shows what each adds to a whitened patch and to grey levels, the Gabor function that fits
it best, and samples beside patches. It takes two minutes on 2 cores.

The summary gives the log-likelihood of the test patches, in nats, under the RBM (by annealed
importance sampling, and conservatively), under a Gaussian with all covariances, and under a mixture
of Gaussians. Whitening is the same linear map for all of them: it shifts all log-likelihoods alike,
and leaves their differences. Test patches overlap, so that their standard errors are too small for
a statement about other photographs.

Training is stable and quick for four reasons (Melchior, Wang, Wiskott 2017): the data are whitened;
the initial weights are scaled to the sizes of the layers; the initial biases let each hidden unit
be on with the odds `start_share`; and σ has a tenth of the learning rate of weights and biases.
The learning rate then need not be a hundredth of that of a binary RBM, as in the guide (section
13.2) and in Krizhevsky (2009).

References: Hinton, "A practical guide to training restricted Boltzmann machines" (2010), cited as
*the guide*; Krizhevsky, "Learning multiple layers of features from tiny images" (2009); Cho, Ilin,
Raiko, "Improved learning of Gaussian-Bernoulli restricted Boltzmann machines" (2011); Melchior,
Wang, Wiskott, "Gaussian-binary restricted Boltzmann machines for modeling natural image statistics"
(2017); Theis, Gerwinn, Sinz, Bethge, "In all likelihood, deep belief is not enough" (2011), who
find mixtures of Gaussians better densities.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dbn_jax import data, learning, rbm, training, units
from dbn_jax.data import patches
from dbn_jax.learning import monitor
from dbn_jax.likelihood import evaluation
from experiments.baseline_models import gaussian_mixture
from experiments.common import early_stopping, optimizers, runs
from experiments.common.settings import MAX_EPOCHS, about, setting
from experiments.pictures import patches as pictures

_CUT = ("size", "shrink", "min_contrast", "num_train", "num_test")  # settings of the patches
_SIGMA_SHARE = 0.1  # of the learning rate
# The log-likelihood is measured while training on so many patches.
_NUM_WATCHED = 2000


class Settings(runs.TrainingSettings):
    """Everything that decides the result."""

    size: int = setting(12, "Number of rows and columns of a patch.", at_least=1)
    shrink: int = setting(
        2, "Factor by which photographs are shrunk, by averaging squares of pixels.", at_least=1
    )
    min_contrast: float = setting(
        4.0, "Smallest standard deviation of a patch, in grey levels of 255.", at_least=0
    )
    num_train: int = setting(100_000, "Number of training patches.", at_least=1)
    num_test: int = setting(
        10_000, "Number of test patches, and of validation patches.", at_least=2
    )
    num_components: int = setting(
        100,
        "Number of principal directions that whitening keeps, of size² − 1. The others are the "
        "finest waves, mostly noise, which whitening would raise to the variance of all others.",
        at_least=1,
    )
    num_hidden: int = setting(256, "Number of hidden units.", at_least=1, at_most=1_000_000)
    gibbs_steps: int = setting(1, "Number n of Gibbs steps of CD-n.", at_least=1, at_most=10_000)
    learning_rate: float = setting(
        0.2,
        "Learning rate of weights and biases, a tenth of it for log σ; it falls to a hundredth "
        "over the second half.",
        at_least=0,
    )
    start_share: float = setting(
        0.01, "Odds that a hidden unit is on before training.", at_least=1e-9, below=1
    )
    batch_size: int = setting(100, "Number of patches in each update.", at_least=1)
    epochs: int = setting(
        30,
        "Number of passes over the patches.",
        at_least=1,
        at_most=MAX_EPOCHS,
        grows=optimizers.FIXED,
    )
    patience: int | None = early_stopping.patience("the log-likelihood")
    max_mixture: int = setting(
        16, "Largest number of components of the mixture of Gaussians.", at_least=1
    )
    ais_steps: int = setting(5000, "Number of annealing steps.", at_least=3, at_most=100_000)
    ais_chains: int = setting(100, "Number of annealing chains.", at_least=2, at_most=10_000)
    reverse_patches: int = setting(
        100, "Largest number of test patches from which reverse annealing starts.", at_least=2
    )
    sample_steps: int = setting(
        1000, "Number of Gibbs steps before a sample is shown.", at_least=1, at_most=100_000
    )

    def __post_init__(self):
        super().__post_init__()
        if max(self.batch_size, self.max_mixture) > self.num_train:
            raise ValueError(
                f"--num_train={self.num_train} is fewer than --batch_size={self.batch_size} or "
                f"--max_mixture={self.max_mixture}: a batch must be filled, and a component of the "
                "mixture needs a patch"
            )


def run(settings: Settings, workdir: str) -> dict:
    """Trains the RBM in a workdir, or resumes there, and compares and draws it."""
    cut = {name: getattr(settings, name) for name in _CUT}
    with about(" ".join(f"--{name}={value}" for name, value in cut.items())):
        photographs = patches.load(num_validation=settings.num_test, seed=settings.seed, **cut)
    with about(f"--num_components={settings.num_components}"):
        whitening = patches.fit_whitening(photographs.train, settings.num_components)
    train, validation, test = (
        np.asarray(whitening.whiten(jnp.asarray(x)))
        for x in (photographs.train, photographs.validation, photographs.test)
    )
    run = runs.open(settings, workdir)
    if run.is_done:
        return run.report()
    params = train_rbm(run, train, validation)
    run.save_model(params)
    run.save_arrays("whitening", **vars(whitening))
    gaussian, best, scores = gaussian_mixture.choose(train, validation, settings.max_mixture)
    measure_key, picture_key = jax.random.split(run.key)
    results = measure(measure_key, settings, params, train, test)
    for name, model in (("gaussian", gaussian), ("mixture", best)):
        log_p = model.score_samples(test).astype(np.float64)
        error = log_p.std(ddof=1) / math.sqrt(len(log_p))
        results[f"log_likelihood_{name}"] = float(log_p.mean())
        results[f"log_likelihood_{name}_standard_error"] = float(error)
    results["mixture_components"] = best.n_components
    results["mixture_validation_log_likelihoods"] = {str(k): v for k, v in scores.items()}
    found, drawn = pictures.draw(
        picture_key,
        params,
        whitening,
        photographs,
        {"Gaussian": gaussian, f"mixture of {best.n_components}": best},
        run.metrics("rbm"),
        num_steps=settings.sample_steps,
    )
    run.save_figures(drawn)
    return run.finish(results | found)


def start(key: jax.Array, num_visible: int, settings: Settings) -> rbm.RBM:
    """Makes the RBM before training.

    If all other hidden units are off, unit j is on with the odds exp(c_j + ½|W_j|²). The bias c_j
    makes these `start_share`, whatever the weights W_j are.
    """
    params = rbm.init_params(
        key,
        num_visible,
        settings.num_hidden,
        visible=units.Gaussian(learn_sigma=True),
        weight_scale=math.sqrt(2 / (num_visible + settings.num_hidden)),
    )
    bias = math.log(settings.start_share) - 0.5 * jnp.sum(params.weights**2, axis=0)
    return dataclasses.replace(params, hidden=dataclasses.replace(params.hidden, bias=bias))


def train_rbm(run: runs.Run, train: np.ndarray, validation: np.ndarray) -> rbm.RBM:
    """Trains the RBM on whitened patches (N, K), or goes on where an earlier process stopped."""
    settings = run.settings
    init_key, state_key, watch_key = jax.random.split(training.spare_key(settings.seed), 3)
    learner = learning.CD(settings.gibbs_steps)
    num_updates = settings.epochs * (len(train) // settings.batch_size)
    optimizer = _optimizer(settings.learning_rate, num_updates)
    params = start(init_key, train.shape[1], settings)
    watched = [jnp.asarray(data.spread(x, _NUM_WATCHED)) for x in (train, validation)]
    state = run.train(
        "rbm",
        functools.partial(_step, learner=learner, optimizer=optimizer),
        learning.init_state(state_key, params, learner=learner, optimizer=optimizer),
        train,
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        evaluate=lambda state: _watch(watch_key, state.params, *watched),
        held_out=validation,
        early_stopping=early_stopping.rule(settings.patience, "log_likelihood", maximise=True),
    )
    return state.params


def measure(
    key: jax.Array, settings: Settings, params: rbm.RBM, train: np.ndarray, test: np.ndarray
) -> dict[str, float]:
    """Estimates the log-likelihood of test patches, as `evaluation.evaluate` describes it."""
    return evaluation.evaluate(
        key,
        params,
        (jnp.asarray(train), None),
        (jnp.asarray(test), None),
        num_steps=settings.ais_steps,
        num_chains=settings.ais_chains,
        num_reverse=settings.reverse_patches,
    )


def _step(key, state, batch, *, learner, optimizer):
    state, metrics = learning.step(key, state, batch, learner=learner, optimizer=optimizer)
    return state, {"reconstruction_error": metrics["reconstruction_error"]}


@jax.jit
def _watch(key, params, train, validation):
    return {
        **monitor.log_likelihood(key, params, train, validation),
        "hidden_activity": jnp.mean(rbm.hidden_mean(params, validation)),
        "sigma": jnp.mean(params.visible.scale),
    }


@functools.cache  # equal settings give the same object, and compile once
def _optimizer(learning_rate, num_updates):
    return optax.chain(
        optax.masked(optax.scale(_SIGMA_SHARE), _sigma_mask),
        optax.sgd(optimizers.decaying(learning_rate, num_updates)),
    )


def _sigma_mask(params):
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].name == "log_sigma", params)


if __name__ == "__main__":
    runs.main(run, Settings)
