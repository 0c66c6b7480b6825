"""The binaries, at sizes that take seconds: what they leave on disk, resumption, and bad input."""

import csv
import dataclasses
import json
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from dbn_jax import associative_memory, dbn, labelled_pcd, learning, rbm, units, weights
from experiments import (
    dbn_pictures,
    estimator_variance,
    finetune_bound,
    finetune_memory,
    finetune_updown,
    generate,
    layer,
    models,
    recognition,
    shared,
    train_dbn,
    train_rbm,
)
from tests import binaries, finished_runs
from tests.resumption import broken_and_resumed, whole_and_resumed


@pytest.fixture(autouse=True)
def _implicit_promotion():
    """Optax's schedules mix counts and rates."""
    with jax.numpy_dtype_promotion("standard"):
        yield


DIGITS = shared.DataSettings(dataset="digits")
QUICK = shared.LearningSettings(epochs=2, batch_size=100, num_chains=20, temperatures=3)


def small_rbm(**changes):
    settings = train_rbm.Settings(data=DIGITS, learning=QUICK, num_hidden=16, sample_steps=20)
    return dataclasses.replace(settings, **changes)


def small_dbn(**changes):
    settings = train_dbn.Settings(
        data=DIGITS, learning=QUICK, hidden_sizes=(16, 12, 20), top_epochs=2, sample_steps=3
    )
    return dataclasses.replace(settings, **changes)


def test_train_rbm_leaves_a_whole_workdir(tmp_path, capsys):
    settings = small_rbm(
        data=dataclasses.replace(DIGITS, classes=(2,)),
        learning=dataclasses.replace(QUICK, batch_size=10, epochs=8),
    )
    summary = train_rbm.run(settings, tmp_path / "run")
    pictures = {path.stem for path in (tmp_path / "run/figures").glob("*.png")}
    assert pictures == {
        "features", "development", "reconstructions", "unfamiliar", "chains", "samples", "hidden",
        "histograms", "curves_rbm",
    }  # fmt: skip
    with (tmp_path / "run/metrics_rbm.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(float(row["epoch"])) for row in rows] == list(range(9))
    assert summary == json.loads((tmp_path / "run/summary.json").read_text())
    last = float(rows[-1]["eval_reconstruction_error"])
    assert summary["figures"]["eval_reconstruction_error"] == last
    assert last < float(rows[0]["eval_reconstruction_error"])
    saved = weights.load(tmp_path / "run/model.npz")
    assert float(np.abs(saved.weights).max()) > 0.05  # it has learnt: the start has 0.01

    # A finished run is left as it is; other settings are refused, and named.
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run/figures").iterdir()}
    assert train_rbm.run(settings, tmp_path / "run") == summary
    assert "done already" in capsys.readouterr().out
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "run/figures").iterdir()}
    with pytest.raises(ValueError, match=r"--num_hidden: was 16, now 17"):
        train_rbm.run(dataclasses.replace(settings, num_hidden=17), tmp_path / "run")


@pytest.mark.parametrize(
    ("visible", "hidden", "changes"),
    [
        ("spin", "spin", {"learner": "pcd"}),
        ("binomial", "softmax", {"learner": "fast_pcd", "learning_rate": 0.01}),
        ("gaussian_learnt", "relu", {"learning_rate": 1e-4, "centring": "enhanced"}),
        ("poisson", "bernoulli", {"learning_rate": 1e-3, "sparsity_target": 0.1}),
        ("bernoulli", "gaussian", {"learning_rate": 1e-3, "learner": "tempering"}),
    ],
)
@pytest.mark.usefixtures("undrawn")
def test_train_rbm_with_any_units_and_learner(tmp_path, visible, hidden, changes):
    learning_settings = dataclasses.replace(QUICK, epochs=1, **changes)
    # Pixels of two values have a pseudo-likelihood, grey levels have none.
    binary = visible == "spin"
    settings = small_rbm(
        data=dataclasses.replace(DIGITS, binarisation="stochastic" if binary else "none"),
        learning=learning_settings,
        visible=visible,
        hidden=hidden,
        num_hidden=20,
    )
    figures = train_rbm.run(settings, tmp_path)["figures"]
    assert np.isfinite(figures["eval_reconstruction_error"])
    assert ("eval_log_pseudo_likelihood" in figures) == binary
    if binary:  # 64 pixels that could not be told from the rest would have −64 log 2 = −44 nats
        assert -44 < figures["eval_log_pseudo_likelihood"] < 0


