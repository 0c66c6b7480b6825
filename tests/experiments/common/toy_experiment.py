"""A whole experiment: its settings, its training, its pictures. What a new one looks like."""

import functools

import jax
import numpy as np
import optax

from dbn_jax import data, figures, learning, rbm
from experiments.common import runs
from experiments.common.data_settings import DataSettings
from experiments.common.settings import group, setting


class Settings(runs.TrainingSettings):
    """Everything that decides the result."""

    data: DataSettings = group(DataSettings, dataset="digits")
    num_hidden: int = setting(8, "Number of hidden units.", at_least=1)
    epochs: int = setting(3, "Number of passes over the data.", at_least=1)


def run(settings: Settings, workdir: str) -> dict:
    """Trains an RBM in a workdir, or resumes there."""
    dataset, to_pixels = settings.data.load()
    run = runs.open(settings, workdir)
    if run.is_done:
        return run.report()
    images = dataset.train.images
    learner, optimizer = learning.CD(), _optimizer()
    init_key, chain_key = jax.random.split(run.key)
    params = rbm.init_params(init_key, images.shape[1], settings.num_hidden)
    state = run.train(
        "rbm",
        functools.partial(learning.step, learner=learner, optimizer=optimizer),
        learning.init_state(chain_key, params, learner=learner, optimizer=optimizer),
        images,
        transform=to_pixels,
        batch_size=100,
        epochs=settings.epochs,
        held_out=dataset.held_out[1].arrays(),
    )
    run.save_model(state.params)
    weights = figures.receptive_fields(
        state.params.weights, image_shape=dataset.image_shape, title="Features"
    )
    run.save_figures({"features": weights})
    v = data.apply(to_pixels, jax.random.key(0), dataset.held_out[1].images)
    error = np.mean(np.sum((v - rbm.reconstruct(state.params, v)) ** 2, axis=-1))
    return run.finish({"reconstruction_error": error})


@functools.cache
def _optimizer():
    return optax.sgd(0.1)


if __name__ == "__main__":
    runs.main(run, Settings)
