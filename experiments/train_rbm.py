"""Trains one restricted Boltzmann machine on images, with any unit types and learner.

The tutorial's first demonstration trains 50 binary features on 16×16 images of the digit 2 by CD-1.
It shows how their weights develop from a random start, and reconstructions of unseen 2s and of
other digits, which the RBM tries to see as 2s (under a minute on 2 cores):

    python -m experiments.train_rbm --workdir=runs/twos \
        --flagfile=experiments/flagfiles/features_of_twos.flags

500 features of full MNIST by persistent contrastive divergence take some 3 minutes on 2 cores:

    python -m experiments.train_rbm --workdir=runs/pcd --dataset=mnist --data_dir=<IDX folder> \
        --flagfile=experiments/flagfiles/rbm_500_pcd.flags

--pretrained goes on from the RBM of another run, with other data of as many pixels:

    python -m experiments.train_rbm --workdir=runs/all --pretrained=runs/twos --dataset=mnist5k \
        --image_size=16

The workdir then holds flags.txt, metrics, checkpoints, the model, figures/ and summary.json.

Reference: Hinton, "To recognize shapes, first learn to generate images" (2007).
"""

import dataclasses
from typing import Any

import jax
import numpy as np
from absl import logging
from matplotlib.figure import Figure

from dbn_jax import data, figures, files, rbm, training
from experiments.common import data_settings, early_stopping, pretrained, pretraining, runs
from experiments.common.data_settings import PIXEL_UNITS, RATES, UNITS, DataSettings, Pixels
from experiments.common.rbm_settings import RBMSettings
from experiments.common.settings import Given, about, group, setting
from experiments.pictures import rbm as pictures

_NUM_UNITS_SHOWN, _NUM_SHOWN_EPOCHS = 50, 6
_NUM_EXAMINED = 1000  # images
_SCORES = ("log_pseudo_likelihood", "log_likelihood")
_DEFAULTS = {"visible": "bernoulli", "hidden": "bernoulli", "num_hidden": 500}


class LearningSettings(RBMSettings):
    """Settings of the training, with a learning rate that suits the pixels."""

    learning_rate: float | None = setting(
        None,
        "Learning rate of weights and biases.",
        unset="0.1, but 0.01 for Gaussian and binomial visible units, and 0.001 for Poisson ones",
        at_least=0,
    )
    patience: int | None = early_stopping.patience("the score that --stop_on names")
    stop_on: str | None = setting(
        None,
        "What --patience looks at: the log pseudo-likelihood, or the log-likelihood by a short "
        "annealing. These are scores of a distribution. The free energy is none, being known up to "
        "log Z only; its gap to training data is smallest before learning; and the reconstruction "
        "error falls when chains mix worse, too.",
        unset="log_pseudo_likelihood for pixels of two values, and log_likelihood for all others",
        choices=_SCORES,
        given=Given("patience", lambda beside: beside.patience is not None, " of some epochs"),
    )


class Settings(runs.TrainingSettings):
    """Everything that decides the result."""

    data: DataSettings = group(DataSettings)
    learning: LearningSettings = group(LearningSettings)
    pretrained: str | None = setting(
        None,
        "Workdir of another run of this command, or the folder where it is published, whose RBM "
        "this one starts from; by default weights are random. The data are those of the flags.",
        folder=True,
    )
    visible: str | None = setting(
        None,
        "Type of the visible units.",
        unset=f"{_DEFAULTS['visible']}, or as the pretrained RBM has them",
        choices=PIXEL_UNITS,
    )
    hidden: str | None = setting(
        None,
        "Type of the hidden units.",
        unset=f"{_DEFAULTS['hidden']}, or as the pretrained RBM has them",
        choices=tuple(UNITS),
    )
    num_hidden: int | None = setting(
        None,
        "Number of hidden units.",
        unset=f"{_DEFAULTS['num_hidden']}, or as many as the pretrained RBM has",
        at_least=1,
    )
    ensemble: int | None = setting(
        None,
        "Number of RBMs trained side by side, which differ by their seeds: --seed and those that "
        "follow it. The curves and the summary tell means and their standard errors; the pictures "
        "are of the first.",
        unset="one",
        at_least=2,
        at_most=1000,
    )
    sample_steps: int = setting(
        1000, "Number of Gibbs steps before a sample is shown.", at_least=1, at_most=100_000
    )
    takes_own_models = True

    def __post_init__(self):
        super().__post_init__()
        if self.ensemble is not None and self.learning.patience is not None:
            raise ValueError(
                f"--patience={self.learning.patience} and --ensemble={self.ensemble} exclude each "
                "other: its RBMs would end with different epochs"
            )


