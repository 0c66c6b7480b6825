"""Trains one restricted Boltzmann machine on images, with any unit types and learner.

The tutorial's first demonstration trains 50 binary features on 16×16 images of the digit 2 by CD-1.
It shows how their weights develop from a random start, and reconstructions of unseen 2s and of
other digits, which the RBM tries to see as 2s (under a minute on 2 cores):

    python -m experiments.train_rbm --workdir=runs/twos \
        --flagfile=experiments/flagfiles/features_of_twos.flags

500 features of full MNIST by persistent contrastive divergence take some 3 minutes on 2 cores:

    python -m experiments.train_rbm --workdir=runs/pcd --dataset=mnist --data_dir=<IDX folder> \
        --flagfile=experiments/flagfiles/rbm_500_pcd.flags

The workdir then holds flags.txt, metrics, checkpoints, the model, figures/ and summary.json.

Reference: Hinton, "To recognize shapes, first learn to generate images" (2007).
"""

import dataclasses

import numpy as np
from absl import logging
from matplotlib.figure import Figure

from dbn_jax import data, figures, files, rbm
from experiments.common import data_settings, pretraining, runs
from experiments.common.data_settings import PIXEL_UNITS, RATES, UNITS, DataSettings, Pixels
from experiments.common.rbm_settings import RBMSettings
from experiments.common.settings import group, setting
from experiments.pictures import rbm as pictures

_NUM_UNITS_SHOWN = 50


class LearningSettings(RBMSettings):
    """Settings of the training, with a learning rate that suits the pixels."""

    learning_rate: float | None = setting(
        None,
        "Learning rate of weights and biases.",
        unset="0.1, but 0.01 for Gaussian and binomial visible units, and 0.001 for Poisson ones",
        at_least=0,
    )


class Settings(runs.TrainingSettings):
    """Everything that decides the result."""

    data: DataSettings = group(DataSettings)
    learning: LearningSettings = group(LearningSettings)
    visible: str = setting("bernoulli", "Type of the visible units.", choices=PIXEL_UNITS)
    hidden: str = setting("bernoulli", "Type of the hidden units.", choices=tuple(UNITS))
    num_hidden: int = setting(500, "Number of hidden units.", at_least=1)
    sample_steps: int = setting(
        1000, "Number of Gibbs steps before a sample is shown.", at_least=1, at_most=100_000
    )


def run(settings: Settings, workdir: str) -> dict:
    """Trains the RBM in a workdir, or resumes there, and draws its pictures."""
    dataset, transform = settings.data.load()
    _, held_out = dataset.held_out
    unfamiliar = settings.data.left_out(dataset)
    pixels = Pixels(transform, settings.visible)
    num_images, num_visible = dataset.train.images.shape
    settings = _suited(settings, dataset, transform)
    learning = settings.learning
    data_settings.check_updates(learning, num_images)
    types = {"visible": UNITS[settings.visible], "hidden": UNITS[settings.hidden]}
    flags = " ".join(f"--{name}={getattr(settings, name)}" for name in (*types, "num_hidden"))
    pretraining.check(learning, num_visible, settings.num_hidden, flags=flags, **types)
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
        settings.num_hidden,
        view=pixels,
        seed=settings.seed,
        callback=snapshots.take,
        **types,
    )
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
    run.save_figures(drawn | snapshots.draw(dataset.image_shape) | {"curves": curves})
    table = run.metrics("rbm")
    return run.finish({k: values[-1] for k, values in table.items() if k.startswith("eval_")})


class Snapshots:
    """Weights at the start, at the end, and after 1, 2, 4, … epochs, kept on disk."""

    def __init__(self, run: runs.Run):
        """Chooses the epochs."""
        num_epochs = run.settings.learning.epochs
        doubling = [2**i for i in range(num_epochs.bit_length()) if 2**i < num_epochs]
        self._epochs = [0, *doubling[-6:], num_epochs]
        self._path = run.path / "snapshots"
        self._path.mkdir(exist_ok=True)

    def take(self, epoch: int, state: rbm.State) -> None:
        """Saves the weights if this is one of the chosen epochs."""
        if epoch in self._epochs:
            weights = np.asarray(state.params.weights[:, :_NUM_UNITS_SHOWN])
            with files.replacing(self._path / f"epoch_{epoch}.npy") as file:
                np.save(file, weights)

    def draw(self, image_shape: tuple[int, ...]) -> dict[str, Figure]:
        """Draws how the weights develop, from the files that are there."""
        paths = {epoch: self._path / f"epoch_{epoch}.npy" for epoch in self._epochs}
        weights = {epoch: _read(path) for epoch, path in paths.items() if path.exists()}
        missing = sorted(paths.keys() - weights.keys())
        if missing:
            logging.warning("%s has lost the weights of epochs %s", self._path, missing)
        if not weights:
            return {}
        picture = figures.development(
            np.stack(list(weights.values())),
            image_shape=image_shape,
            labels=[f"epoch {epoch}" for epoch in weights],
            title="Development of the features from a random start",
        )
        return {"development": picture}


def _read(path: files.Path) -> np.ndarray:
    with path.open("rb") as file:
        return np.load(file)


def _suited(settings: Settings, dataset: data.Dataset, transform: data.Transform) -> Settings:
    """The settings with numbers and names where the defaults depend on the data."""
    grey = settings.visible == "bernoulli" and data_settings.is_grey(dataset, transform)
    learning = settings.learning.suited(*dataset.train.images.shape, grey=grey)
    if learning.learning_rate is None:
        learning = dataclasses.replace(learning, learning_rate=RATES.get(settings.visible, 0.1))
    return dataclasses.replace(settings, learning=learning)


if __name__ == "__main__":
    runs.main(run, Settings)
