"""An RBM with Gaussian visible units learns the patches of photographs.

    python -m experiments.train_patches --workdir=runs/patches

The patches (`dbn_jax.data.patches`: photographs that packages ship) have no mean and are whitened.
Units with learnt σ see them; nothing asks for sparseness or locality, and yet the hidden units
become edges and bars at a place, of an orientation and a width. `figures/` shows what each adds to
a whitened patch and to grey levels, beside the Gabor function that fits it best; and samples beside
patches. It takes two minutes on 2 cores.

The summary tells how probable the test patches are, in nats, under the RBM (annealed importance
sampling, and the conservative estimate), under a Gaussian with all covariances, and under a mixture
of Gaussians. Whitening is one linear map for all of them: it shifts all log-likelihoods alike, and
leaves their differences. Test patches overlap, so that standard errors over them are too small for
a statement about other photographs.

What makes learning stable and quick (Melchior, Wang, Wiskott 2017): whitened data,
weights that start at the scale of their layers' sizes, hidden biases with which a unit starts by
being on in `start_share` of the patches, and a σ that learns ten times as slowly as weights and
biases. Rates of a hundredth of the binary RBM's, which is what the guide (section 13.2) and
Krizhevsky (2009) settle for, are not needed then.

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
from absl import app, flags

from dbn_jax import learning, model_file, rbm, training, units
from dbn_jax.data import patches
from dbn_jax.likelihood import annealing, partition
from dbn_jax.training import checkpoints, workdir
from experiments.baseline_models import gaussian_mixture
from experiments.common import likelihoods, pretraining, shared
from experiments.pictures import patches as patch_pictures

_SIGMA_SHARE = 0.1  # of the learning rate
# The log-likelihood that is watched while learning: of so many patches, by a short annealing.
_NUM_WATCHED, _WATCHED_STEPS, _WATCHED_CHAINS = 2000, 300, 100


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides the result.

    Attributes:
      size: rows and columns of a patch.
      shrink: see `patches.load`.
      min_contrast: see `patches.load`.
      num_train: number of training patches.
      num_test: of test patches, and of validation patches.
      num_components: directions that whitening keeps, of size² − 1: those left out are the finest
        waves, little but noise, which would be blown up to the size of all others.
      num_hidden: hidden units.
      gibbs_steps: n of CD-n.
      learning_rate: of weights and biases; linear to a hundredth over the second half. A tenth of
        it for log σ.
      start_share: odds of a hidden unit to be on at the start.
      batch_size: patches per update.
      epochs: passes through the patches.
      max_mixture: the mixture of Gaussians has at most so many components.
      ais_steps: of annealing, at least 3.
      ais_chains: of annealing, at least 2.
      reverse_patches: test patches from which annealing goes backwards, at least 2.
      sample_steps: Gibbs steps before a sample.
      seed: of everything random.
    """

    size: int = 12
    shrink: int = 2
    min_contrast: float = 4.0
    num_train: int = 100_000
    num_test: int = 10_000
    num_components: int = 100
    num_hidden: int = 256
    gibbs_steps: int = 1
    learning_rate: float = 0.2
    start_share: float = 0.01
    batch_size: int = 100
    epochs: int = 30
    max_mixture: int = 16
    ais_steps: int = 5000
    ais_chains: int = 100
    reverse_patches: int = 100
    sample_steps: int = 1000
    seed: int = 0

    def __post_init__(self):
        least = {
            "max_mixture": 1,
            "ais_steps": 3,
            "ais_chains": 2,
            "reverse_patches": 2,
            "num_test": 2,
        }
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {value}")
        if not 0 < self.start_share < 1:
            raise ValueError(f"start_share is {self.start_share}; it must lie between 0 and 1")
        if self.batch_size > self.num_train:
            raise ValueError(
                f"batch_size is {self.batch_size}, but num_train is {self.num_train}: no batch "
                "can be filled"
            )
        if self.max_mixture > self.num_train:
            raise ValueError(
                f"max_mixture is {self.max_mixture}, but num_train is {self.num_train}: a "
                "component needs a patch at least"
            )


