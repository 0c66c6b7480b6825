"""Settings of train_rbm, train_dbn and train_convolutional that take seconds."""

import dataclasses

from dbn_jax import model_file
from experiments import train_convolutional, train_dbn, train_rbm
from experiments.common.data_settings import DataSettings
from experiments.common.rbm_settings import ConvolutionalSettings, MemorySettings, RBMSettings

DIGITS = DataSettings(dataset="digits")
BINARY = dataclasses.replace(DIGITS, binarisation="stochastic")
_SMALL = {"epochs": 2, "batch_size": 100, "num_chains": 20, "temperatures": 3}
QUICK = RBMSettings(**_SMALL)
QUICK_TOP = MemorySettings(learning_rate=0.02, **_SMALL)
UNLABELLED = {"labels": False}


def small_rbm(**changes):
    options = {"data": DIGITS, "num_hidden": 16, "sample_steps": 20, "learning": QUICK} | changes
    learning = train_rbm.LearningSettings(**dataclasses.asdict(options.pop("learning")))
    return train_rbm.Settings(**options, learning=learning)


def small_dbn(**changes):
    settings = {
        "data": DIGITS,
        "learning": QUICK,
        "top": QUICK_TOP,
        "hidden_sizes": (16, 12, 20),
        "sample_steps": 3,
    }
    return train_dbn.Settings(**settings | changes)


def small_convolutional(**changes):
    settings = {
        "data": DIGITS,
        "learning": ConvolutionalSettings(
            epochs=2, batch_size=50, start_share=0.05, sparsity_target=0.05
        ),
        "maps": (6, 5),
        "filter_sizes": (3, 2),
        "blocks": (2, 2),
    }
    return train_convolutional.Settings(**settings | changes)


def load_net(workdir):
    return model_file.load(workdir / "model.npz")
