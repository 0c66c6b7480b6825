"""Workdirs of finished runs in which nothing was learnt: to evaluate, and to go on from."""

import jax

from dbn_jax import dbn, label_units, rbm
from experiments import train_dbn
from experiments.common import runs
from experiments.common.data_settings import DataSettings

DIGITS = DataSettings(dataset="digits")


def save(path, model, settings):
    """A finished run with these settings, as if it had ended in the model."""
    run = runs.open(settings, str(path))
    run.save_model(model)
    run.finish({"error_rate": 0.5})
    return str(path)


def random_net(
    path, hidden_sizes, *, data=DIGITS, labels=True, num_pixels=64, num_labels=10, weight_scale=0.01
):
    """A finished run of train_dbn, with the weights that it begins with."""
    *keys, top_key = jax.random.split(jax.random.key(0), len(hidden_sizes))
    sizes = (num_pixels, *hidden_sizes)
    layers = [
        rbm.init_params(*arguments, weight_scale=weight_scale)
        for arguments in zip(keys, sizes, sizes[1:-1], strict=False)
    ]
    if labels:
        top = label_units.init_params(top_key, *sizes[-2:], num_labels, weight_scale=weight_scale)
    else:
        top = rbm.init_params(top_key, *sizes[-2:], weight_scale=weight_scale)
    settings = train_dbn.Settings(data=data, hidden_sizes=hidden_sizes, labels=labels)
    return save(path, dbn.stack((*layers, top)), settings)
