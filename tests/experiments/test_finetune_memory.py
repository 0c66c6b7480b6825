"""The memory of a finished net learns on: what it starts from, and what it leaves alone."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from dbn_jax import dbn, label_units, learning, model_file, rbm, recognition, training
from experiments import finetune_memory
from experiments.common import pretrained
from experiments.finetune_memory import Settings
from tests import finished_runs, significance
from tests.random_models import at_random
from tests.resumption import broken_and_resumed


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A net with labels."""
    return finished_runs.random_net(tmp_path_factory.mktemp("run") / "net", (16, 12, 20))


def test_only_the_top_learns(source, tmp_path, monkeypatch):
    started, start_at = [], learning.LabelledPCD.start_at
    monkeypatch.setattr(
        learning.LabelledPCD, "start_at", lambda *args: started.append(args[-1]) or start_at(*args)
    )
    settings = Settings(pretrained=source, epochs=2, num_chains=20, learning_rate=0.02)
    summary = finetune_memory.run(settings, str(tmp_path / "memory"))
    rates = {f"error_rate_{way}{when}" for way in recognition.WAYS for when in ("", "_before")}
    assert summary["results"].keys() == rates | {"label_loss"}
    (x,) = started  # chains start at examples: drawn features, and labels
    assert set(np.unique(x)) == {0.0, 1.0}
    np.testing.assert_array_equal(x[:, 12:].sum(axis=1), np.ones(1000))
    before = model_file.load(f"{source}/model.npz")
    after = model_file.load(tmp_path / "memory/model.npz")
    assert isinstance(after, dbn.UntiedDBN)
    for part in ("recognition", "generative"):
        for a, b in zip(
            jax.tree.leaves(getattr(before, part)),
            jax.tree.leaves(getattr(after, part)),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)
    assert np.abs(before.top.weights - after.top.weights).max() > 1e-3
    assert (tmp_path / "memory/figures/curves.png").exists()
    header, *rows = (tmp_path / "memory/metrics_memory.csv").read_text().splitlines()
    assert "eval_error_rate_train" in header
    # Without a validation set nothing is held out until the end.
    assert "eval_error_rate," not in header + ","
    assert len(rows) == 3
    # It is done; and what it learnt can go on again.
    again = finetune_memory.run(settings, str(tmp_path / "memory"))
    assert again == json.loads((tmp_path / "memory/summary.json").read_text())
    net, _ = pretrained.load(str(tmp_path / "memory"), pretrained.NETS)
    np.testing.assert_array_equal(net.top.weights, after.top.weights)


def identity(key, rows):
    del key
    return rows


@pytest.fixture(scope="module")
def net():
    def blank():
        key = jax.random.key(0)
        layers = [rbm.init_params(key, *sizes) for sizes in [(4, 3), (3, 2)]]
        return dbn.stack((*layers, label_units.init_params(key, 2, 3, 2)))

    return at_random(2, blank)


def upwards(layer, v):
    w, bias = np.float64(layer.weights), np.float64(layer.hidden.bias)
    return 1 / (1 + np.exp(-(v @ w + bias)))


def test_features_are_means_given_drawn_states_below(net):
    """Averaged over images that are all one, against enumeration."""
    v = np.array([1.0, 0.0, 1.0, 1.0], np.float32)
    images = np.tile(v, (4000, 1))
    found = finetune_memory.recognised_features(jax.random.key(0), net, images, identity)
    lower, upper = net.recognition
    states = np.array(list(np.ndindex(2, 2, 2)), np.float64)
    on = upwards(lower, v)
    p = np.prod(np.where(states == 1, on, 1 - on), axis=-1)
    significance.assert_mean(found, p @ upwards(upper, states))
    # The power: features of mean-field states below would be noticed.
    with pytest.raises(AssertionError):
        significance.assert_mean(found, upwards(upper, on))


def test_features_of_a_net_of_one_layer_are_its_pixels(net):
    images, alone = np.eye(2, dtype=np.float32), dbn.stack((net.top,))
    found = finetune_memory.recognised_features(jax.random.key(0), alone, images, identity)
    np.testing.assert_array_equal(found, images)


@pytest.mark.usefixtures("undrawn", "implicit_promotion")
def test_broken_run_goes_on_to_the_same_bits(tmp_path):
    # Weights are large, or chains that started elsewhere would soon meet.
    data = dataclasses.replace(finished_runs.DIGITS, num_validation=300)
    net = finished_runs.random_net(tmp_path / "net", (10, 12, 14), weight_scale=1.0, data=data)
    settings = Settings(pretrained=net, epochs=4, batch_size=50, gibbs_steps=2, patience=3)
    summary = broken_and_resumed(tmp_path, finetune_memory, settings)
    table = training.read_metrics(tmp_path / "whole/metrics_memory.csv")
    kept = summary["early_stopping"]["memory"]["kept_epoch"]
    assert kept == table["eval_error_rate"].argmin()
    np.testing.assert_equal(np.float64(summary["results"]["label_loss"]), table["label_loss"][kept])