def test_every_flag_value_makes_a_learner():
    for name in shared.LEARNERS:
        assert isinstance(dataclasses.replace(QUICK, learner=name).make_learner(), learning.Learner)
    centred = dataclasses.replace(QUICK, centring="centred", sparsity_target=0.1).make_learner()
    assert centred == learning.Centred(learning.Sparse(learning.CD(), 0.1, 0.1))
    assert QUICK.make_optimizer(10) is dataclasses.replace(QUICK, gibbs_steps=2).make_optimizer(10)


def test_pixels_round_trip():
    rows = np.arange(0, 256, 5, dtype=np.uint8)[None]
    _, transform = dataclasses.replace(DIGITS, dataset="mnist5k").load()
    grey = rows / 255
    for name in shared.PIXEL_UNITS:
        pixels = shared.Pixels(transform, name)
        v = pixels(jax.random.key(0), jax.numpy.asarray(rows))
        low, high = shared.UNITS[name].support
        assert low <= v.min()
        assert v.max() <= high
        tolerance = 1 / 16 if name in ("binomial", "poisson") else 1e-6
        np.testing.assert_allclose(pixels.grey(v), grey, atol=tolerance + 1e-6)


def test_momentum_switches_and_rate_decays():
    settings = dataclasses.replace(
        QUICK, epochs=8, momentum_epochs=2, learning_rate=0.1, learning_rate_decay="linear"
    )
    optimizer = settings.make_optimizer(5)
    params = rbm.init_params(jax.random.key(0), 3, 2)
    state = optimizer.init(params)
    seen = []
    for _ in range(40):
        _, state = optimizer.update(params, state, params)
        seen.append({k: float(v) for k, v in state[1].hyperparams.items()})
    momentum = [s["momentum"] for s in seen]
    np.testing.assert_allclose(momentum, [0.5] * 10 + [0.9] * 30, rtol=1e-6)
    rates = [s["learning_rate"] for s in seen]
    np.testing.assert_allclose(rates[:21], 0.1, rtol=1e-5)
    np.testing.assert_allclose(rates[30], 0.1 * (1 - 0.99 / 2), rtol=1e-5)


UNLABELLED = {"labels": False, "top_learner": "pcd"}
BINARY = dataclasses.replace(DIGITS, binarisation="stochastic")


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
    assert summary["figures"].keys() == {"reconstruction_error"} | (rates if num_labels else set())


@pytest.fixture
def without_pictures(monkeypatch):
    """Runs of train_dbn that only learn."""
    monkeypatch.setattr(dbn_pictures, "draw", lambda *args, **keywords: {})
    monkeypatch.setattr(layer, "draw_curves", lambda *args: None)


@pytest.mark.usefixtures("without_pictures")
def test_what_layers_learn_from(tmp_path, monkeypatch):
    seen, learn = {}, layer.learn

    def watch(settings, learner, what, *args, **kwargs):
        seen[what.name] = (learner, what.transform)
        return learn(settings, learner, what, *args, **kwargs)

    monkeypatch.setattr(layer, "learn", watch)
    train_dbn.run(small_dbn(label_cost=3.0, top_gibbs_steps=2), tmp_path)
    assert seen["layer_1"][0] == seen["layer_2"][0] == learning.CD()
    assert seen["layer_2"][1] == layer.Activities(samples=False)
    assert seen["layer_3"] == (
        labelled_pcd.LabelledPCD(QUICK.num_chains, 2, label_cost=3.0),
        layer.Joined(layer.Activities(samples=True), 10),
    )


