"""Discriminative fine-tuning: what it leaves on disk, resumption, early stopping."""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import convolutional, dbn, model_file, networks, rbm, training, units
from dbn_jax.learning import backprop
from experiments import finetune_classifier, train_dbn
from experiments.common import finetuning
from experiments.common import pretrained as pretrained_runs
from experiments.common.classification import ClassifierSettings
from experiments.common.data_settings import DataSettings
from experiments.finetune_classifier import Settings
from tests import finished_runs
from tests.random_models import at_random
from tests.resumption import broken_and_resumed
from tests.small_jobs import DIGITS, small_convolutional

RANDOM = {"pretrained": pretrained_runs.NONE, "data": DIGITS}
VALIDATED = dataclasses.replace(DIGITS, num_validation=100)
PICTURES = {"curves", "errors", "features_after", "features_before"}


pytestmark = pytest.mark.usefixtures("implicit_promotion")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A net with labels whose run held images out."""
    return finished_runs.random_net(
        tmp_path_factory.mktemp("net"), (30, 40), data=VALIDATED, weight_scale=0.1
    )


def learning(**changes):
    quick = {"epochs": 4, "batch_size": 50, "hidden_dropout": 0.1, "adversarial_radius": 0.0}
    return ClassifierSettings(**quick | changes)


def gentle(pretrained, **changes):
    return Settings(pretrained=str(pretrained), learning=learning(**changes))


def run(settings, path):
    return finetune_classifier.run(settings, str(path))


def test_it_leaves_a_whole_workdir(pretrained, tmp_path, capsys):
    summary = run(gentle(pretrained), tmp_path / "run")
    results = summary["results"]
    assert {p.stem for p in (tmp_path / "run/figures").iterdir()} == PICTURES
    assert results["split"] == "validation"
    assert results["epoch"] == 4
    assert f"error_rate: {results['error_rate']:.2%}" in capsys.readouterr().out
    model = model_file.load(tmp_path / "run/model.npz")
    dataset, transform = VALIDATED.load()
    v = transform(None, jnp.asarray(dataset.validation.images))
    answers = np.asarray(model(v)).argmax(axis=-1)
    assert results["error_rate"] == pytest.approx(np.mean(answers != dataset.validation.labels))
    table = training.read_metrics(tmp_path / "run/metrics_classifier.csv")
    np.testing.assert_allclose(table["eval_error_rate"][-1], results["error_rate"])
    assert table["eval_error_rate_train"][-1] < table["eval_error_rate_train"][0]
    net = model_file.load(pathlib.Path(pretrained, "model.npz"))
    start = networks.classifier_of(net, 10)
    for i, (old, new) in enumerate(zip(start.hidden, model.hidden, strict=True), 1):
        old, new = np.float64(old.kernel[...]), np.float64(new.kernel[...])
        change = np.linalg.norm(new - old) / np.linalg.norm(old)
        assert results[f"weight_change_{i}"] == pytest.approx(change, rel=1e-4)
        assert 0 < results[f"feature_correlation_{i}"] < 1

    # It is done, and stays as it is; it is no net to start from.
    again = run(gentle(pretrained), tmp_path / "run")
    assert again == json.loads((tmp_path / "run/summary.json").read_text())
    with pytest.raises(ValueError, match="made by finetune_classifier; expected a run of train"):
        run(gentle(tmp_path / "run"), tmp_path / "other")


@pytest.mark.usefixtures("undrawn")
def test_from_random_weights(tmp_path):
    quick = learning(epochs=12, batch_size=20, hidden_dropout=0.0)
    settings = Settings(**RANDOM, hidden_sizes=(30, 40), learning=quick)
    results = run(settings, tmp_path / "run")["results"]
    assert results["split"] == "test"
    assert results["error_rate"] < 0.3  # 0.9 is chance
    header = (tmp_path / "run/metrics_classifier.csv").read_text().splitlines()[0]
    # Without a validation set nothing is held out until the end.
    assert "eval_error_rate_train" in header
    assert "eval_error_rate," not in header + ","
    # There is no run that it went on from; its data are its own.
    _, data_settings = pretrained_runs.load(str(tmp_path / "run"), ("finetune_classifier",))
    assert data_settings == DIGITS


@pytest.mark.usefixtures("undrawn")
def test_patience_takes_the_best_epoch(pretrained, tmp_path, monkeypatch):
    """The first of two that are equally good."""
    rates, seen = [0.9, 0.5, 0.2, 0.4, 0.2], []

    def watch_errors(*arguments, **keywords):
        def evaluate(model):
            seen.append(model)
            return {"error_rate_train": 0.1, "error_rate": rates[len(seen) - 1]}

        return evaluate

    monkeypatch.setattr(finetuning, "watch_errors", watch_errors)
    summary = run(gentle(pretrained, patience=2), tmp_path / "run")
    assert summary["results"]["epoch"] == 2
    stop = {"measure": "error_rate", "kept_epoch": 2, "last_epoch": 4}
    assert summary["early_stopping"] == {"classifier": stop}
    model = model_file.load(tmp_path / "run/model.npz")
    jax.tree.map(np.testing.assert_array_equal, model, seen[2])
    assert float(jnp.abs(seen[4].softmax.kernel[...] - seen[2].softmax.kernel[...]).max()) > 1e-3


@pytest.mark.usefixtures("undrawn")
def test_settings_reach_the_loss(pretrained, tmp_path, monkeypatch):
    seen = []

    def loss(key, model, batch, **keywords):
        seen.append(keywords)
        return classification_loss(key, model, batch, **keywords)

    classification_loss = backprop.classification_loss
    monkeypatch.setattr(backprop, "classification_loss", loss)
    settings = gentle(
        pretrained, epochs=2, top_only_epochs=2, input_dropout=0.3, label_smoothing=0.2,
        adversarial_radius=0.5,
    )  # fmt: skip
    results = run(settings, tmp_path)["results"]
    assert seen[0] == {
        "input_dropout": 0.3, "hidden_dropout": 0.1, "label_smoothing": 0.2,
        "adversarial_radius": 0.5,
    }  # fmt: skip
    # Only the softmax layer has learnt.
    assert results["weight_change_1"] == results["weight_change_2"] == 0
    model = model_file.load(tmp_path / "model.npz")
    start = networks.classifier_of(model_file.load(pathlib.Path(pretrained, "model.npz")), 10)
    assert float(jnp.abs(model.softmax.kernel[...] - start.softmax.kernel[...]).max()) > 1e-3


@pytest.mark.usefixtures("undrawn")
def test_broken_run_goes_on_to_the_same_bits(pretrained, tmp_path):
    settings = gentle(
        pretrained, patience=9, top_only_epochs=2, batch_size=20, adversarial_radius=0.5
    )
    broken_and_resumed(tmp_path, finetune_classifier, settings)


def test_a_net_of_other_data_is_refused(tmp_path):
    refused = {
        r"64 pixels .* the model has 100 pixels; are these its": (100, units.Bernoulli()),
        "hidden layer 2 of 2 has Gaussian units": (64, units.Gaussian()),
    }
    for i, (words, (pixels, hidden)) in enumerate(refused.items()):
        top = rbm.init_params(jax.random.key(0), 5, 4, hidden=hidden)
        net = dbn.stack((rbm.init_params(jax.random.key(0), pixels, 5), top))
        settings = train_dbn.Settings(data=DIGITS, labels=False)
        path = finished_runs.save(tmp_path / f"net_{i}", net, settings)
        with pytest.raises(ValueError, match=words):
            run(gentle(path), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_data_come_from_one_place():
    moved = Settings(pretrained="runs/net", data=DataSettings(data_dir="/moved"))
    assert moved.data.data_dir == "/moved"


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """A net of two convolutional layers with random filters."""
    net = dbn.stack(at_random(0, lambda: _layers(jax.random.key(0)), scale=0.5))
    return finished_runs.save(tmp_path_factory.mktemp("maps"), net, small_convolutional())


def _layers(key):
    low = convolutional.init_params(key, (8, 8, 1), 6, 3, block=2)
    return low, convolutional.init_params(key, (3, 3, 6), 5, 2)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("random_start", [False, True])
def test_maps_are_fine_tuned_from_learnt_and_from_random_filters(maps, tmp_path, random_start):
    settings = Settings(
        pretrained=maps, random_start=random_start, learning=learning(learning_rate=0.02)
    )
    results = run(settings, tmp_path / "run")["results"]
    assert {p.stem for p in (tmp_path / "run/figures").iterdir()} == PICTURES
    assert results["error_rate"] < 0.8
    model = model_file.load(tmp_path / "run/model.npz")
    start = networks.classifier_of(model_file.load(pathlib.Path(maps, "model.npz")), 10)
    assert [layer.shape for layer in model.layers()] == [layer.shape for layer in start.layers()]


@pytest.mark.usefixtures("undrawn")
def test_random_weights_in_the_layers_of_a_net(pretrained, tmp_path):
    """Those of the seed, and not of the net."""
    quick = learning(epochs=1, learning_rate=0.0)
    models = []
    for seed in (1, 2):
        settings = Settings(pretrained=pretrained, random_start=True, learning=quick, seed=seed)
        run(settings, tmp_path / f"run_{seed}")
        models.append(model_file.load(tmp_path / f"run_{seed}/model.npz"))
    net = networks.classifier_of(model_file.load(pathlib.Path(pretrained, "model.npz")), 10)
    key = training.spare_key(1)
    expected = networks.with_random_weights(key, net)
    jax.tree.map(np.testing.assert_array_equal, models[0], expected)
    assert float(jnp.abs(models[0].hidden[0].kernel[...] - models[1].hidden[0].kernel[...]).max())