def run(settings: Settings, path: str, *, checkpoint_seconds: float = 30.0) -> dict:
    """Learns the RBM in a workdir, or goes on there, and measures and draws it.

    Returns:
      The summary, as `workdir.Workdir.write_summary` returns it.
    """
    data = patches.load(
        size=settings.size,
        shrink=settings.shrink,
        min_contrast=settings.min_contrast,
        num_train=settings.num_train,
        num_validation=settings.num_test,
        num_test=settings.num_test,
        seed=settings.seed,
    )
    whitening = patches.fit_whitening(data.train, settings.num_components)
    train, validation, test = (
        np.asarray(whitening.whiten(jnp.asarray(x)))
        for x in (data.train, data.validation, data.test)
    )
    run_dir = workdir.open_workdir(
        path,
        shared.flag_values(settings),
        program="experiments.train_patches",
        needed_bytes=pretraining.needed_bytes((train.shape[1], settings.num_hidden)),
    )
    if run_dir.is_done:
        print(f"done already: see {run_dir.figures}")
        return run_dir.summary()
    params = learn(settings, train, validation, run_dir, checkpoint_seconds)
    model_file.save(run_dir.path / "model.npz", params)
    np.savez(run_dir.path / "whitening.npz", **vars(whitening))
    gaussian, best, scores = gaussian_mixture.choose(train, validation, settings.max_mixture)
    results = measure(settings, params, train, test)
    for name, model in (("gaussian", gaussian), ("mixture", best)):
        log_p = model.score_samples(test).astype(np.float64)
        error = log_p.std(ddof=1) / math.sqrt(len(log_p))
        results[f"log_likelihood_{name}"] = float(log_p.mean())
        results[f"log_likelihood_{name}_standard_error"] = float(error)
    results["mixture_components"] = best.n_components
    results["mixture_validation_log_likelihoods"] = {str(k): v for k, v in scores.items()}
    results |= patch_pictures.draw(
        run_dir,
        params,
        whitening,
        data,
        {"Gaussian": gaussian, f"mixture of {best.n_components}": best},
        sample_steps=settings.sample_steps,
        seed=settings.seed,
    )
    summary = run_dir.write_summary(results, seed=settings.seed)
    print(
        f"test patches, nats each: RBM {results['log_likelihood']:.1f}, Gaussian "
        f"{results['log_likelihood_gaussian']:.1f}, mixture of {best.n_components} "
        f"{results['log_likelihood_mixture']:.1f}; {results['oriented_gabor_share']:.0%} of the "
        "features are oriented Gabor functions"
    )
    print(f"done in {summary['wall_seconds']:.0f} s: see {run_dir.figures}")
    return summary


