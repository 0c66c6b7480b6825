"""Baselines against scikit-learn; the table, units of work, bad input."""

import dataclasses

import jax
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from dbn_jax import data, recognition
from experiments import baselines
from experiments.common import classification

QUICK = baselines.Settings(dataset="digits", methods=("neighbours", "svm_rbf"), num_train=240)


@pytest.fixture
def spied(monkeypatch):
    """How methods were called: (name, data, settings); names in `broken` fail when tested."""
    calls, broken = [], set()
    for name, method in baselines.METHODS.items():

        def error_rate(images, folder, name=name, method=method, **settings):
            calls.append((name, images, settings))
            if name in broken and not images.num_validation:
                raise KeyboardInterrupt
            return method.error_rate(images, folder, **settings)

        spy = dataclasses.replace(method, error_rate=error_rate)
        monkeypatch.setitem(baselines.METHODS, name, spy)
    monkeypatch.setitem(
        baselines.METHODS,
        "svm_rbf",
        dataclasses.replace(baselines.METHODS["svm_rbf"], num_search=60),
    )
    return calls, broken


def test_settings_are_chosen_on_held_out_images_and_tested_once(tmp_path, spied, capsys):
    calls, broken = spied
    broken.add("svm_rbf")
    with pytest.raises(KeyboardInterrupt):  # in the last unit of all
        baselines.run(QUICK, str(tmp_path / "run"))
    # A sixth is held out; machines meanwhile learn from fewer images than neighbours.
    images = baselines.Data(dataset="digits", num_train=240)
    search = dataclasses.replace(images, num_validation=40)
    assert [call[:2] for call in calls] == [
        *[("neighbours", search)] * 5, ("neighbours", images),
        *[("svm_rbf", dataclasses.replace(search, num_train=60))] * 6, ("svm_rbf", images),
    ]  # fmt: skip
    assert [settings["k"] for _, _, settings in calls[:5]] == [1, 3, 4, 5, 7]
    assert len({tuple(settings.items()) for _, _, settings in calls[6:12]}) == 6

    # Only what was not finished is done again.
    broken.clear()
    del calls[:]
    capsys.readouterr()
    summary = baselines.run(QUICK, str(tmp_path / "run"))
    assert [call[:2] for call in calls] == [("svm_rbf", images)]
    whole = baselines.run(QUICK, str(tmp_path / "whole"))
    for results in (summary["results"], whole["results"]):
        assert results.keys() == {"error_rate_neighbours", "error_rate_svm_rbf", "methods"}
    for name in QUICK.methods:
        found, other = (s["results"]["methods"][name] for s in (summary, whole))
        assert found["error_rate"] == other["error_rate"]
        assert found["settings"] == other["settings"]
        (best,) = {t["error_rate"] for t in found["tried"] if t["settings"] == found["settings"]}
        assert found["held_out_error_rate"] == best == min(t["error_rate"] for t in found["tried"])

    # The errors are those of scikit-learn with the chosen settings.
    dataset, _ = images.load()
    assert len(dataset.train) == 240
    x, labels = dataset.train.images / 255, dataset.train.labels
    x_test, wanted = dataset.test.images / 255, dataset.test.labels
    methods = summary["results"]["methods"]
    machine = SVC(**methods["svm_rbf"]["settings"]).fit(x, labels)
    error = np.mean(machine.predict(x_test) != wanted)
    assert summary["results"]["error_rate_svm_rbf"] == pytest.approx(error)
    assert 0 < error < 0.1
    spread = methods["svm_rbf"]["standard_error"]
    assert spread == pytest.approx(np.sqrt(error * (1 - error) / len(wanted)))
    k = methods["neighbours"]["settings"]["k"]
    answers = KNeighborsClassifier(k).fit(x, labels).predict(x_test)
    # scikit-learn breaks ties otherwise.
    error = np.mean(answers != wanted)
    assert abs(summary["results"]["error_rate_neighbours"] - error) < 0.02

    # Done already, it prints the table again.
    table = (tmp_path / "run/table.txt").read_text()
    assert table in capsys.readouterr().out
    del calls[:]
    assert baselines.run(QUICK, str(tmp_path / "run")) == summary
    assert not calls
    assert capsys.readouterr().out.startswith(table)


def test_held_out_images_are_never_learnt_from():
    images = baselines.Data(dataset="digits", num_validation=40, num_train=60)
    dataset, _ = images.load()
    whole, _ = baselines.Data(dataset="digits", num_validation=40).load()
    assert (len(dataset.train), len(dataset.validation)) == (60, 40)
    assert len(whole.train) == len(data.load("digits").train) - 40
    np.testing.assert_array_equal(dataset.validation.images, whole.validation.images)
    rows = {row.tobytes() for row in whole.train.images}
    assert all(row.tobytes() in rows for row in dataset.train.images)
    # Neither the first ones only, nor those of one class.
    assert not np.array_equal(dataset.train.images, whole.train.images[:60])
    assert len(np.unique(dataset.train.labels)) == 10


def test_nets_learn_by_plain_backpropagation(tmp_path, monkeypatch, implicit_promotion):
    method = baselines.METHODS["net_2"]
    quick = {**method.candidates[1], "epochs": 5, "batch_size": 20}
    monkeypatch.setitem(
        baselines.METHODS, "net_2", dataclasses.replace(method, candidates=(quick,))
    )
    learnt, train = [], classification.train

    def spy(*arguments):
        learnt.append((*arguments, train(*arguments)[0]))
        return learnt[-1][-1], None

    monkeypatch.setattr(classification, "train", spy)
    settings = baselines.Settings(dataset="digits", methods=("net_2",), num_train=600)
    (result,) = baselines.run(settings, str(tmp_path / "run"))["results"]["methods"].values()
    assert result["settings"] == quick
    errors = result["held_out_error_rate"], result["error_rate"]
    for (run, learning, start, dataset, transform, model), part, count, error in zip(
        learnt, ("validation", "test"), (100, 364), errors, strict=True
    ):
        assert tmp_path / "run/units" in run.path.parents
        assert learning == classification.ClassifierSettings(adversarial_radius=0.0, **quick)
        assert learning.input_dropout == learning.hidden_dropout == learning.label_smoothing == 0
        assert [layer.kernel.shape[1] for layer in start.layers()] == [500, 300, 10]
        name, split = dataset.held_out
        assert (name, len(split), len(dataset.train)) == (part, count, 600)
        answers = recognition.log_posteriors(
            jax.random.key(0), model, split.images, transform, classification.classify
        )
        assert error == recognition.error_rate(answers, split.labels) < 0.6
    assert baselines.METHODS["net_1"].error_rate.keywords == {"hidden_sizes": (1000,)}


def test_table():
    result = {
        "error_rate": 0.0295, "standard_error": 0.0017, "held_out_error_rate": 0.0289,
        "seconds": 12.3, "settings": {"kernel": "poly", "degree": 4, "C": 10.0},
    }  # fmt: skip
    digits = data.load("digits")
    text = baselines.table({"neighbours": result, "svm_polynomial": result}, digits)
    title, head, first, second = text.splitlines()
    assert title == "digits: 1,433 training images, 364 test images"
    assert head.split()[:4] == ["test", "error", "tutorial", "here"]
    assert first.startswith("k nearest neighbours")
    assert first.split()[3:] == [
        "3.3%", "2.95%", "0.17%", "2.89%", "12", "degree", "4,", "C", "10.0"
    ]  # fmt: skip
    assert "–" in second  # the tutorial has no such row
