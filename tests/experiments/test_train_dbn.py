"""train_dbn, at sizes that take seconds: what layers learn from and leave behind; resumption."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from dbn_jax import dbn, label_units, learning
from dbn_jax.learning import labelled_pcd
from experiments import finetune_updown, train_dbn
from experiments.common import models, pretraining, recognition, shared
from experiments.pictures import dbn as dbn_pictures
from tests import binaries
from tests.resumption import whole_and_resumed
from tests.small_jobs import BINARY, DIGITS, QUICK, UNLABELLED, load_net, small_dbn

pytestmark = pytest.mark.usefixtures("implicit_promotion")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        UNLABELLED,
        {**UNLABELLED, "layer_data": "samples", "top_data": "probabilities", "top_learner": "cd"},
        {**UNLABELLED, "top_start": "upside_down", "data": BINARY},
    ],
)
def test_train_dbn_leaves_a_whole_workdir(tmp_path, changes, request):
    if "layer_data" in changes or "top_start" in changes:
        request.getfixturevalue("undrawn")  # the same pictures as without labels
    summary = train_dbn.run(small_dbn(**changes), tmp_path)
    pictures = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    layers = {f"{kind}_{i}" for kind in ("features", "curves_layer") for i in (1, 2, 3)}
    assert pictures == layers | {"reconstructions", "chains", "samples"}
    net = load_net(tmp_path)
    num_labels = 10 * (not changes)
    shapes = [(64, 16), (16, 12), (12 + num_labels, 20)]
    assert [p.weights.shape for p in net.layers] == shapes
    rates = {f"error_rate_{way}" for way in recognition.WAYS}
    assert summary["results"].keys() == {"reconstruction_error"} | (rates if num_labels else set())


@pytest.fixture
def without_pictures(monkeypatch):
    """Runs of train_dbn that only learn."""
    monkeypatch.setattr(dbn_pictures, "draw", lambda *args, **keywords: {})
    monkeypatch.setattr(pretraining, "draw_curves", lambda *args: None)


@pytest.mark.usefixtures("without_pictures")
def test_what_layers_learn_from(tmp_path, monkeypatch):
    seen, learn = {}, pretraining.learn

    def watch(settings, learner, what, *args, **kwargs):
        seen[what.name] = (learner, what.transform)
        return learn(settings, learner, what, *args, **kwargs)

    monkeypatch.setattr(pretraining, "learn", watch)
    train_dbn.run(small_dbn(label_cost=3.0, top_gibbs_steps=2), tmp_path)
    assert seen["layer_1"][0] == seen["layer_2"][0] == learning.CD()
    assert seen["layer_2"][1] == pretraining.Activities(samples=False)
    assert seen["layer_3"] == (
        labelled_pcd.LabelledPCD(QUICK.num_chains, 2, label_cost=3.0),
        pretraining.Joined(pretraining.Activities(samples=True), 10),
    )


@pytest.mark.usefixtures("without_pictures")
def test_upper_layers_see_pixels_drawn_anew(tmp_path, monkeypatch):
    seen, learn = {}, pretraining.learn

    def watch(settings, learner, what, examples, *args, **kwargs):
        seen[what.name] = (what, examples)
        state = learn(settings, learner, what, examples, *args, **kwargs)
        seen[what.name] += (state.params,)
        return state

    monkeypatch.setattr(pretraining, "learn", watch)
    train_dbn.run(small_dbn(**UNLABELLED, data=BINARY, top_start="upside_down"), tmp_path)
    (_, images, first), (second, rows, _), (top, _, _) = (seen[f"layer_{i}"] for i in (1, 2, 3))
    assert rows is images
    assert top.below is seen["layer_2"][2]
    # Over many presentations of one image, the mean of what the second layer sees is that of the
    # first one's probabilities over drawn pixels.
    image = np.full(64, 128, np.uint8)
    many = jnp.broadcast_to(jnp.asarray(image), (20_000, 64))
    grey = 128 / 255
    pixels = np.random.default_rng(0).random((20_000, 64)) < grey
    w, c = (np.asarray(a, np.float64) for a in (first.weights, first.hidden.bias))
    expected = 1 / (1 + np.exp(-(pixels @ w + c)))
    found = np.asarray(shared.transformed(second.transform, jax.random.key(0), many), np.float64)
    difference = found.mean(0) - expected.mean(0)
    error = np.sqrt((found.var(0) + expected.var(0)) / 20_000)
    assert (np.abs(difference) < 5 * error).all()  # 16 units, two-sided: false alarm below 1e-5
    assert (found.std(0) > 0).all()


@pytest.mark.parametrize(
    "learner",
    [
        learning.CD(),
        learning.PCD(7),
        learning.FastPCD(7),
        learning.ParallelTempering(7, 3),
        learning.Sparse(learning.Centred(learning.PCD(7)), 0.1, 0.1),
        labelled_pcd.LabelledPCD(7),
    ],
)
def test_chains_that_start_at_examples(learner):
    """Couplings so strong that each example turns on the hidden unit of its own pixel alone."""
    params = label_units.init_params(jax.random.key(0), 4, 4, 3)
    weights = jnp.concatenate([200 * jnp.eye(4) - 100, jnp.zeros((3, 4))])
    params = dataclasses.replace(params, weights=weights)
    pixels = np.array([0, 1, 2, 3, 1])
    labels = np.array([0, 1, 2, 0, 1])
    x = jnp.concatenate([jnp.eye(4)[pixels], jnp.eye(3)[labels]], axis=-1)
    before = learner.init(jax.random.key(1), params)
    chains = pretraining.at_data(jax.random.key(2), params, before, x)
    assert jax.tree.structure(chains) == jax.tree.structure(before)
    hidden = pretraining.persistent_hidden(chains)
    if hidden is None:
        assert isinstance(learner, learning.CD)
    elif isinstance(learner, labelled_pcd.LabelledPCD):
        # Chain i keeps label i % 3, and takes the examples of that label in turn.
        expected = np.array([0, 1, 2, 3, 1, 2, 0])
        np.testing.assert_array_equal(np.asarray(hidden), np.eye(4)[expected])
        np.testing.assert_array_equal(chains.labels, before.labels)
    else:
        expected = pixels[np.arange(7) % 5]
        np.testing.assert_array_equal(np.asarray(hidden), np.eye(4)[expected])


def test_samples_start_from_chains_of_their_labels():
    top = label_units.init_params(jax.random.key(0), 5, 4, 3)
    chains = labelled_pcd.LabelledPCD(num_chains=7).init(jax.random.key(1), top)
    labels = np.repeat([0, 2], 4)
    x = dbn_pictures._start_from_chains(jax.random.key(2), dbn.stack((top,)), labels, chains)
    np.testing.assert_array_equal(np.asarray(x)[:, 5:], np.eye(3)[labels])
    assert set(np.unique(np.asarray(x)[:, :5])) <= {0.0, 1.0}


def test_upside_down_needs_room(tmp_path):
    for sizes, words in (((20,), "has none"), ((16, 12, 15), "has one of 16 visible units")):
        with pytest.raises(ValueError, match=words):
            train_dbn.run(small_dbn(hidden_sizes=sizes, top_start="upside_down"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_labels_need_their_learner_and_their_chains(tmp_path):
    with pytest.raises(ValueError, match=r"--nolabels leaves none; choose another, such as pcd"):
        small_dbn(labels=False)
    few = dataclasses.replace(QUICK, num_chains=9)
    with pytest.raises(ValueError, match="num_chains is 9, but there are 10 labels"):
        train_dbn.run(small_dbn(learning=few), tmp_path / "run")
    assert not (tmp_path / "run").exists()  # refused before anything is learnt


@pytest.mark.parametrize(
    ("line", "labels", "learner"),
    [
        ([], True, "labelled_pcd"),
        (["--nolabels"], False, "pcd"),
        (["--top_learner=cd"], True, "cd"),
        (["--nolabels", "--top_learner=tempering"], False, "tempering"),
    ],
)
def test_main_job_has_labels_unless_told_otherwise(line, labels, learner):
    with flagsaver.flagsaver():  # which removes the flags in the end
        train_dbn.define_flags()
        flags.FLAGS(["train_dbn", "--workdir=runs/dbn", *line])
        settings = train_dbn.settings_of_flags()
    assert (settings.labels, settings.top_learner) == (labels, learner)


@pytest.mark.usefixtures("undrawn")
def test_train_dbn_recognises_and_generates(tmp_path, capsys):
    slow = dataclasses.replace(QUICK, epochs=6, batch_size=20)
    settings = small_dbn(learning=slow, hidden_sizes=(60, 100), top_epochs=10, sample_steps=20)
    summary = train_dbn.run(settings, tmp_path)
    net = load_net(tmp_path)
    assert [p.weights.shape for p in net.layers] == [(64, 60), (60 + 10, 100)]
    errors = [summary["results"][f"error_rate_{way}"] for way in recognition.WAYS]
    assert max(errors) < 0.5  # 0.9 is chance
    assert (
        f"of 364 test images it gets wrong: {errors[0]:.2%} (mean_field)" in capsys.readouterr().out
    )

    # Up-down goes on from there.
    finer = finetune_updown.Settings(str(tmp_path), gibbs_steps=(1, 2), batch_size=20, epochs=3)
    tuned = finetune_updown.run(finer, tmp_path / "updown")
    assert max(tuned["results"].values()) < 0.5
    assert isinstance(load_net(tmp_path / "updown"), dbn.UntiedDBN)
    assert (tmp_path / "updown/figures/curves.png").exists()
    # Its flags.txt repeats it (in a copy: this process holds the workdir).
    copy = shutil.copytree(tmp_path / "updown", tmp_path / "copy")
    done = binaries.run(
        "experiments.finetune_updown", f"--workdir={copy}", f"--flagfile={copy}/flags.txt"
    )
    assert "done already" in done.stdout, done.stderr
    # From there one can go on, with the same data.
    _, data_settings = models.load(str(tmp_path / "updown"), "train_dbn,finetune_updown")
    assert data_settings == DIGITS
    with pytest.raises(ValueError, match=r"made by finetune_updown; expected train_dbn"):
        models.load(str(tmp_path / "updown"), "train_dbn")
    with pytest.raises(FileNotFoundError, match="no finished run"):
        finetune_updown.run(dataclasses.replace(finer, pretrained="nowhere"), tmp_path / "other")


def test_killed_run_resumes_to_the_same_bits(tmp_path):
    flags = [
        "--dataset=digits", "--hidden_sizes=16,20", "--epochs=4", "--top_epochs=8",
        "--batch_size=20", "--num_chains=20", "--sample_steps=3",
    ]  # fmt: skip
    whole_and_resumed(tmp_path, "experiments.train_dbn", flags, "layer_2")


@pytest.mark.usefixtures("undrawn")
def test_layers_have_seeds_of_their_own(tmp_path, monkeypatch):
    real, seeds = pretraining.learn, []

    def learn(*args, seed, **options):
        seeds.append(seed)
        return real(*args, seed=seed, **options)

    monkeypatch.setattr(pretraining, "learn", learn)
    # As many units at the top as two layers below, which may start upside down.
    sizes = {"hidden_sizes": (12, 64), "top_start": "upside_down", **UNLABELLED}
    train_dbn.run(small_dbn(seed=5, **sizes), tmp_path)
    assert seeds == [5, 6]