@pytest.mark.usefixtures("without_pictures")
def test_upper_layers_see_pixels_drawn_anew(tmp_path, monkeypatch):
    seen, learn = {}, layer.learn

    def watch(settings, learner, what, examples, *args, **kwargs):
        seen[what.name] = (what, examples)
        state = learn(settings, learner, what, examples, *args, **kwargs)
        seen[what.name] += (state.params,)
        return state

    monkeypatch.setattr(layer, "learn", watch)
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
        learning.Centred(learning.Sparse(learning.PCD(7), 0.1, 0.1)),
        labelled_pcd.LabelledPCD(7),
    ],
)
def test_chains_that_start_at_examples(learner):
    """Couplings so strong that each example turns on the hidden unit of its own pixel alone."""
    params = associative_memory.init_params(jax.random.key(0), 4, 4, 3)
    weights = jnp.concatenate([200 * jnp.eye(4) - 100, jnp.zeros((3, 4))])
    params = dataclasses.replace(params, weights=weights)
    pixels = np.array([0, 1, 2, 3, 1])
    labels = np.array([0, 1, 2, 0, 1])
    x = jnp.concatenate([jnp.eye(4)[pixels], jnp.eye(3)[labels]], axis=-1)
    before = learner.init(jax.random.key(1), params)
    chains = layer.at_data(jax.random.key(2), params, before, x)
    assert jax.tree.structure(chains) == jax.tree.structure(before)
    hidden = layer.persistent_hidden(chains)
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
    slow = dataclasses.replace(QUICK, epochs=10, batch_size=20)
    settings = small_dbn(learning=slow, hidden_sizes=(60, 100), top_epochs=20, sample_steps=100)
    summary = train_dbn.run(settings, tmp_path)
    net = load_net(tmp_path)
    assert [p.weights.shape for p in net.layers] == [(64, 60), (60 + 10, 100)]
    errors = [summary["figures"][f"error_rate_{way}"] for way in recognition.WAYS]
    assert max(errors) < 0.5  # 0.9 is chance
    assert (
        f"of 364 test images it gets wrong: {errors[0]:.2%} (mean_field)" in capsys.readouterr().out
    )

    # Up-down goes on from there.
    finer = finetune_updown.Settings(str(tmp_path), gibbs_steps=(1, 2), batch_size=20, epochs=3)
    tuned = finetune_updown.run(finer, tmp_path / "updown")
    assert max(tuned["figures"].values()) < 0.5
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


@pytest.mark.usefixtures("undrawn")
def test_ascent_of_the_bound(tmp_path):
    """What it starts from, learns and leaves behind; its chains start at the data."""
    net = finished_runs.random_net(tmp_path / "net", (30, 40))
    learning = finetune_bound.Settings("").learning
    learning = dataclasses.replace(learning, learner="pcd", epochs=2, num_chains=30)
    settings = finetune_bound.Settings(net, learning=learning)
    started = []
    with pytest.MonkeyPatch.context() as patch:
        at_data = layer.at_data
        patch.setattr(layer, "at_data", lambda *args: started.append(args[-1]) or at_data(*args))
        summary = finetune_bound.run(settings, tmp_path / "bound")
    assert started[0].shape == (1000, 30 + 10)  # features and labels
    assert {f"error_rate_{way}" for way in recognition.WAYS} <= set(summary["figures"])
    assert summary["program"] == "experiments.finetune_bound"
    before, after = load_net(tmp_path / "net"), load_net(tmp_path / "bound")
    for part in ("recognition", "generative"):
        old, new = getattr(before, part)[0], getattr(after, part)[0]
        assert np.abs(old.weights - new.weights).max() > 1e-4
    assert np.abs(after.recognition[0].weights - after.generative[0].weights).max() > 1e-4
    assert np.abs(before.top.weights - after.top.weights).max() > 1e-4
    assert (tmp_path / "bound/figures/curves.png").exists()
    # It goes on from there in turn.
    models.load(str(tmp_path / "bound"), models.NETS)


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


def test_a_cost_of_labels_without_label_units_is_refused_before_the_workdir_is_held(tmp_path):
    net = finished_runs.random_net(tmp_path / "net", (10, 12), labels=False)
    with pytest.raises(ValueError, match="no label units"):
        finetune_updown.run(finetune_updown.Settings(net, label_cost=1.0), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("module", "changes"),
    [
        (finetune_updown, {"gibbs_steps": (1, 2), "label_cost": 1.0, "adversarial_radius": 0.5}),
        (finetune_memory, {"gibbs_steps": 2}),
    ],
)
@pytest.mark.usefixtures("undrawn")
def test_broken_run_goes_on_to_the_same_bits(tmp_path, module, changes):
    # Weights are large, or chains that started elsewhere would soon meet.
    net = finished_runs.random_net(tmp_path / "net", (10, 12, 14), weight_scale=1.0)
    settings = module.Settings(net, epochs=4, batch_size=50, **changes)
    broken_and_resumed(tmp_path, module, settings)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gibbs_steps": (3, 0)}, r"gibbs_steps is \(3, 0\); give one or more, each at least 1"),
        ({"gibbs_steps": ()}, r"gibbs_steps is \(\); give one or more"),
        ({"label_cost": -1.0}, r"label_cost is -1\.0; it must not be negative"),
        ({"label_cost": 1.0, "adversarial_radius": -2.0}, r"adversarial_radius is -2\.0; it must"),
    ],
)
def test_bad_settings_of_updown(changes, words):
    with pytest.raises(ValueError, match=words):
        finetune_updown.Settings("anywhere", **changes)


