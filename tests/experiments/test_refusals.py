"""What the commands refuse before a workdir is held."""

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
from tests.small_jobs import DIGITS, QUICK, QUICK_TOP, UNLABELLED, small_dbn, small_rbm

pytestmark = pytest.mark.usefixtures("implicit_promotion")


def quick(**changes):
    return dataclasses.replace(QUICK, **changes)


def test_a_batch_that_the_images_cannot_fill(tmp_path):
    net = finished_runs.random_net(tmp_path / "net", (10, 12))
    large = quick(batch_size=9000)
    start = {"pretrained": net, "batch_size": 9000}
    calls = [
        (train_rbm, small_rbm(learning=large), ""),
        (train_dbn, small_dbn(learning=large), ""),
        (train_dbn, small_dbn(top=dataclasses.replace(QUICK_TOP, batch_size=9000)), "top_"),
        (finetune_updown, finetune_updown.Settings(**start), ""),
        (finetune_bound, finetune_bound.Settings(pretrained=net, learning=large), ""),
        (finetune_memory, finetune_memory.Settings(**start), ""),
    ]
    for module, settings, prefix in calls:
        words = rf"--{prefix}batch_size=9000, but there are \d+ training images"
        with pytest.raises(ValueError, match=words):
            module.run(settings, str(tmp_path / "run"))
        assert not (tmp_path / "run").exists()


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
            small_rbm(learning=quick(sparsity_target=1.5)),
            "target is 1.5; the mean of Bernoulli hidden units lies between 0 and 1",
        ),
        (
            train_dbn,
            small_dbn(hidden_sizes=(40, 20), learning=quick(learner="exact")),
            r"limited to 2\^25 .* has 2\^40",
        ),
        (
            train_dbn,
            small_dbn(
                **UNLABELLED,
                top=dataclasses.replace(QUICK_TOP, learner="exact"),
                hidden_sizes=(40, 30),
            ),
            r"limited to 2\^25 .* has 2\^30",
        ),
        (
            train_autoencoder,
            train_autoencoder.Settings(
                data=DIGITS, learning=quick(learner="exact"), hidden_sizes=(40, 20, 4)
            ),
            r"limited to 2\^25 .* has 2\^40",
        ),
    ],
)
def test_layers_that_cannot_learn(tmp_path, module, settings, words):
    with pytest.raises(ValueError, match=words):
        module.run(settings, str(tmp_path / "run"))
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
def test_other_data(tmp_path, shape, words):
    net = finished_runs.random_net(tmp_path / "net", (10, 12), **shape)
    for module in (estimator_variance, finetune_bound, finetune_memory, finetune_updown, generate):
        with pytest.raises(ValueError, match=words):
            module.run(module.Settings(pretrained=net), str(tmp_path / "run"))
        assert not (tmp_path / "run").exists()
