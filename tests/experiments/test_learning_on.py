"""Learning on from an RBM that has learnt, with other data."""

import dataclasses

import jax
import numpy as np
import pytest

from dbn_jax import files, training
from experiments import publish, train_dbn, train_rbm
from experiments.common import pretrained
from tests import resumption
from tests.small_jobs import BINARY, DIGITS, QUICK, QUICK_TOP, load_net, small_dbn, small_rbm

pytestmark = pytest.mark.usefixtures("undrawn", "implicit_promotion")

TWOS = dataclasses.replace(BINARY, classes=(2, 3, 5))


@pytest.fixture(scope="module")
def spins(tmp_path_factory):
    """A finished run on some classes, with other units than the defaults."""
    path = tmp_path_factory.mktemp("pretrained") / "spins"
    learning = dataclasses.replace(QUICK, learner="pcd")
    with pytest.MonkeyPatch.context() as patch, jax.numpy_dtype_promotion("standard"):
        patch.setattr("dbn_jax.figures.files.png", lambda figure, scale: b"")
        train_rbm.run(small_rbm(data=TWOS, learning=learning, visible="spin"), str(path))
    return str(path)


def on_from(spins, **changes):
    settings = small_rbm(learning=dataclasses.replace(QUICK, learner="pcd"), num_hidden=None)
    return dataclasses.replace(settings, pretrained=spins, **changes)


def evaluations(path, row):
    table = training.read_metrics(path / "metrics_rbm.csv")
    return {name: x[row] for name, x in table.items() if name.startswith("eval_")}


def test_it_starts_at_the_weights_that_were_learnt(spins, tmp_path):
    """On the same data, what is measured before the first update is what was measured last."""
    train_rbm.run(on_from(spins, data=TWOS), str(tmp_path / "same"))
    assert evaluations(tmp_path / "same", 0) == evaluations(files.path(spins), -1)


def test_other_data_to_the_bit(spins, tmp_path):
    resumption.broken_and_resumed(tmp_path, train_rbm, on_from(spins, data=BINARY))
    summary = training.read_summary(tmp_path / "whole")
    assert summary["started_from"] == {"pretrained": files.sha256(files.path(spins) / "model.npz")}
    assert "started_from" not in training.read_summary(spins)
    settings = summary["settings"]
    assert (settings["visible"], settings["hidden"], settings["num_hidden"]) == (
        "spin",
        "bernoulli",
        16,
    )
    before, after = load_net(files.path(spins)), load_net(tmp_path / "whole")
    assert 1e-3 < np.abs(before.weights - after.weights).max() < 1
    # Whoever uses the model gets the data of this run, also of a published one.
    assert pretrained.load(str(tmp_path / "whole"), (pretrained.RBM,))[1] == BINARY
    publish.publish(str(tmp_path / "whole"), tmp_path / "published")
    again = on_from(str(tmp_path / "published"), data=TWOS)
    assert train_rbm.run(again, str(tmp_path / "again"))["settings"]["visible"] == "spin"


def test_members_of_an_ensemble_differ_by_their_updates_alone(spins, tmp_path):
    run = train_rbm.run(on_from(spins, data=TWOS, ensemble=2), str(tmp_path / "two"))
    row = evaluations(tmp_path / "two", 0)
    same = evaluations(files.path(spins), -1)
    for name, value in same.items():
        assert row[name] == pytest.approx(value, rel=1e-6)
        assert row[f"{name}_standard_error"] == 0
    assert run["results"]["eval_reconstruction_error_standard_error"] > 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"data": dataclasses.replace(DIGITS, image_size=(4,))},
            "--pretrained=SPINS: the images of digits have 16 pixels and 10 classes, but the model "
            "has 64 pixels; choose data that fit (--image_size shrinks images), or leave "
            "--pretrained out",
        ),
        (
            {"visible": "bernoulli"},
            "--visible=bernoulli, but the RBM of --pretrained=SPINS has --visible=spin; leave the "
            "flag out",
        ),
        (
            {"num_hidden": 17},
            "--num_hidden=17, but the RBM of --pretrained=SPINS has --num_hidden=16; leave the "
            "flag out",
        ),
    ],
)
def test_what_does_not_fit_is_refused(changes, words, spins, tmp_path):
    with pytest.raises(ValueError, match="--pretrained=") as caught:
        train_rbm.run(on_from(spins, **changes), str(tmp_path / "run"))
    assert str(caught.value).replace(spins, "SPINS") == words
    assert not (tmp_path / "run").exists()


def test_a_model_of_another_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no finished run"):
        train_rbm.run(on_from(str(tmp_path)), str(tmp_path / "run"))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A finished run of a net with label units."""
    path = tmp_path_factory.mktemp("pretrained") / "net"
    with pytest.MonkeyPatch.context() as patch, jax.numpy_dtype_promotion("standard"):
        patch.setattr("dbn_jax.figures.files.png", lambda figure, scale: b"")
        train_dbn.run(small_dbn(data=BINARY), str(path))
    return str(path)


def test_a_net_that_does_not_learn_stays_the_one_that_it_started_from(digits, tmp_path):
    still = {"learning_rate": 0.0, "weight_decay": 0.0, "epochs": 1}
    learning, top = (dataclasses.replace(x, **still) for x in (QUICK, QUICK_TOP))
    settings = small_dbn(
        data=DIGITS, learning=learning, top=top, pretrained=digits, hidden_sizes=None
    )
    summary = train_dbn.run(settings, str(tmp_path))
    assert summary["settings"]["hidden_sizes"] == [16, 12, 20]
    nets = load_net(files.path(digits)), load_net(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, *nets)


def test_a_net_learns_other_data_to_the_bit(digits, tmp_path):
    settings = small_dbn(data=DIGITS, pretrained=digits, hidden_sizes=None)
    resumption.broken_and_resumed(tmp_path, train_dbn, settings)
    before, after = load_net(files.path(digits)), load_net(tmp_path / "whole")
    for old, new in zip(before.layers, after.layers, strict=True):
        assert 1e-4 < np.abs(old.weights - new.weights).max() < 1
    assert pretrained.load(str(tmp_path / "whole"), pretrained.NETS)[1] == DIGITS


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"labels": False, "top": QUICK_TOP},
            "--nolabels, but the net of --pretrained=DIGITS has 10 label units; give --labels",
        ),
        (
            {"hidden_sizes": (16, 20)},
            "--hidden_sizes=16,20, but the net of --pretrained=DIGITS has layers of 16, 12, 20 "
            "units; leave the flag out",
        ),
        (
            {"data": dataclasses.replace(DIGITS, image_size=(4,))},
            "--pretrained=DIGITS: the images of digits have 16 pixels and 10 classes, but the "
            "model has 64 pixels and 10 label units; choose data that fit (--image_size shrinks "
            "images), or leave --pretrained out",
        ),
    ],
)
def test_what_does_not_fit_a_net_is_refused(changes, words, digits, tmp_path):
    with pytest.raises(ValueError, match="--pretrained=") as caught:
        train_dbn.run(small_dbn(pretrained=digits, **changes), str(tmp_path / "run"))
    assert str(caught.value).replace(digits, "DIGITS") == words
    assert not (tmp_path / "run").exists()