def run(settings: Settings, workdir: str) -> dict:
    """Trains the RBM in a workdir, or resumes there, and draws its pictures."""
    dataset, transform = settings.data.load()
    part, held_out = dataset.held_out
    early_stopping.check(settings.learning.patience, part)
    unfamiliar = settings.data.left_out(dataset)
    num_images, num_visible = dataset.train.images.shape
    start, made_of = _pretrained(settings, dataset)
    settings = _suited(settings, made_of, dataset, transform)
    pixels = Pixels(transform, settings.visible)
    settings = _with_score(settings, held_out, pixels)
    learning = settings.learning
    data_settings.check_updates(learning, num_images)
    types = {"visible": UNITS[settings.visible], "hidden": UNITS[settings.hidden]}
    flags = " ".join(f"--{name}={getattr(settings, name)}" for name in _DEFAULTS)
    layer = settings.num_hidden if start is None else start
    pretraining.check(learning, num_visible, layer, flags=flags, **types)
    run = runs.open(settings, workdir)
    if run.is_done:
        return run.report()
    snapshots = Snapshots(run)
    state = pretraining.train_layer(
        run,
        "rbm",
        learning,
        dataset.train.images,
        held_out.images,
        layer,
        view=pixels,
        seed=settings.seed,
        callback=snapshots.take,
        size=settings.ensemble,
        early_stopping=early_stopping.rule(learning.patience, learning.stop_on, maximise=True),
        **types,
    )
    for i in range(1, settings.ensemble or 1):
        run.save_model(training.ensemble.member(state, i).params, f"model_seed_{settings.seed + i}")
    if settings.ensemble:
        state = training.ensemble.member(state, 0)
    run.save_model(state.params)
    drawn = pictures.draw(
        run.key,
        state.params,
        dataset,
        pixels,
        unfamiliar=unfamiliar,
        chains=settings.learning.make_learner().hidden_chains(state.chains),
        num_steps=settings.sample_steps,
    )
    curves = pretraining.learning_curves(run, "rbm", "Training of the RBM")
    kept = run.kept("rbm")
    development = snapshots.draw(int(kept["epoch"]), state, dataset.image_shape)
    run.save_figures(drawn | development | {"curves": curves})
    return run.finish({name: x for name, x in kept.items() if name.startswith("eval_")})


class Snapshots:
    """Weights at the start and after 1, 2, 4, … epochs, kept on disk, and those at the end."""

    def __init__(self, run: runs.Run):
        """Makes the folder."""
        self._start = "a pretrained RBM" if run.settings.pretrained else "a random start"
        self._path = run.path / "snapshots"
        self._path.mkdir(exist_ok=True)

    def take(self, epoch: int, state: rbm.State) -> None:
        """Saves the weights if this is one of the chosen epochs."""
        if epoch.bit_count() < 2:
            with files.replacing(self._path / f"epoch_{epoch}.npy") as file:
                np.save(file, _shown(state))

    def draw(self, end: int, state: rbm.State, image_shape: tuple[int, ...]) -> dict[str, Figure]:
        """Draws how the weights develop up to the end, from the files that are there."""
        doubling = [2**i for i in range(end.bit_length()) if 2**i < end][-_NUM_SHOWN_EPOCHS:]
        epochs = [0, *doubling] if end else []
        paths = {epoch: self._path / f"epoch_{epoch}.npy" for epoch in epochs}
        weights = {epoch: _read(path) for epoch, path in paths.items() if path.exists()}
        missing = sorted(paths.keys() - weights.keys())
        if missing:
            logging.warning("%s has lost the weights of epochs %s", self._path, missing)
        weights[end] = _shown(state)
        picture = figures.development(
            np.stack(list(weights.values())),
            image_shape=image_shape,
            labels=[f"epoch {epoch}" for epoch in weights],
            title=f"Development of the features from {self._start}",
        )
        return {"development": picture}


def _shown(state: rbm.State) -> np.ndarray:
    return np.asarray(state.params.weights[:, :_NUM_UNITS_SHOWN])


def _read(path: files.Path) -> np.ndarray:
    with path.open("rb") as file:
        return np.load(file)


def _pretrained(settings: Settings, dataset: data.Dataset) -> tuple[rbm.RBM | None, dict[str, Any]]:
    """The RBM to start from, if any, and what it is made of."""
    if settings.pretrained is None:
        return None, _DEFAULTS
    start, _ = pretrained.load(settings.pretrained, (pretrained.RBM,))
    num_visible, num_hidden = start.weights.shape
    with about(f"--pretrained={settings.pretrained}"):
        pretrained.check_data(dataset, num_visible, remedy=pretrained.OTHER_DATA)
    origin = pretrained.run_summary(settings.pretrained)["settings"]
    made_of = {name: origin.get(name) for name in ("visible", "hidden")}
    if not set(made_of.values()) <= set(UNITS):
        raise ValueError(
            f"{settings.pretrained}/summary.json is damaged: it does not tell the types of units"
        )
    made_of["num_hidden"] = num_hidden
    for name, value in made_of.items():
        if getattr(settings, name) not in (None, value):
            raise ValueError(
                f"--{name}={getattr(settings, name)}, but the RBM of "
                f"--pretrained={settings.pretrained} has --{name}={value}; leave the flag out"
            )
    return start, made_of


def _suited(
    settings: Settings, made_of: dict[str, Any], dataset: data.Dataset, transform: data.Transform
) -> Settings:
    """The settings with numbers and names where the defaults depend on the data or the start."""
    unset = {name: value for name, value in made_of.items() if getattr(settings, name) is None}
    settings = dataclasses.replace(settings, **unset)
    grey = settings.visible == "bernoulli" and data_settings.is_grey(dataset, transform)
    learning = settings.learning.suited(*dataset.train.images.shape, grey=grey)
    if learning.learning_rate is None:
        learning = dataclasses.replace(learning, learning_rate=RATES.get(settings.visible, 0.1))
    return dataclasses.replace(settings, learning=learning)


def _with_score(settings: Settings, held_out: data.Split, pixels: Pixels) -> Settings:
    """The settings with the score that early stopping looks at."""
    learning = settings.learning
    if learning.patience is None:
        return settings
    v = data.apply(pixels, jax.random.key(0), data.spread(held_out.images, _NUM_EXAMINED))
    two_valued = pretraining.is_two_valued(UNITS[settings.visible], v)
    if learning.stop_on == _SCORES[0] and not two_valued:
        raise ValueError(
            f"--stop_on={learning.stop_on} is for pixels of two values, and these have more; "
            f"choose {_SCORES[1]}, or --binarisation"
        )
    stop_on = learning.stop_on or _SCORES[0 if two_valued else 1]
    return dataclasses.replace(settings, learning=dataclasses.replace(learning, stop_on=stop_on))


if __name__ == "__main__":
    runs.main(run, Settings)
