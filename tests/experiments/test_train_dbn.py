"""train_dbn, at sizes that take seconds: what layers learn from and leave behind; resumption."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import PIL.Image
import pytest

from dbn_jax import data, dbn, learning, recognition, training
from dbn_jax.learning import greedy
from experiments import finetune_updown, train_dbn
from experiments.common import pretraining
from experiments.common.data_settings import DataSettings
from experiments.pictures import dbn as pictures
from tests import binaries
from tests.data.test_idx import idx_bytes
from tests.resumption import broken_and_resumed
from tests.small_jobs import BINARY, DIGITS, QUICK, QUICK_TOP, UNLABELLED, load_net, small_dbn

pytestmark = pytest.mark.usefixtures("implicit_promotion")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            **UNLABELLED,
            "layer_data": "samples",
            "top_data": "probabilities",
            "top": dataclasses.replace(QUICK_TOP, learner="cd"),
        },
        {**UNLABELLED, "top_start": "upside_down", "data": BINARY},
    ],
)
def test_train_dbn_leaves_a_whole_workdir(tmp_path, changes, request):
    if "layer_data" in changes:
        request.getfixturevalue("undrawn")  # the same pictures as from upside-down weights
    summary = train_dbn.run(small_dbn(**changes), str(tmp_path))
    drawn = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    layers = {f"{kind}_{i}" for kind in ("features", "curves_layer") for i in (1, 2, 3)}
    assert drawn == layers | {"reconstructions", "chains", "samples"}
    net = load_net(tmp_path)
    num_labels = 10 * (not changes)
    shapes = [(64, 16), (16, 12), (12 + num_labels, 20)]
    assert [p.weights.shape for p in net.layers] == shapes
    rates = {f"error_rate_{way}" for way in recognition.WAYS}
    assert summary["results"].keys() == {"reconstruction_error"} | (rates if num_labels else set())


def own_data(kind, folder):
    """The path of the digits that scikit-learn ships, as a user might have them."""
    digits = data.load("digits")
    train, test = digits.train, digits.test
    match kind:
        case "archive":
            names = ("x_train", "y_train", "x_test", "y_test")
            arrays = (train.images.reshape(-1, 8, 8), train.labels, test.images, test.labels)
            np.savez(folder / "mine.npz", **dict(zip(names, arrays, strict=True)))
            return folder / "mine.npz"
        case "table":
            table = np.concatenate([train.labels[:, None], train.images], axis=1)
            np.savetxt(folder / "mine.csv", table, "%d", delimiter=",")
            return folder / "mine.csv"
    for i, (image, label) in enumerate(zip(train.images, train.labels, strict=True)):
        (folder / f"of {label}").mkdir(exist_ok=True)
        PIL.Image.fromarray(image.reshape(8, 8)).save(folder / f"of {label}" / f"{i}.png")
    return folder


@pytest.mark.parametrize("kind", ["archive", "table", "folder"])
def test_data_of_ones_own(tmp_path, kind, undrawn):
    (tmp_path / "data").mkdir()
    own = DataSettings(dataset=str(own_data(kind, tmp_path / "data")))
    layer, top = (dataclasses.replace(learning, epochs=10) for learning in (QUICK, QUICK_TOP))
    settings = small_dbn(data=own, learning=layer, top=top, hidden_sizes=(30, 50))
    results = train_dbn.run(settings, str(tmp_path / "run"))["results"]
    assert 0 < results["error_rate_mean_field"] < 0.5


@pytest.fixture
def layers(monkeypatch):
    """Of each layer that runs train, by name: the arguments, its learner, and what it learnt.

    Nothing is drawn.
    """
    seen, train = {}, pretraining.train_layer

    def watch(run, name, settings, rows, *args, **options):
        state = train(run, name, settings, rows, *args, **options)
        learner = settings.make_learner()
        seen[name] = options | {"rows": rows, "learner": learner, "params": state.params}
        return state

    monkeypatch.setattr(pretraining, "train_layer", watch)
    monkeypatch.setattr(pretraining, "layer_curves", lambda *args: {})
    monkeypatch.setattr(pictures, "draw", lambda *args, **options: ({}, {}))
    return seen


def test_what_layers_learn_from(tmp_path, layers):
    top = dataclasses.replace(QUICK_TOP, label_cost=3.0, gibbs_steps=2)
    train_dbn.run(small_dbn(top=top, seed=5), str(tmp_path))
    first, second, third = (layers[f"layer_{i}"] for i in (1, 2, 3))
    expected = [training.seed_of_phase(5, i) for i in range(3)]
    assert [layer["seed"] for layer in (first, second, third)] == expected
    assert first["learner"] == second["learner"] == learning.CD(sample_visible=False)
    assert third["learner"] == learning.LabelledPCD(QUICK.num_chains, 2, label_cost=3.0)
    assert isinstance(first["view"], data.Transform)
    assert second["view"] == greedy.Activities(samples=False)
    assert third["view"] == greedy.BesideLabels(greedy.Activities(samples=True), 10)
    assert third["below"] is None
    dataset, to_pixels = DIGITS.load()
    stack = greedy.Stack(to_pixels).add(first["params"])
    np.testing.assert_array_equal(second["rows"], stack.rows(dataset.train.images))
    rows = third["rows"]
    stack = stack.add(second["params"])
    np.testing.assert_array_equal(rows["features"], stack.rows(dataset.train.images))
    np.testing.assert_array_equal(rows["labels"], dataset.train.labels)


def test_upper_layers_see_pixels_drawn_anew(tmp_path, layers):
    settings = small_dbn(
        **UNLABELLED, data=BINARY, top_start="upside_down", layer_data="samples",
        top_data="probabilities",
    )  # fmt: skip
    train_dbn.run(settings, str(tmp_path))
    first, second, top = (layers[f"layer_{i}"] for i in (1, 2, 3))
    assert second["rows"] is top["rows"] is first["rows"]
    assert second["view"].layers == (first["params"],)
    assert second["view"].activities.samples
    assert top["view"].layers == (first["params"], second["params"])
    assert not top["view"].activities.samples
    assert top["below"] is second["params"]


def test_images_in_a_file_give_the_bits_of_images_in_memory(tmp_path):
    """Of nets whose upper layers see the images through the layers below either way."""
    digits = data.load("digits")
    for part, name in (("train", "train"), ("test", "t10k")):
        split = digits.splits()[part]
        images = split.images.reshape(-1, 8, 8)
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        labels = split.labels.astype(np.uint8)
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    nets = []
    for gigabytes in (0.0, 1.0):
        source = DataSettings(
            dataset="mine",
            data_dir=str(tmp_path),
            binarisation="stochastic",
            resident_gigabytes=gigabytes,
        )
        workdir = tmp_path / f"run_{gigabytes}"
        train_dbn.run(small_dbn(data=source), str(workdir))
        nets.append(load_net(workdir))
    jax.tree.map(np.testing.assert_array_equal, *nets)


@pytest.mark.parametrize(
    ("labels", "learner", "expected"),
    [(True, None, learning.LabelledPCD), (False, None, learning.PCD), (True, "cd", learning.CD)],
)
def test_the_top_has_the_learner_that_labels_ask_for(labels, learner, expected):
    top = dataclasses.replace(QUICK_TOP, learner=learner)
    assert isinstance(small_dbn(labels=labels, top=top).top.make_learner(), expected)


def test_the_default_job_is_the_published_one():
    published = json.loads(
        (binaries.ROOT / "experiments/results/dbn_mnist5k/summary.json").read_text()
    )["settings"]
    settings = train_dbn.Settings()
    found = train_dbn._suited(settings, *settings.data.load()).as_flags()
    assert found == train_dbn.Settings.from_json(published).as_flags()


@pytest.mark.usefixtures("undrawn")
def test_small_grey_images_get_a_net_that_suits_them(tmp_path):
    settings = train_dbn.Settings(data=DIGITS)
    suited = train_dbn._suited(settings, *DIGITS.load())
    assert suited.hidden_sizes == (192, 768)
    assert suited.learning.reconstruction == "probabilities"
    # 1,433 images make 14 updates an epoch; the default job makes 40 in each of 60. And 64 pixels
    # get four times as many updates as 784.
    assert suited.learning.epochs == suited.top.epochs == 670
    assert (suited.learning.learning_rate, suited.top.learning_rate) == (1.0, 0.02)
    # What was chosen is written down, and read back as the same run.
    brief = ["--dataset=digits", "--epochs=1", "--top_epochs=1", "--sample_steps=9"]
    first = binaries.run("experiments.train_dbn", f"--workdir={tmp_path}", *brief)
    assert "error_rate_mean_field is" in first.stderr
    assert "of these 364 images wrong: train longer" in first.stderr
    flags = (tmp_path / "flags.txt").read_text()
    assert {"--hidden_sizes=192,768", "--reconstruction=probabilities"} <= set(flags.split())
    again = binaries.run(
        "experiments.train_dbn", f"--workdir={tmp_path}", f"--flagfile={tmp_path}/flags.txt"
    )
    assert "done already" in again.stdout, again.stderr


@pytest.mark.usefixtures("undrawn")
def test_train_dbn_recognises_and_generates(tmp_path, capsys):
    slow = dataclasses.replace(QUICK, epochs=6, batch_size=20)
    top = dataclasses.replace(QUICK_TOP, epochs=10, batch_size=20)
    settings = small_dbn(learning=slow, top=top, hidden_sizes=(60, 100), sample_steps=20)
    results = train_dbn.run(settings, str(tmp_path))["results"]
    net = load_net(tmp_path)
    assert [p.weights.shape for p in net.layers] == [(64, 60), (60 + 10, 100)]
    errors = [results[f"error_rate_{way}"] for way in recognition.WAYS]
    assert max(errors) < 0.5  # 0.9 is chance
    assert f"error_rate_mean_field: {errors[0]:.2%}" in capsys.readouterr().out

    # Up-down goes on from there.
    finer = finetune_updown.Settings(
        pretrained=str(tmp_path), gibbs_steps=(1, 2), batch_size=20, epochs=3
    )
    tuned = finetune_updown.run(finer, str(tmp_path / "updown"))
    assert max(tuned["results"][f"error_rate_{way}"] for way in recognition.WAYS) < 0.5
    assert isinstance(load_net(tmp_path / "updown"), dbn.UntiedDBN)
    assert (tmp_path / "updown/figures/curves.png").exists()
    # Its flags.txt repeats it (in a copy: this process holds the workdir).
    copy = shutil.copytree(tmp_path / "updown", tmp_path / "copy")
    done = binaries.run(
        "experiments.finetune_updown", f"--workdir={copy}", f"--flagfile={copy}/flags.txt"
    )
    assert "done already" in done.stdout, done.stderr


@pytest.mark.usefixtures("undrawn")
def test_broken_run_goes_on_to_the_same_bits(tmp_path):
    top = dataclasses.replace(QUICK_TOP, epochs=4)
    settings = small_dbn(hidden_sizes=(16, 20), top=top)
    broken_and_resumed(tmp_path, train_dbn, settings, last=7)  # when the chains have moved
