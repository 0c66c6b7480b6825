"""Evaluation of runs and of published models: figures, pictures, bad input."""

import dataclasses
import json
import re
import shutil

import jax
import numpy as np
import pytest

from dbn_jax import dbn, label_units, model_file, rbm, units
from experiments import evaluate, finetune_updown, publish, train_dbn, train_rbm
from experiments.common import recognition, shared
from tests import binaries, finished_runs
from tests.data.test_idx import idx_bytes, write
from tests.random_models import jolt

DIGITS = shared.DataSettings(dataset="digits", classes=(3, 5))
QUICK = {"ais_steps": 100, "ais_chains": 20, "passes": 2, "reverse_images": 6}
PICTURES = {"confusion", "reliability", "errors", "recognised"}


def plain_rbm(num_pixels=64, **kw):
    return rbm.init_params(jax.random.key(0), num_pixels, 4, **kw)


def plain_dbn():
    return dbn.stack((plain_rbm(), rbm.init_params(jax.random.key(1), 4, 5)))


def labelled_dbn():
    """Takes every image for a 3 or a 5, more or less surely."""
    top = label_units.init_params(jax.random.key(1), 4, 5)
    bottom, top = jolt(2, (plain_rbm(), top))
    bias = jax.numpy.zeros(14).at[jax.numpy.array([4 + 3, 4 + 5])].set(5.0)
    return dbn.stack((bottom, rbm.RBM(top.weights, top.visible.add_to_bias(bias), top.hidden)))


def rbm_run(path, model=None, **data):
    settings = train_rbm.Settings(data=dataclasses.replace(DIGITS, **data))
    return finished_runs.save(path, plain_rbm() if model is None else model, settings, "train_rbm")


def dbn_run(path, model, *, labels=False, **data):
    settings = train_dbn.Settings(
        data=dataclasses.replace(DIGITS, **data), labels=labels, top_learner="cd"
    )
    return finished_runs.save(path, model, settings, "train_dbn")


def updown_run(path, pretrained):
    settings = finetune_updown.Settings(str(pretrained))
    return finished_runs.save(path, dbn.untie(labelled_dbn()), settings, "finetune_updown")


def test_what_is_printed_of_an_rbm(tmp_path, capsys, caplog):
    settings = evaluate.Settings(rbm_run(tmp_path / "rbm"), **QUICK)
    with caplog.at_level("WARNING", logger="absl"):
        summary = evaluate.run(settings, tmp_path / "out")
    printed = capsys.readouterr().out
    assert printed.startswith("74 test images of digits\n")
    ends = ("", "_standard_error")
    expected = {"log_z_effective_sample_size"} | {
        f"{name}{end}" for name in ("log_z", "log_likelihood", "log_likelihood_reverse")
        for end in ends
    }  # fmt: skip
    assert summary["results"].keys() == expected | {"split"}
    for name in expected:
        assert f"{name}: {summary['figures'][name]:.6g}\n" in printed
    # Pixels that are on in half of the cases: 64 times log 2, in the mean.
    assert abs(summary["results"]["log_likelihood"] + 64 * np.log(2)) < 1
    assert not list((tmp_path / "out/figures").iterdir())
    assert "chains carry" not in caplog.text

    # Run again, it says the same without computing anything.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate.likelihoods, "evaluate", None)
        assert evaluate.run(settings, tmp_path / "out") == summary
    again = capsys.readouterr().out
    assert "done already" in again
    assert f"log_z: {summary['figures']['log_z']:.6g}\n" in again

    # Its flags.txt repeats it (in a copy: this process holds the workdir).
    copy = shutil.copytree(tmp_path / "out", tmp_path / "copy")
    done = binaries.run("experiments.evaluate", f"--workdir={copy}", f"--flagfile={copy}/flags.txt")
    assert "done already" in done.stdout, done.stderr


def test_a_net_without_labels_has_a_bound(tmp_path, caplog):
    # Validation images of the run are what it held out; few chains are warned of, and missed modes.
    path = dbn_run(tmp_path / "dbn", plain_dbn(), num_validation=40)
    settings = evaluate.Settings(path, **{**QUICK, "ais_chains": 4})
    with caplog.at_level("WARNING", logger="absl"):
        figures = evaluate.run(settings, tmp_path / "out")["results"]
    assert figures["split"] == "validation"
    assert figures["log_likelihood_bound_reverse_standard_error"] > 0
    assert not any(name.startswith(("log_likelihood_s", "joint", "error")) for name in figures)
    assert re.search(r"only \d\.\d of 4 chains carry .* raise --ais_chains", caplog.text)
    assert "may have missed modes" not in caplog.text
    gap = {"log_likelihood": -80.5, "log_likelihood_reverse": -123.7}
    evaluate._warn({"log_z_effective_sample_size": 1.5, **gap}, settings)
    assert re.search(r"only 1\.5 of 4 chains carry .* raise --ais_steps", caplog.text)
    assert "by 43.2 nats: it may have missed modes" in caplog.text
    # The test set is looked at if that is asked for.
    dataset, _ = dataclasses.replace(DIGITS, num_validation=40).load()
    settings = dataclasses.replace(settings, split="test")
    assert evaluate._held_out(settings, dataset) == ("test", dataset.test)