def start(key: jax.Array, num_visible: int, settings: Settings) -> rbm.RBM:
    """Makes the RBM that learning starts from; the key is consumed.

    A hidden unit that is on alone moves the mean of the patch by σW_j, and exp(c_j + ½|W_j|²) are
    its odds to be on; c_j makes them `start_share`, whatever its weights.

    Args:
      key: consumed.
      num_visible: V.
      settings: sizes, and the odds.
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


def learn(
    settings: Settings,
    train: np.ndarray,
    validation: np.ndarray,
    run_dir: workdir.Workdir,
    checkpoint_seconds: float,
) -> rbm.RBM:
    """Learns the RBM, or goes on where an earlier run stopped.

    Args:
      settings: how it learns.
      train: (N, K) whitened patches.
      validation: (M, K) whose log-likelihood is watched.
      run_dir: where metrics and checkpoints go.
      checkpoint_seconds: time between checkpoints.
    """
    init_key, state_key, watch_key = jax.random.split(shared.init_key(settings.seed), 3)
    learner = learning.CD(settings.gibbs_steps)
    num_updates = settings.epochs * (len(train) // settings.batch_size)
    optimizer = _optimizer(settings.learning_rate, num_updates)
    params = start(init_key, train.shape[1], settings)
    state = learning.init_state(state_key, params, learner=learner, optimizer=optimizer)
    watched = jnp.asarray(train[:_NUM_WATCHED]), jnp.asarray(validation[:_NUM_WATCHED])

    def note(epoch, step, state):
        del epoch, step, state
        run_dir.note_time()

    with checkpoints.Checkpoints(run_dir.checkpoints("rbm")) as saved:
        state = training.train(
            functools.partial(_step, learner=learner, optimizer=optimizer),
            state,
            train,
            settings=training.Settings(
                seed=settings.seed,
                batch_size=settings.batch_size,
                num_epochs=settings.epochs,
                phase="rbm",
                checkpoint_seconds=checkpoint_seconds,
            ),
            evaluate=lambda state: _watch(watch_key, state.params, *watched),
            callback=note,
            checkpoints=saved,
            metrics_path=run_dir.metrics,
        )
    return state.params


def measure(
    settings: Settings, params: rbm.RBM, train: np.ndarray, test: np.ndarray
) -> dict[str, float]:
    """Estimates the log-likelihood of test patches, as `likelihood.evaluate` describes it."""
    return likelihoods.evaluate(
        jax.random.key(settings.seed + 1),
        likelihoods.as_net(params),
        (jnp.asarray(train), None),
        (jnp.asarray(test), None),
        num_steps=settings.ais_steps,
        num_chains=settings.ais_chains,
        num_passes=1,
        num_reverse=settings.reverse_patches,
    )


def _step(key, state, batch, *, learner, optimizer):
    state, metrics = learning.step(key, state, batch, learner=learner, optimizer=optimizer)
    return state, {"reconstruction_error": metrics["reconstruction_error"]}


@jax.jit
def _watch(key, params, train, validation):
    betas = jnp.linspace(0, 1, _WATCHED_STEPS + 1)
    base = params.visible.fit(train)
    estimate = annealing.ais(key, params, base=base, betas=betas, num_chains=_WATCHED_CHAINS)
    active = rbm.hidden_mean(params, validation)
    return {
        "log_likelihood": jnp.mean(partition.log_likelihood(params, validation, estimate.log_z)),
        "log_likelihood_train": jnp.mean(partition.log_likelihood(params, train, estimate.log_z)),
        "hidden_activity": jnp.mean(active),
        "sigma": jnp.mean(params.visible.scale),
    }


@functools.cache  # equal settings give the same object, and compile once
def _optimizer(learning_rate, num_updates):
    return optax.chain(
        optax.masked(optax.scale(_SIGMA_SHARE), _sigma_mask),
        optax.sgd(shared.decaying(learning_rate, num_updates)),
    )


def _sigma_mask(params):
    mask = jax.tree.map(lambda _: False, params)
    return dataclasses.replace(mask, visible=dataclasses.replace(mask.visible, log_sigma=True))


def define_flags() -> None:
    """Defines the flags of this binary; only the binary itself does, not who imports it."""
    default = Settings()
    shared.define_run_flags()
    for name, text in (
        ("size", "Rows and columns of a patch."),
        ("shrink", "A pixel is the mean of so many rows and columns of a photograph."),
        ("num_train", "Training patches."),
        ("num_test", "Test patches, and validation patches."),
        ("num_components", "Directions that whitening keeps."),
        ("num_hidden", "Hidden units."),
        ("gibbs_steps", "n of CD-n."),
        ("batch_size", "Patches per update."),
        ("epochs", "Passes through the patches."),
        ("max_mixture", "Components of the mixture of Gaussians, at most."),
        ("ais_steps", "Steps of annealing."),
        ("ais_chains", "Chains of annealing."),
        ("reverse_patches", "Test patches from which annealing goes backwards."),
        ("sample_steps", "Gibbs steps before a sample."),
    ):
        flags.DEFINE_integer(name, getattr(default, name), text, lower_bound=1)
    flags.DEFINE_float(
        "min_contrast",
        default.min_contrast,
        "Smallest standard deviation of a patch, of 255 grey levels.",
        lower_bound=0,
    )
    flags.DEFINE_float(
        "learning_rate",
        default.learning_rate,
        "Of weights and biases; linear to a hundredth over the second half.",
        lower_bound=0,
    )
    flags.DEFINE_float(
        "start_share", default.start_share, "Odds of a hidden unit to be on at the start."
    )


def main(argv: list[str]) -> None:
    """Makes settings of the flags, and runs."""
    shared.call(argv, run, lambda: shared.from_flags(Settings))


if __name__ == "__main__":
    define_flags()
    app.run(main)
