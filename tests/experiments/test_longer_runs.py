"""More epochs of a finished run: the bits of one that was long from the start, or a sentence."""

import dataclasses
import importlib
import json
import re

import jax
import numpy as np
import pytest

from dbn_jax import training
from experiments import (
    evaluate,
    finetune_bound,
    train_convolutional,
    train_dbn,
    train_rbm,
    train_sequences,
)
from experiments.common import runs
from experiments.common.data_settings import DataSettings
from experiments.common.rbm_settings import ConvolutionalSettings, RBMSettings
from tests import binaries, finished_runs
from tests.small_jobs import BINARY, QUICK, QUICK_TOP, load_net, small_dbn, small_rbm

pytestmark = pytest.mark.usefixtures("undrawn", "implicit_promotion")


def rbm_of(epochs):
    """Made longer across the epoch in which the momentum changes."""
    learning = dataclasses.replace(QUICK, learner="pcd", epochs=epochs, momentum_epochs=3)
    return train_rbm, small_rbm(data=BINARY, learning=learning)


def dbn_of(epochs):
    top = dataclasses.replace(QUICK_TOP, epochs=epochs)
    return train_dbn, small_dbn(top=top, hidden_sizes=(16, 20))


def bound_of(epochs):
    settings = finetune_bound.Settings(pretrained="net")
    changes = {"learning_rate_decay": "none", "learner": "pcd", "num_chains": 30}
    learning = dataclasses.replace(settings.learning, epochs=epochs, **changes)
    return finetune_bound, dataclasses.replace(settings, learning=learning)


def without_times(path):
    """The tables of metrics and the summary of a run, without what the clock says in them."""
    tables = {}
    for file in path.glob("metrics_*.csv"):
        table = training.read_metrics(file)
        tables[file.name] = {
            k: x for k, x in table.items() if k not in ("seconds", "images_per_second")
        }
    summary = json.loads((path / "summary.json").read_text())
    assert summary.pop("wall_seconds") > 0
    return tables, summary


@pytest.mark.parametrize("made", [rbm_of, dbn_of, bound_of])
def test_a_finished_run_becomes_longer_to_the_bit(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if made is bound_of:
        finished_runs.random_net(tmp_path / "net", (30, 40))
    module, long = made(5)
    module.run(long, "whole")
    short = module.run(made(2)[1], "grown")
    grown = module.run(long, "grown")
    assert grown["wall_seconds"] > short["wall_seconds"]
    whole = tmp_path / "whole"
    np.testing.assert_equal(without_times(tmp_path / "grown"), without_times(whole))
    jax.tree.map(np.testing.assert_array_equal, load_net(whole), load_net(tmp_path / "grown"))
    for file in (whole / "snapshots").glob("*.npy"):
        assert file.read_bytes() == (tmp_path / "grown/snapshots" / file.name).read_bytes()
    with pytest.raises(ValueError, match="it may become longer, not shorter; ask for at least 5"):
        module.run(made(4)[1], "grown")


def test_a_longer_run_that_is_refused_leaves_the_finished_one(tmp_path):
    images = (np.random.default_rng(0).random((120, 4, 4)) < 0.3).astype(np.uint8)
    own = tmp_path / "own.npz"

    def run(images, epochs):
        np.savez(own, images=images)
        settings = small_rbm(
            data=DataSettings(dataset=str(own)),
            learning=RBMSettings(epochs=epochs, batch_size=20),
        )
        return train_rbm.run(settings, str(tmp_path / "run"))

    summary = run(images, 1)
    with pytest.raises(ValueError, match=r"was made with .*other training data"):
        run(1 - images, 2)
    assert run(images, 1) == summary


def test_what_was_found_of_a_model_is_not_told_of_a_longer_run(tmp_path):
    module, settings = rbm_of(1)
    module.run(settings, str(tmp_path / "run"))
    look = evaluate.Settings(pretrained=str(tmp_path / "run"))
    found = evaluate.run(look, str(tmp_path / "found"))
    assert evaluate.run(look, str(tmp_path / "found")) == found
    module.run(rbm_of(2)[1], str(tmp_path / "run"))
    words = f"^--pretrained={tmp_path}/run is another model than the one from which the run in "
    with pytest.raises(ValueError, match=words):
        evaluate.run(look, str(tmp_path / "found"))


LINEAR = "the learning rate falls over the second half of the epochs"
ONE_LAYER = train_convolutional.Settings(
    maps=(9,), filter_sizes=(3,), blocks=(2,), learning=ConvolutionalSettings()
)
SECOND = "the second model has learnt from the first"
TWO_MODELS = train_sequences.Settings(
    model=train_sequences.ModelSettings(model="crbm", upper_hidden=9)
)
LOWER = "what is above these layers has learnt from them"


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (
            small_rbm(learning=dataclasses.replace(QUICK, learning_rate_decay="linear")),
            {"epochs": LINEAR, "patience": ""},
        ),
        (train_dbn.Settings(), {"epochs": LOWER, "top_epochs": LINEAR}),
        (small_dbn(), {"epochs": LOWER, "top_epochs": ""}),
        (train_convolutional.Settings(), {"epochs": LOWER}),
        (ONE_LAYER, {"epochs": ""}),
        (finetune_bound.Settings(pretrained="net"), {"epochs": LINEAR, "patience": ""}),
        (train_sequences.Settings(), {"epochs": LINEAR, "patience": ""}),
        (TWO_MODELS, dict.fromkeys(("epochs", "patience"), SECOND)),
    ],
)
def test_what_depends_on_the_length_refuses_more(settings, why):
    """The layers of a stack that others have learnt from, and rates that fall towards the end."""
    assert settings.growing() == why


def _classes():
    for path in sorted((binaries.ROOT / "experiments").glob("[!_]*.py")):
        settings = getattr(importlib.import_module(f"experiments.{path.stem}"), "Settings", None)
        if isinstance(settings, type) and issubclass(settings, runs.TrainingSettings):
            yield pytest.param(settings, id=path.stem)


@pytest.mark.parametrize("settings", list(_classes()))
def test_all_numbers_of_epochs_say_whether_they_may_grow(settings):
    flags = [
        re.match(r"--([^= ]+)", usage)[1] for part in settings.help().values() for usage in part
    ]
    epochs = {flag for flag in flags if re.fullmatch("(top_|finetune_)?(epochs|patience)", flag)}
    required = {"pretrained": "none"} if "--pretrained (required)" in str(settings.help()) else {}
    assert settings(**required).growing().keys() == epochs


def test_the_sentence_of_a_refusal(tmp_path):
    flags = [f"--workdir={tmp_path}/run", "--dataset=digits", "--num_hidden=4", "--sample_steps=1"]
    flags += ["--learning_rate_decay=linear"]
    done = binaries.run("experiments.train_rbm", *flags, "--epochs=1")
    assert done.returncode == 0, done.stderr
    done = binaries.run("experiments.train_rbm", *flags, "--epochs=2")
    assert done.stderr == (
        f"--epochs=2, but the run in {tmp_path}/run has --epochs=1, and cannot go on to more: "
        f"{LINEAR}; choose another --workdir, and there --pretrained={tmp_path}/run to train its "
        "model further\n(--verbosity=1 shows where)\n"
    )
    assert (tmp_path / "run/summary.json").exists()