@pytest.fixture
def drawn(monkeypatch):
    """What was drawn: name of the function to the arguments of each call."""
    calls = {"confusion_matrix": [], "captioned_sheet": [], "reliability": []}
    for name, seen in calls.items():
        draw = getattr(evaluate.figures, name)

        def spy(*arguments, draw=draw, seen=seen, **kw):
            seen.append((*arguments, kw))
            return draw(*arguments, **kw)

        monkeypatch.setattr(evaluate.figures, name, spy)
    return calls


def test_a_net_with_labels_recognises(tmp_path, drawn):
    path = dbn_run(tmp_path / "dbn", labelled_dbn(), labels=True)
    summary = evaluate.run(evaluate.Settings(path, **QUICK), tmp_path / "out")
    figures = summary["results"]
    assert {p.stem for p in (tmp_path / "out/figures").iterdir()} == PICTURES
    assert "joint_log_likelihood_bound_reverse" in figures
    held_out = DIGITS.load()[0].test
    ((counts, _),) = drawn["confusion_matrix"]
    assert counts.sum() == len(held_out)
    np.testing.assert_array_equal(counts.sum(axis=1), np.bincount(held_out.labels, minlength=10))
    errors = counts.sum() - np.trace(counts)
    assert errors == round(figures["error_rate_sampling"] * len(held_out)) > 0
    for one, other in (("mean_field", "sampling"), ("mean_field", "gibbs"), ("sampling", "gibbs")):
        agreement = figures[f"agreement_{one}_{other}"]
        assert 0 < agreement <= 1
        # Two ways disagree at least where only one of them is right.
        gap = figures[f"error_rate_{one}"] - figures[f"error_rate_{other}"]
        assert 1 - agreement >= abs(gap) - 1e-6
    ((confidence, share, sizes, _),) = drawn["reliability"]
    assert sizes.sum() == len(held_out)
    np.testing.assert_allclose(np.average(share, weights=sizes), np.trace(counts) / counts.sum())
    gaps = np.abs(confidence - share)
    np.testing.assert_allclose(figures["calibration_error"], np.average(gaps, weights=sizes))
    wrong, right = drawn["captioned_sheet"]
    images, captions, kw = wrong
    assert len(captions) == errors
    read = [re.fullmatch(r"(\d) → (\d)  (\d+)%", caption).groups() for caption in captions]
    sure = [int(percent) for *_, percent in read]
    assert sure == sorted(sure, reverse=True)
    by_image = {
        image.tobytes(): label
        for image, label in zip(held_out.images, held_out.labels, strict=True)
    }
    for image, (label, answer, _) in zip(images, read, strict=True):
        assert by_image[to_bytes(image)] == int(label) != int(answer)
    images, captions, _ = right
    for image, caption in zip(images, captions, strict=True):
        assert by_image[to_bytes(image)] == int(caption[0])
    assert f"{errors} of 74 test images wrong" in kw["subtitle"]


def to_bytes(picture):
    return np.round(255 * picture).astype(np.uint8).tobytes()


def test_more_errors_than_a_sheet_holds_are_said_to_be(tmp_path, drawn, monkeypatch):
    monkeypatch.setattr(recognition, "_MAX_ERRORS", 3)
    path = dbn_run(tmp_path / "dbn", labelled_dbn(), labels=True)
    evaluate.run(evaluate.Settings(path, ais_steps=0), tmp_path / "out")
    _, captions, kw = drawn["captioned_sheet"][0]
    assert len(captions) == 3
    assert kw["subtitle"].endswith("the surest 3 are shown")


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


def test_calibration_by_hand():
    confidence = np.array([0.1, 0.15, 0.95, 1.0, 0.9])
    right = np.array([False, True, True, True, False])
    found = recognition.calibration(confidence, right, num_bins=5)
    np.testing.assert_allclose(found.confidence, [0.125, 0.95])
    np.testing.assert_allclose(found.share_right, [1 / 2, 2 / 3])
    np.testing.assert_array_equal(found.counts, [2, 3])
    np.testing.assert_allclose(found.error, 0.4 * 0.375 + 0.6 * (0.95 - 2 / 3))
    assert recognition.calibration(np.array([0.5, 0.5]), np.array([True, False])).error == 0


def idx_folder(path):
    """Twenty images of MNIST's form, the training set being the test set."""
    path.mkdir()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 8, 8), dtype=np.uint8)
    labels = np.arange(20, dtype=np.uint8) % 10
    for part in ("train", "t10k"):
        write(path, f"{part}-images-idx3-ubyte", idx_bytes(images))
        write(path, f"{part}-labels-idx1-ubyte", idx_bytes(labels))
    return str(path)


