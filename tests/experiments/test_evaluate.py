"""Evaluation of runs: likelihoods, recognition, its pictures."""

import dataclasses
import itertools
import re

import jax
import jax.numpy as jnp
import joblib
import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.neural_network import BernoulliRBM

from dbn_jax import convolutional, dbn, figures, linear, rbm, units
from dbn_jax.likelihood import evaluation
from experiments import evaluate, train_dbn, train_rbm
from experiments.common.data_settings import DataSettings
from tests import finished_runs
from tests.small_jobs import small_convolutional

DIGITS = DataSettings(dataset="digits", classes=(3, 5))
QUICK = {"ais_steps": 300, "ais_chains": 60, "passes": 2, "reverse_images": 6}


def plain_rbm():
    return rbm.init_params(jax.random.key(0), 64, 4)


def labelled_dbn():
    """Tells 3 from 5 by a single feature, and mistakes some."""
    train = DIGITS.load()[0].train
    three, five = (train.images[train.labels == k].mean(axis=0) / 255 for k in (3, 5))
    weights = jnp.float32(three - five)[:, None]
    feature = units.Bernoulli(-jnp.float32(three + five) / 2 @ weights)
    bottom = rbm.RBM(weights, units.Bernoulli(jnp.zeros(64)), feature)
    weights = jnp.zeros((11, 1)).at[0].set(4.0).at[1 + 3].set(2.0).at[1 + 5].set(-2.0)
    labels = units.Softmax(jnp.full(10, -9.0).at[3].set(0.0).at[5].set(2.0))
    visible = units.Concat((units.Bernoulli(jnp.zeros(1)), labels), (1, 10))
    return dbn.stack((bottom, rbm.RBM(weights, visible, units.Bernoulli(jnp.array([-2.0])))))


def dbn_run(path, model, *, labels=False, **data):
    settings = train_dbn.Settings(data=dataclasses.replace(DIGITS, **data), labels=labels)
    return finished_runs.save(path, model, settings)


def test_an_rbm_has_a_likelihood(tmp_path, capsys, caplog, monkeypatch):
    path = finished_runs.save(tmp_path / "rbm", plain_rbm(), train_rbm.Settings(data=DIGITS))
    settings = evaluate.Settings(pretrained=path, **QUICK | {"passes": 20})
    capsys.readouterr()
    with caplog.at_level("WARNING", logger="absl"):
        summary = evaluate.run(settings, str(tmp_path / "out"))
    assert capsys.readouterr().out.startswith("74 test images of digits\nsplit: test\nlog_z: ")
    results = summary["results"]
    assert results.keys() == {"split", "log_z_effective_sample_size"} | {
        f"{name}{end}" for name in ("log_z", "log_likelihood", "log_likelihood_reverse")
        for end in ("", "_standard_error")
    } | {"log_z_exact", "log_likelihood_exact", "log_likelihood_exact_standard_error"}  # fmt: skip
    # Pixels that are on in half of the cases: 64 times log 2, in the mean.
    assert abs(results["log_likelihood"] + 64 * np.log(2)) < 1
    assert not list((tmp_path / "out/figures").iterdir())
    assert "chains carry" not in caplog.text
    # Run again, it says the same without computing anything.
    monkeypatch.setattr(evaluation, "evaluate", None)
    assert evaluate.run(settings, str(tmp_path / "out")) == summary


def test_an_rbm_of_another_program_is_judged(tmp_path):
    """By log Z and log p of its own energy, E = −b·v − c·h − hᵀWv, summed over its 16 h."""
    images = DIGITS.load()[0].train.images / 255
    model = BernoulliRBM(4, n_iter=5, random_state=0).fit(images)
    file = tmp_path / "rbm.joblib"
    joblib.dump(model, file)
    settings = evaluate.Settings(model=str(file), data=DIGITS, **QUICK | {"passes": 20})
    results = evaluate.run(settings, str(tmp_path / "out"))["results"]
    h = np.array(list(itertools.product([0, 1], repeat=4)))
    pixels = model.intercept_visible_ + h @ model.components_
    log_z = logsumexp(h @ model.intercept_hidden_ + np.logaddexp(0, pixels).sum(axis=1))
    np.testing.assert_allclose(results["log_z_exact"], log_z, rtol=1e-6)
    assert abs(results["log_z"] - log_z) < 5 * results["log_z_standard_error"]
    gap = results["log_likelihood_exact"] - results["log_likelihood"]
    np.testing.assert_allclose(gap, results["log_z"] - log_z, atol=1e-4)
    # The mean of log p of all drawings of the test images, by the number of theirs.
    grey = DIGITS.load()[0].test.images / 255
    v = np.random.default_rng(0).random((100, *grey.shape)) < grey
    expected = [-model._free_energy(x).mean() - log_z for x in v]
    error = np.std(expected, ddof=1)
    assert abs(results["log_likelihood_exact"] - np.mean(expected)) < 5 * error
    # What was found is of this file, and no other.
    joblib.dump(BernoulliRBM(4, n_iter=1, random_state=1).fit(images), file)
    with pytest.raises(ValueError, match=r"^--model=.*rbm\.joblib is another model than the one"):
        evaluate.run(settings, str(tmp_path / "out"))


