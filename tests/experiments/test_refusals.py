"""What the binaries refuse before a workdir is held."""

import dataclasses

import pytest
from absl import flags
from absl.testing import flagsaver

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
        (
            train_dbn,
            small_dbn(hidden_sizes=(40, 20), learning=quick(learner="exact")),
            r"limited to 2\^25 .* has 2\^40",
        ),
        (train_dbn, small_dbn(hidden_sizes=(16, 20, 0)), "num_units is 0; a layer needs"),
        (
            train_dbn,
            small_dbn(**UNLABELLED | {"top_learner": "exact"}, hidden_sizes=(40, 30)),
            r"limited to 2\^25 .* has 2\^30",
        ),
        (
            train_autoencoder,
            train_autoencoder.Settings(DIGITS, quick(learner="exact"), hidden_sizes=(40, 20, 4)),
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


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--learning_rate=nan", "--learning_rate=nan: expected a finite number"),
        ("--label_cost=inf", "--label_cost=inf: expected a finite number"),
        ("--weight_decay=1e39", "--weight_decay=1e[+]39: expected a finite number"),
        ("--sample_steps=99999999999", "--sample_steps=99999999999: expected a whole number of at"),
        ("--seed=2147483648", "--seed=2147483648: expected a whole number of at most 2147483647"),
        ("--hidden_sizes=20,0", "--hidden_sizes=20,0: expected whole numbers of at least 1"),
        ("--hidden_sizes=20,99999999999", "--hidden_sizes=99999999999: expected a whole number of"),
        ("--standardise", "--standardise: the pixels of the net are binary units"),
    ],
)
def test_numbers_that_absl_lets_pass(line, words):
    with flagsaver.flagsaver():
        train_dbn.define_flags()
        flags.FLAGS(["train_dbn", "--workdir=runs/dbn", line])
        with pytest.raises(ValueError, match=words):
            train_dbn.settings_of_flags()


def test_folders_are_kept_as_they_are_meant_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with flagsaver.flagsaver():
        train_dbn.define_flags()
        flags.FLAGS(["train_dbn", "--workdir=runs/dbn", "--dataset=mnist", "--data_dir=idx"])
        assert train_dbn.settings_of_flags().data.data_dir == str(tmp_path / "idx")


def test_help_lists_all_flags():
    """Not only those that the binary's own file defines."""
    with flagsaver.flagsaver():
        train_dbn.define_flags()
        listed = {flag.name for flag in flags.FLAGS.get_key_flags_for_module(train_dbn.__name__)}
        assert listed >= {"workdir", "seed", "dataset", "learner", "hidden_sizes"}
