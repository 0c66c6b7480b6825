"""What the binaries refuse before a workdir is held."""

import dataclasses

import pytest

from experiments import (
    estimator_variance,
    finetune_bound,
    finetune_memory,
    finetune_updown,
    generate,
    train_autoencoder,
    train_dbn,
    train_rbm,
)
from tests import finished_runs
from tests.small_jobs import DIGITS, QUICK, UNLABELLED, small_dbn, small_rbm

pytestmark = pytest.mark.usefixtures("implicit_promotion")


def test_a_batch_that_the_images_cannot_fill_is_refused_before_the_workdir_holds_it(tmp_path):
    net = finished_runs.random_net(tmp_path / "net", (10, 12))
    large = dataclasses.replace(QUICK, batch_size=9000)
    calls = {
        train_rbm: small_rbm(learning=large),
        train_dbn: small_dbn(learning=large),
        finetune_updown: finetune_updown.Settings(net, batch_size=9000),
        finetune_bound: finetune_bound.Settings(net, learning=large),
        finetune_memory: finetune_memory.Settings(net, batch_size=9000),
    }
    for module, settings in calls.items():
        with pytest.raises(
            ValueError, match=r"--batch_size=9000, but there are \d+ training images"
        ):
            module.run(settings, tmp_path / "run")
        assert not (tmp_path / "run").exists()


def quick(**changes):
    return dataclasses.replace(QUICK, **changes)


@pytest.mark.parametrize(
    ("module", "settings", "words"),
    [
        (train_rbm, small_rbm(visible="poisson", hidden="gaussian"), "no normalisable joint"),
        (train_rbm, small_rbm(hidden="softmax"), "16 softmax units cannot be split into groups"),
        (
            train_rbm,
            small_rbm(num_hidden=26, learning=quick(learner="exact")),
            r"limited to 2\^25 .* has 2\^26; .* learn by CD or PCD",
        ),
        (
            train_rbm,
            small_rbm(learning=quick(learner="tempering", min_beta=2.0)),
            "min_beta is 2.0; it must lie in",
        ),
        (
            train_rbm,
            small_rbm(learning=quick(sparsity_target=1.5)),
            "target is 1.5; the mean of Bernoulli hidden units lies between 0 and 1",
        ),
        (train_dbn, small_dbn(hidden_sizes=(16, 0, 20)), "num_units is 0; a layer needs"),
        (train_dbn, small_dbn(hidden_sizes=(16, 20, 0)), "num_units is 0; a layer needs"),
        (
            train_dbn,
            small_dbn(**UNLABELLED | {"top_learner": "exact"}, hidden_sizes=(40, 30)),
            r"limited to 2\^25 .* has 2\^30",
        ),
        (
            train_autoencoder,
            train_autoencoder.Settings(DIGITS, quick(learner="exact"), hidden_sizes=(40, 4)),
            r"limited to 2\^25 .* has 2\^40",
        ),
        (
            train_autoencoder,
            train_autoencoder.Settings(DIGITS, quick(learner="exact"), hidden_sizes=(2, 0)),
            "num_units is 0; a layer needs",
        ),
    ],
)
def test_layers_that_cannot_learn_are_refused_before_any_learns(tmp_path, module, settings, words):
    with pytest.raises(ValueError, match=words):
        module.run(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (
            {"num_pixels": 49},
            "have 64 pixels and 10 .* the model has 49 pixels and 10 label",
        ),
        ({"num_labels": 12}, "and 10 classes, but the model has 64 pixels and 12 label units; are"),
    ],
)
def test_other_data_are_refused_before_the_workdir_is_held(tmp_path, shape, words):
    net = finished_runs.random_net(tmp_path / "net", (10, 12), **shape)
    for module in (estimator_variance, finetune_bound, finetune_memory, finetune_updown, generate):
        with pytest.raises(ValueError, match=words):
            module.run(module.Settings(net), tmp_path / "run")
        assert not (tmp_path / "run").exists()