def test_a_model_is_given_once_and_with_its_own_data(tmp_path):
    words = "^give one model: --pretrained, the workdir of a run, or --model, the file of an RBM"
    for both in ({}, {"pretrained": "a", "model": "b"}):
        with pytest.raises(ValueError, match=words):
            evaluate.Settings(**both)
    path = finished_runs.save(tmp_path / "rbm", plain_rbm(), train_rbm.Settings(data=DIGITS))
    settings = evaluate.Settings(pretrained=path, data=DIGITS)
    words = "^--dataset=digits does nothing with --pretrained, whose own data are taken; leave it"
    with pytest.raises(ValueError, match=words):
        evaluate.run(settings, str(tmp_path / "out"))
    joblib.dump(BernoulliRBM(2, n_iter=1).fit(np.eye(9)), tmp_path / "rbm.pkl")
    settings = evaluate.Settings(model=str(tmp_path / "rbm.pkl"), data=DIGITS)
    with pytest.raises(ValueError, match="10 classes, but the model has 9 pixels; are these its"):
        evaluate.run(settings, str(tmp_path / "out"))
    standardised = dataclasses.replace(DIGITS, standardise=True)
    words = (
        "^the pixels of --model=.*rbm.pkl are made real numbers by --standardise; evaluate is for "
        "models of Bernoulli units, .*; in Python, `foreign.load` and `likelihood` take others$"
    )
    with pytest.raises(ValueError, match=words):
        evaluate.run(dataclasses.replace(settings, data=standardised), str(tmp_path / "out"))
    settings = dataclasses.replace(settings, split="validation")
    with pytest.raises(ValueError, match=r"^--split=validation: there is no validation set besi"):
        evaluate.run(settings, str(tmp_path / "out"))


def test_a_net_without_labels_has_a_bound(tmp_path, caplog):
    # Validation images of the run are what it held out; a few chains that carry log Z are warned
    # of, and missed modes, but not that there are few chains.
    net = dbn.stack((plain_rbm(), rbm.init_params(jax.random.key(1), 4, 5)))
    path = dbn_run(tmp_path / "dbn", net, num_validation=40)
    settings = evaluate.Settings(pretrained=path, **{**QUICK, "ais_chains": 4})
    with caplog.at_level("WARNING", logger="absl"):
        results = evaluate.run(settings, str(tmp_path / "out"))["results"]
    assert results["split"] == "validation"
    assert results["log_likelihood_bound_reverse_standard_error"] > 0
    assert not any(name.startswith(("log_likelihood_s", "joint", "error")) for name in results)
    assert results["log_z_effective_sample_size"] > 2
    assert "chains carry" not in caplog.text
    assert "may have missed modes" not in caplog.text
    gap = {"log_likelihood": -80.5, "log_likelihood_reverse": -123.7}
    evaluate._warn({"log_z_effective_sample_size": 1.5, **gap}, settings)
    assert re.search(r"only 1\.5 of 4 chains carry .* raise --ais_steps", caplog.text)
    assert "by 43.2 nats: it may have missed modes" in caplog.text
    # The test set is looked at if that is asked for.
    dataset, _ = dataclasses.replace(DIGITS, num_validation=40).load()
    settings = dataclasses.replace(settings, split="test")
    assert evaluate._held_out(settings, dataset) == ("test", dataset.test)


def test_a_net_with_labels_recognises(tmp_path, monkeypatch):
    drawn = {}

    def spied(name):
        draw = getattr(figures, name)

        def spy(*arguments, **kw):
            drawn[kw["title"]] = arguments, kw
            return draw(*arguments, **kw)

        monkeypatch.setattr(figures, name, spy)

    for name in ("confusion_matrix", "captioned_sheet", "reliability"):
        spied(name)
    path = dbn_run(tmp_path / "dbn", labelled_dbn(), labels=True)
    settings = evaluate.Settings(pretrained=path, **QUICK)
    results = evaluate.run(settings, str(tmp_path / "out"))["results"]
    assert {p.stem for p in (tmp_path / "out/figures").iterdir()} == {
        "confusion", "reliability", "errors", "recognised",
    }  # fmt: skip
    assert "joint_log_likelihood_bound_reverse" in results
    held_out = DIGITS.load()[0].test
    (counts,), kw = drawn["What each class was taken for"]
    np.testing.assert_array_equal(counts.sum(axis=1), np.bincount(held_out.labels, minlength=10))
    assert np.flatnonzero(counts.sum(axis=0)).tolist() == [3, 5]
    errors = counts.sum() - np.trace(counts)
    assert errors == round(results["error_rate_sampling"] * len(held_out)) > 0
    assert f"{errors} of 74 test images wrong" in kw["subtitle"]
    assert len(drawn["Errors, the surest first"][0][1]) == errors
    for one, other in (("mean_field", "sampling"), ("mean_field", "gibbs"), ("sampling", "gibbs")):
        agreement = results[f"agreement_{one}_{other}"]
        assert 0 < agreement <= 1
        # Two ways disagree at least where only one of them is right.
        gap = results[f"error_rate_{one}"] - results[f"error_rate_{other}"]
        assert 1 - agreement >= abs(gap) - 1e-6
    (confidence, share, sizes), _ = drawn["Is it as often right as it is sure?"]
    assert sizes.sum() == len(held_out)
    np.testing.assert_allclose(np.average(share, weights=sizes), np.trace(counts) / counts.sum())
    gaps = np.abs(confidence - share)
    np.testing.assert_allclose(results["calibration_error"], np.average(gaps, weights=sizes))
    (images, captions), _ = drawn["Unseen and recognised rightly"]
    known = dict(zip(map(bytes, held_out.images), held_out.labels, strict=True))
    shown = np.round(255 * images).astype(np.uint8)
    assert [known[bytes(image)] for image in shown] == [int(text[0]) for text in captions]


