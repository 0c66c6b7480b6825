"""What the commands refuse before a workdir is held."""

import dataclasses

import pytest

from experiments import (
    estimator_variance,
    finetune_bound,
    finetune_classifier,
    finetune_memory,
    finetune_updown,
    generate,
    train_autoencoder,
    train_dbn,
    train_rbm,
)
from experiments.common.classification import ClassifierSettings
from experiments.train_autoencoder import BackpropagationSettings
from tests import finished_runs
from tests.small_jobs import DIGITS, QUICK, QUICK_TOP, UNLABELLED, small_dbn, small_rbm

pytestmark = pytest.mark.usefixtures("implicit_promotion")


EXACT, EXACT_TOP = (dataclasses.replace(x, learner="exact") for x in (QUICK, QUICK_TOP))
SPARSE = dataclasses.replace(QUICK, sparsity_target=1.5)


def test_a_batch_that_the_images_cannot_fill(tmp_path):
    net = finished_runs.random_net(tmp_path / "net", (10, 12))
    start, many = {"pretrained": net}, {"batch_size": 9000}
    large, large_top = (dataclasses.replace(settings, **many) for settings in (QUICK, QUICK_TOP))
    tuning, classifying = BackpropagationSettings(**many), ClassifierSettings(**many)
    calls = [
        (train_rbm, small_rbm(learning=large), ""),
        (train_dbn, small_dbn(learning=large), ""),
        (train_dbn, small_dbn(top=large_top), "top_"),
        (train_autoencoder, train_autoencoder.Settings(data=DIGITS, learning=large), ""),
        (train_autoencoder, train_autoencoder.Settings(data=DIGITS, finetune=tuning), "finetune_"),
        (finetune_classifier, finetune_classifier.Settings(**start, learning=classifying), ""),
        (finetune_bound, finetune_bound.Settings(**start, learning=large), ""),
        (finetune_memory, finetune_memory.Settings(**start, **many), ""),
        (finetune_updown, finetune_updown.Settings(**start, **many), ""),
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
        (train_rbm, small_rbm(num_hidden=26, learning=EXACT), r"2\^26; .* learn by CD or PCD"),
        (train_rbm, small_rbm(learning=SPARSE), "target is 1.5; .* of Bernoulli hidden units"),
        (train_dbn, small_dbn(hidden_sizes=(40, 20), learning=EXACT), r"has 2\^40"),
        (train_dbn, small_dbn(**UNLABELLED, top=EXACT_TOP, hidden_sizes=(40, 30)), r"has 2\^30"),
        (train_autoencoder, train_autoencoder.Settings(data=DIGITS, learning=EXACT), r"has 2\^64"),
    ],
)
def test_layers_that_cannot_learn(tmp_path, module, settings, words):
    with pytest.raises(ValueError, match=words):
        module.run(settings, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({"num_pixels": 49}, "have 64 pixels and 10 .* the model has 49 pixels and 10 label"),
        ({"num_labels": 12}, "and 10 classes, but the model has 64 pixels and 12 label units; are"),
    ],
)
def test_other_data(tmp_path, shape, words):
    net = finished_runs.random_net(tmp_path / "net", (10, 12), **shape)
    for module in (estimator_variance, finetune_bound, finetune_memory, finetune_updown, generate):
        with pytest.raises(ValueError, match=words):
            module.run(module.Settings(pretrained=net), str(tmp_path / "run"))
        assert not (tmp_path / "run").exists()
