"""train_rbm, at sizes that take seconds: what it leaves on disk, its warnings and errors."""

import csv
import dataclasses
import json
import re

import numpy as np
import pytest

from dbn_jax import model_file, training
from experiments import train_rbm
from tests import binaries
from tests.small_jobs import DIGITS, QUICK, small_rbm

pytestmark = pytest.mark.usefixtures("implicit_promotion")


def test_train_rbm_leaves_a_whole_workdir(tmp_path, capsys):
    settings = small_rbm(
        data=dataclasses.replace(DIGITS, classes=(2,)),
        learning=dataclasses.replace(QUICK, batch_size=10, epochs=8),
    )
    summary = train_rbm.run(settings, str(tmp_path / "run"))
    pictures = {path.stem for path in (tmp_path / "run/figures").glob("*.png")}
    assert pictures == {
        "features", "development", "reconstructions", "unfamiliar", "chains", "samples", "hidden",
        "histograms", "curves",
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

    # A finished run is left as it is.
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run/figures").iterdir()}
    assert train_rbm.run(settings, tmp_path / "run") == summary
    assert "done already" in capsys.readouterr().out
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "run/figures").iterdir()}


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
    figures = train_rbm.run(settings, str(tmp_path))["results"]
    assert np.isfinite(figures["eval_reconstruction_error"])
    assert ("eval_log_pseudo_likelihood" in figures) == binary
    if binary:  # 64 pixels that could not be told from the rest would have −64 log 2 = −44 nats
        assert -44 < figures["eval_log_pseudo_likelihood"] < 0


@pytest.mark.parametrize("visible", ["gaussian", "gaussian_learnt", "binomial", "poisson"])
@pytest.mark.usefixtures("undrawn")
def test_the_default_learning_rate_suits_the_pixels(tmp_path, visible):
    learning = train_rbm.LearningSettings(epochs=5)
    settings = small_rbm(data=DIGITS, learning=learning, visible=visible, num_hidden=500)
    run = train_rbm.run(settings, str(tmp_path))
    table = training.read_metrics(tmp_path / "metrics_rbm.csv")
    error = table["eval_reconstruction_error"]
    # At 0.1 it ends in NaN, or far above what the means of all pixels would leave.
    assert error[-1] < 1.3 * error[0]
    assert run["results"]["eval_reconstruction_error"] == error[-1]


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
        train_rbm.run(small_rbm(data=data, learning=learning), str(tmp_path))
    assert len(re.findall(words, caplog.text)) == 1
    assert "epoch 2" not in caplog.text  # once, not at every epoch


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--dataset=mnist", "--data_dir=/no/such/folder"], ["/no/such/folder"]),
        (["--dataset=digits", "--learning_rate=1e30"], ["NaN or infinity", "another --workdir"]),
        (["--dataset=digits", "extra"], ["extra"]),
    ],
)
def test_bad_input_ends_in_a_sentence(tmp_path, flags, words):
    done = binaries.run("experiments.train_rbm", f"--workdir={tmp_path}/run", "--epochs=1", *flags)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.usefixtures("undrawn")
def test_no_picture_of_other_classes_where_none_is_left_out(tmp_path):
    everything = dataclasses.replace(DIGITS, classes=tuple(range(10)))
    assert everything.left_out(everything.load()[0]) is None
    train_rbm.run(small_rbm(data=everything), str(tmp_path))
    assert not (tmp_path / "figures/unfamiliar.png").exists()