def test_hard_images_come_first_in_each_class():
    labels = np.repeat([4, 7, 9], 20)
    confidence = np.tile(np.linspace(1, 0.05, 20), 3)
    right = np.ones(60, bool)
    right[[19, 40]] = False  # the hardest 4, the easiest 9
    right[20:33] = False  # all but seven 7s
    rows = evaluate._hard_and_others(labels, confidence, right)
    np.testing.assert_array_equal(labels[rows], [4] * 12 + [7] * 7 + [9] * 12)
    np.testing.assert_array_equal(rows[:6], [18, 17, 16, 15, 14, 13])
    np.testing.assert_array_equal(rows[6:12], [11, 9, 7, 5, 3, 0])
    assert right[rows].all()
    assert not len(evaluate._hard_and_others(labels, confidence, np.zeros(60, bool)))


def maps(*blocks, weight_scale=0.3):
    """Convolutional layers over 8×8 pixels, with filters of 3×3."""
    shape, layers = (8, 8, 1), []
    for i, (num_maps, size, block) in enumerate(zip((3, 4), (3, 3), blocks, strict=False)):
        options = {"block": block, "weight_scale": weight_scale}
        key = jax.random.key(i)
        layers.append(convolutional.init_params(key, shape, num_maps, size, **options))
        shape = convolutional.pooled_shape(layers[-1])
    return dbn.stack(tuple(layers))


def evaluated(tmp_path, net, **changes):
    settings = small_convolutional(data=DIGITS)
    path = finished_runs.save(tmp_path / "net", net, settings)
    settings = evaluate.Settings(pretrained=path, **changes)
    return evaluate.run(settings, str(tmp_path / "out"))["results"]


@pytest.mark.parametrize("blocks", [(1,), (2,), (1, 2)])
def test_maps_have_a_likelihood_unless_they_are_pooled_below_the_top(tmp_path, blocks):
    """That of the dense RBMs with the same weights, written out, within the errors of both."""
    net = maps(*blocks)
    single = len(blocks) == 1
    name = "log_likelihood" if single else "log_likelihood_bound"
    passes = {"passes": evaluate.Settings(pretrained="").passes} if single else {}
    results = evaluated(tmp_path, net, **QUICK | passes)
    assert {f"{kind}_layer_{i + 1}" for i in range(len(blocks))
            for kind in ("reconstruction_error", "hidden_activity")} < results.keys()  # fmt: skip
    dense = dbn.DBN(
        tuple(
            dataclasses.replace(layer, weights=linear.matrix(layer.weights)) for layer in net.layers
        )
    )
    dataset, transform = DIGITS.load()
    binary = [
        evaluate._examples(jax.random.key(i), dense, split, transform)
        for i, split in enumerate((dataset.train, dataset.test))
    ]
    expected = evaluation.evaluate(
        jax.random.key(7), dense, *binary, num_steps=300, num_chains=60, num_passes=2, num_reverse=6
    )
    error = np.hypot(results[f"{name}_standard_error"], expected[f"{name}_standard_error"])
    assert abs(results[name] - expected[name]) < 4 * error


def test_of_pooled_layers_below_the_top_images_are_reconstructed(tmp_path):
    results = evaluated(tmp_path, maps(2, 1))
    assert results.keys() == {"split"} | {
        f"{kind}_layer_{i}" for kind in ("reconstruction_error", "hidden_activity") for i in (1, 2)
    }


def test_pooled_layers_below_the_top_have_no_likelihood(tmp_path):
    words = "^--ais_steps=300 does nothing with a net that pools layers below the top"
    with pytest.raises(ValueError, match=words):
        evaluated(tmp_path, maps(2, 1), ais_steps=300)
    assert not (tmp_path / "out").exists()
