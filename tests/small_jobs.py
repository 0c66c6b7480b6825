"""Settings of train_rbm and train_dbn that take seconds."""

import dataclasses

from dbn_jax import model_file
from experiments import train_dbn, train_rbm
from experiments.common import shared

DIGITS = shared.DataSettings(dataset="digits")
BINARY = dataclasses.replace(DIGITS, binarisation="stochastic")
QUICK = shared.LearningSettings(epochs=2, batch_size=100, num_chains=20, temperatures=3)
UNLABELLED = {"labels": False, "top_learner": "pcd"}


def small_rbm(**changes):
    settings = train_rbm.Settings(data=DIGITS, learning=QUICK, num_hidden=16, sample_steps=20)
    return dataclasses.replace(settings, **changes)


def small_dbn(**changes):
    settings = train_dbn.Settings(
        data=DIGITS, learning=QUICK, hidden_sizes=(16, 12, 20), top_epochs=2, sample_steps=3
    )
    return dataclasses.replace(settings, **changes)


def load_net(workdir):
    return model_file.load(workdir / "model.npz")
