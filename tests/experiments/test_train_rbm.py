"""train_rbm, at sizes that take seconds: what it leaves on disk, its settings, and bad input."""

import csv
import dataclasses
import json
import re

import jax
import numpy as np
import pytest

from dbn_jax import data, learning, model_file, rbm, units
from experiments import train_rbm
from experiments.common import shared
from tests import binaries
from tests.small_jobs import DIGITS, QUICK, small_rbm

pytestmark = pytest.mark.usefixtures("implicit_promotion")


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
    for row in rows:
        unseen, seen, gap = (float(row[f"eval_free_energy{end}"]) for end in ("", "_train", "_gap"))
        assert gap == pytest.approx(unseen - seen, abs=1e-4)
    last = float(rows[-1]["eval_reconstruction_error"])
    assert summary["results"]["eval_reconstruction_error"] == last
    assert last < float(rows[0]["eval_reconstruction_error"])
    saved = model_file.load(tmp_path / "run/model.npz")
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
    figures = train_rbm.run(settings, tmp_path)["results"]
    assert np.isfinite(figures["eval_reconstruction_error"])
    assert ("eval_log_pseudo_likelihood" in figures) == binary
    if binary:  # 64 pixels that could not be told from the rest would have −64 log 2 = −44 nats
        assert -44 < figures["eval_log_pseudo_likelihood"] < 0


def test_every_flag_value_makes_a_learner():
    for name in shared.LEARNERS:
        assert isinstance(dataclasses.replace(QUICK, learner=name).make_learner(), learning.Learner)
    centred = dataclasses.replace(QUICK, centring="centred", sparsity_target=0.1).make_learner()
    assert centred == learning.Sparse(learning.Centred(learning.CD()), 0.1, 0.1)
    assert QUICK.make_optimizer(10) is dataclasses.replace(QUICK, gibbs_steps=2).make_optimizer(10)


def test_unit_names_cover_the_package():
    named = {type(unit) for unit in shared.UNITS.values()}
    assert named == set(units.Units.__subclasses__()) - {units.Concat}


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


@pytest.mark.parametrize("standardise", [False, True])
def test_other_classes_are_prepared_as_those_that_were_learnt(standardise):
    settings = dataclasses.replace(DIGITS, classes=(2, 7), standardise=standardise)
    dataset, _ = settings.load()
    raw = data.load("digits").test
    others = ~np.isin(raw.labels, (2, 7))
    split = settings.left_out(dataset)
    np.testing.assert_array_equal(split.labels, raw.labels[others])
    pictures = dataset.pictures(split.images).reshape(len(split), -1)
    np.testing.assert_allclose(pictures, raw.images[others] / 255, atol=1e-6)
    if standardise:
        used = dataset.standardisation
        expected = (raw.images[others] / 255 - used.mean) / used.std
        np.testing.assert_allclose(split.images, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("undrawn")
def test_no_picture_of_other_classes_where_none_is_left_out(tmp_path):
    everything = dataclasses.replace(DIGITS, classes=tuple(range(10)))
    assert everything.left_out(everything.load()[0]) is None
    train_rbm.run(small_rbm(data=everything), tmp_path)
    assert not (tmp_path / "figures/unfamiliar.png").exists()


def test_chains_are_shown_after_as_many_steps_as_they_say(monkeypatch):
    real, taken = train_rbm._advance, []

    def advance(key, params, h, num_steps):
        taken.append(num_steps)
        return real(key, params, h, num_steps)

    monkeypatch.setattr(train_rbm, "_advance", advance)
    params = rbm.init_params(jax.random.key(0), 6, 4)
    frames = train_rbm._chain(jax.random.key(1), params, np.zeros((2, 4), np.float32), (0, 1, 5, 9))
    assert frames.shape == (4, 2, 6)
    assert np.cumsum(taken).tolist() == [0, 1, 5, 9]