def test_published_models_are_evaluated_like_their_runs(tmp_path, monkeypatch, capsys):
    folder = idx_folder(tmp_path / "idx")
    greedy = dbn_run(
        tmp_path / "greedy", labelled_dbn(), labels=True, dataset="mnist", data_dir=folder,
        classes=None,
    )  # fmt: skip
    tuned = updown_run(tmp_path / "tuned", greedy)
    published = tmp_path / "results/digits"
    publish.publish(tuned, published)
    names = {"model.npz", "model.npz.sha256", "summary.json"}
    assert {p.name for p in published.iterdir()} == names
    text = (published / "summary.json").read_text()
    assert str(tmp_path) not in text
    summary = json.loads(text)
    assert summary["program"] == "experiments.finetune_updown"
    assert summary["pretrained"]["program"] == "experiments.train_dbn"
    assert summary["pretrained"]["flags"]["dataset"] == "mnist"
    assert f"{(published / 'model.npz').stat().st_size:,} bytes" in capsys.readouterr().out
    model, exact = (model_file.load(f"{path}/model.npz") for path in (published, tuned))
    assert jax.tree.structure(model) == jax.tree.structure(exact)
    np.testing.assert_allclose(model.top.weights, exact.top.weights, rtol=2**-8)
    assert not (model.top.weights == exact.top.weights).all()

    # The runs themselves are not needed any more; where the data are has to be told.
    shutil.rmtree(greedy)
    shutil.rmtree(tuned)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "none"))
    settings = evaluate.Settings(str(published), ais_steps=0)
    with pytest.raises(FileNotFoundError, match=r"IDX files: put .* and give it as data_dir"):
        evaluate.run(settings, tmp_path / "out")
    settings = dataclasses.replace(settings, data_dir=folder)
    figures = evaluate.run(settings, tmp_path / "out")["results"]
    assert figures["split"] == "test"
    assert 0 <= figures["error_rate_sampling"] <= 1
    # A publication of a publication is the same.
    publish.publish(published, tmp_path / "again")
    for name in ("model.npz", "summary.json"):
        assert weights_or_text(published / name) == weights_or_text(tmp_path / "again" / name)


def weights_or_text(path):
    if path.suffix == ".json":
        return path.read_text()
    return [np.asarray(x).tobytes() for x in jax.tree.leaves(model_file.load(path))]


def test_what_cannot_be_published(tmp_path):
    with pytest.raises(FileNotFoundError, match="no finished run"):
        publish.publish(tmp_path / "nowhere", tmp_path / "out")
    path = rbm_run(tmp_path / "rbm")
    other = tmp_path / "other"
    other.mkdir()
    (other / "flags.txt").touch()
    with pytest.raises(ValueError, match=r"other is the workdir of a run, whose .* be lost"):
        publish.publish(path, tmp_path / "out/../other")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot make --folder=.*file: .*; choose another"):
        publish.publish(path, tmp_path / "file")
    with pytest.raises(ValueError, match="--folder is ''"):
        publish.publish(path, "")
    line = [f"--pretrained={tmp_path}/none", f"--folder={tmp_path}/published"]
    done = binaries.run("experiments.publish", *line)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "no finished run" in done.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ais_steps": 2}, "ais_steps is 2; .* at least 3, or 0"),
        ({"ais_steps": -1}, "ais_steps is -1"),
        ({"ais_chains": 1}, "ais_chains is 1; it must be at least 2"),
        ({"passes": 0}, "passes is 0; it must be at least 1"),
        ({"reverse_images": 1}, "reverse_images is 1; it must be at least 2"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        evaluate.Settings("anywhere", **changes)


def test_models_that_cannot_be_evaluated_are_refused(tmp_path):
    def refused(message, path, **settings):
        with pytest.raises(ValueError, match=message):
            evaluate.run(evaluate.Settings(path, **settings), tmp_path / "out")
        assert not (tmp_path / "out").exists()

    path = rbm_run(tmp_path / "rbm")
    refused("--ais_steps=0 leaves nothing to evaluate: .*rbm has no label units", path, ais_steps=0)
    refused("--split=validation: .* without a validation set .*--split=test", path,
            split="validation")  # fmt: skip
    refused("takes no data_dir", path, data_dir="/anywhere")
    gaussian = rbm_run(tmp_path / "gaussian", plain_rbm(visible=units.Gaussian()))
    refused("pixels of .*gaussian are Gaussian units; .* Bernoulli", gaussian)
    standardised = rbm_run(tmp_path / "standardised", standardise=True)
    refused("are standardised; evaluate is for", standardised)
    large = rbm_run(tmp_path / "large", plain_rbm(81))
    refused("have 64 pixels and 10 classes, but the model has 81 pixels; are these", large)
    few = label_units.init_params(jax.random.key(1), 64, 5, 7)
    few = dbn_run(tmp_path / "few", dbn.stack((few,)), labels=True)
    refused("10 classes, but the model has 64 pixels and 7 label units", few)
    other = tmp_path / "other"
    other = finished_runs.save(other, plain_rbm(), train_rbm.Settings(), "benchmark")
    refused("made by benchmark; expected train_rbm,train_dbn,finetune_updown", other)
    with pytest.raises(FileNotFoundError, match="nowhere: there is no finished run"):
        evaluate.run(evaluate.Settings("nowhere"), tmp_path / "out")
    (tmp_path / "rbm/model.npz").write_bytes(b"nothing")
    refused("SHA-256", path)
