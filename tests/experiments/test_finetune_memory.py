"""The memory of a finished net learns on: what it starts from, and what it leaves alone."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import data, dbn, label_units, model_file, rbm
from dbn_jax.learning import labelled_pcd
from experiments import finetune_memory
from experiments.common import models
from experiments.finetune_memory import Settings
from tests import finished_runs, oracles
from tests.random_models import at_random
from tests.resumption import broken_and_resumed


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A net with labels."""
    return finished_runs.random_net(tmp_path_factory.mktemp("run") / "net", (16, 12, 20))


def test_only_the_top_learns(pretrained, tmp_path):
    settings = Settings(pretrained, epochs=2, num_chains=20, learning_rate=0.02)
    summary = finetune_memory.run(settings, tmp_path / "memory")
    assert set(summary["results"]) == {
        "error_rate_mean_field", "error_rate_sampling", "error_rate_gibbs"
    }  # fmt: skip
    before = model_file.load(f"{pretrained}/model.npz")
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
    header, *rows = (tmp_path / "memory/metrics.csv").read_text().splitlines()
    assert "eval_error_rate_train" in header
    # Without a validation set nothing is held out until the end.
    assert "eval_error_rate," not in header + ","
    assert len(rows) == 3
    # It is done; and what it learnt can go on again.
    again = finetune_memory.run(settings, tmp_path / "memory")
    assert again == json.loads((tmp_path / "memory/summary.json").read_text())
    net, _ = models.load(str(tmp_path / "memory"), models.NETS)
    np.testing.assert_array_equal(net.top.weights, after.top.weights)


def test_chains_start_from_examples_of_their_labels():
    # Features say which class it is, and the top layer copies them.
    top = label_units.init_params(jax.random.key(0), 3, 3, 3)
    copy = jnp.concatenate([100 * jnp.eye(3), jnp.zeros((3, 3))])
    hidden = dataclasses.replace(top.hidden, bias=jnp.full(3, -50.0))
    top = dataclasses.replace(top, weights=copy, hidden=hidden)
    labels = np.array([2, 0, 1, 1, 2, 0, 1])
    rows = {"features": np.eye(3, dtype=np.float32)[labels], "labels": labels}
    learner = labelled_pcd.LabelledPCD(num_chains=12)
    chains = finetune_memory.start_chains(jax.random.key(1), top, learner, rows)
    np.testing.assert_array_equal(chains.hidden, chains.labels)
    assert np.asarray(chains.labels).sum(axis=0).tolist() == [4, 4, 4]


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


def test_features_are_means_given_drawn_states_below(net):
    """Averaged over the images of a split that are all one, against enumeration."""
    v = np.array([1.0, 0.0, 1.0, 1.0], np.float32)
    split = data.Split(np.tile(v, (4000, 1)), np.zeros(4000, np.int64))
    found = finetune_memory.recognised_features(jax.random.key(0), net, split, identity)
    lower, upper = net.recognition
    states = np.array(np.meshgrid(*[[0.0, 1.0]] * 3, indexing="ij")).reshape(3, -1).T
    on = 1 / (1 + np.exp(-(v @ np.float64(lower.weights) + np.float64(lower.hidden.bias))))
    p = np.prod(np.where(states == 1, on, 1 - on), axis=-1)
    means = 1 / (1 + np.exp(-(states @ np.float64(upper.weights) + np.float64(upper.hidden.bias))))
    oracles.assert_mean(jnp.asarray(found), p @ means)
    # The power: features of mean-field states below would be noticed.
    field = 1 / (1 + np.exp(-(on @ np.float64(upper.weights) + np.float64(upper.hidden.bias))))
    with pytest.raises(AssertionError):
        oracles.assert_mean(jnp.asarray(found), field)


def test_features_of_a_net_of_one_layer_are_its_pixels(net):
    split = data.Split(np.eye(2, dtype=np.float32), np.zeros(2, np.int64))
    alone = dbn.stack((net.top,))
    found = finetune_memory.recognised_features(jax.random.key(0), alone, split, identity)
    np.testing.assert_array_equal(found, split.images)


def test_bad_input_is_refused_before_any_work(pretrained, tmp_path):
    with pytest.raises(ValueError, match=r"num_chains is 4, but there are 10 labels"):
        finetune_memory.run(Settings(pretrained, num_chains=4), tmp_path / "few")
    unlabelled = finished_runs.random_net(tmp_path / "net", (8,), labels=False)
    with pytest.raises(ValueError, match="no label units"):
        finetune_memory.run(Settings(unlabelled), tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="no finished run"):
        finetune_memory.run(Settings(str(tmp_path / "nowhere")), tmp_path / "none")
    assert not (tmp_path / "few").exists()
    assert not (tmp_path / "none").exists()


@pytest.mark.usefixtures("undrawn", "implicit_promotion")
def test_broken_run_goes_on_to_the_same_bits(tmp_path):
    # Weights are large, or chains that started elsewhere would soon meet.
    net = finished_runs.random_net(tmp_path / "net", (10, 12, 14), weight_scale=1.0)
    settings = Settings(net, epochs=4, batch_size=50, gibbs_steps=2)
    broken_and_resumed(tmp_path, finetune_memory, settings)