def test_adversarial_updown_without_a_cost_is_refused():
    with pytest.raises(ValueError, match=r"--adversarial_radius=2\.0 .* --label_cost, which is 0"):
        finetune_updown.Settings("anywhere", adversarial_radius=2.0)


def test_stages_of_updown_are_functions_of_the_update():
    seen = []

    def step(key, state, v, labels, *, num_gibbs_steps, **keywords):
        assert keywords == {"optimizer": None, "label_cost": 2.0, "adversarial_radius": 3.0}
        seen.append(int(num_gibbs_steps))
        return state, dict.fromkeys(
            ("reconstruction_error", "wake_loss", "sleep_loss", "hidden_activity"), 0.0
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetune_updown.updown, "step", step)
        for update in range(9):
            state = rbm.State(None, None, jax.numpy.int32(update))
            finetune_updown._step(
                None,
                state,
                (None, None),
                optimizer=None,
                gibbs_steps=(3, 6, 10),
                total=9,
                label_cost=2.0,
                adversarial_radius=3.0,
            )
    assert seen == [3, 3, 3, 6, 6, 6, 10, 10, 10]


def load_net(workdir):
    return weights.load(workdir / "model.npz")


def test_killed_run_resumes_to_the_same_bits(tmp_path):
    flags = [
        "--dataset=digits", "--hidden_sizes=16,20", "--epochs=4", "--top_epochs=8",
        "--batch_size=20", "--num_chains=20", "--sample_steps=3",
    ]  # fmt: skip
    whole_and_resumed(tmp_path, "experiments.train_dbn", flags, "layer_2")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--dataset=mnits"], ["mnits", "mnist"]),
        (["--dataset=mnist", "--data_dir=/no/such/folder"], ["/no/such/folder"]),
        (["--dataset=digits", "--classes=11"], ["11"]),
        (["--dataset=digits", "--classes=two"], ["--classes=two", "whole numbers"]),
        (["--dataset=digits", "--batch_size=5000"], ["5000", "batch size"]),
        (["--dataset=digits", "--image_size=20"], ["20"]),
        (["--dataset=digits", "--learning_rate=1e30"], ["NaN or infinity", "learning rate"]),
        (["--dataset=digits", "--visible=gaussian", "--hidden=poisson"], ["Gaussian", "Poisson"]),
        (["--dataset=digits", "extra"], ["extra"]),
    ],
)  # fmt: skip
def test_bad_input_ends_in_a_sentence(tmp_path, flags, words):
    done = binaries.run("experiments.train_rbm", f"--workdir={tmp_path}/run", "--epochs=1", *flags)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(
    ("data", "rate", "words"),
    [
        (dataclasses.replace(DIGITS, standardise=True), 0.1, "but Bernoulli units take values in"),
        (DIGITS, 20.0, r"epoch 1: \d+ of 16 hidden units are dead"),
    ],
)
@pytest.mark.usefixtures("undrawn")
def test_warnings_in_plain_words(tmp_path, caplog, data, rate, words):
    with caplog.at_level("WARNING", logger="absl"):
        learning = dataclasses.replace(QUICK, learning_rate=rate)
        train_rbm.run(small_rbm(data=data, learning=learning), tmp_path)
    assert len(re.findall(words, caplog.text)) == 1
    assert "epoch 2" not in caplog.text  # once, not at every epoch


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path):
    flags = [f"--workdir={tmp_path}", "--dataset=digits", "--epochs=100000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.train_rbm", *flags],
        cwd=binaries.ROOT,
        env=binaries.environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    metrics = tmp_path / "metrics_rbm.csv"
    while not metrics.exists() or metrics.read_text().count("\n") < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command continues" in messages
    steps = [p.name for p in (tmp_path / "checkpoints/rbm").iterdir() if p.name.isdigit()]
    assert steps


def test_unit_names_cover_the_package():
    named = {type(unit) for unit in shared.UNITS.values()}
    assert named == set(units.Units.__subclasses__()) - {units.Concat}


def test_samples_start_from_chains_of_their_labels():
    top = associative_memory.init_params(jax.random.key(0), 5, 4, 3)
    chains = labelled_pcd.LabelledPCD(num_chains=7).init(jax.random.key(1), top)
    labels = np.repeat([0, 2], 4)
    x = dbn_pictures._start_from_chains(jax.random.key(2), dbn.stack((top,)), labels, chains)
    np.testing.assert_array_equal(np.asarray(x)[:, 5:], np.eye(3)[labels])
    assert set(np.unique(np.asarray(x)[:, :5])) <= {0.0, 1.0}
