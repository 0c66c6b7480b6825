"""The binary that generates, on a net made by hand that knows ten digits and nothing else."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from dbn_jax import convolutional, data, dbn, figures, label_units, rbm, units
from experiments import finetune_updown, generate, train_dbn
from experiments.baseline_models import svm_judge
from experiments.pictures import movies
from tests import finished_runs
from tests.small_jobs import DIGITS, small_convolutional


@pytest.fixture(scope="module")
def dataset():
    return DIGITS.load()[0]


def make_net(dataset, labels=range(10)):
    """Unit k of the first layer stands for the mean digit k, which the memory calls labels[k]."""
    grey = dataset.train.images / dataset.scale
    means = np.stack([grey[dataset.train.labels == k].mean(axis=0) for k in range(10)])
    logits = np.log((means + 0.01) / (1.01 - means))
    bias = logits.mean(axis=0)
    bottom = rbm.RBM(
        jnp.asarray((logits - bias).T, jnp.float32),
        units.Bernoulli(jnp.asarray(bias, jnp.float32)),
        units.Bernoulli(jnp.zeros(10)),
    )
    # Top unit k is on if its label is, whatever the features, and turns feature k on alone.
    called = 60 * np.eye(10)[list(labels)].T - 40
    top = rbm.RBM(
        jnp.asarray(np.concatenate([20 * np.eye(10), called]), jnp.float32),
        units.Concat(
            (units.Bernoulli(jnp.full(10, -10.0)), units.Softmax(jnp.zeros(10))), (10, 10)
        ),
        units.Bernoulli(jnp.full(10, -10.0)),
    )
    return dbn.stack((bottom, top))


def save_run(path, net, **data):
    settings = train_dbn.Settings(data=dataclasses.replace(DIGITS, **data))
    return finished_runs.save(path, net, settings)


@pytest.fixture
def quick(monkeypatch):
    """Few frames, that are small; returns what they and the sheets were made of, by function."""
    monkeypatch.setattr(movies, "_MOVIE_INTERVALS", (1, 2))
    monkeypatch.setattr(movies, "_MIND_INTERVALS", (1, 2, 7))
    monkeypatch.setattr(movies, "_MIND_STEPS", (1, 10))
    calls = {"moment": [], "moments": []}

    def noted(name, function):
        def call(*args, **settings):
            calls[name].append((args, settings))
            return function(*args, **settings)

        monkeypatch.setattr(figures, name, call)

    noted("moment", lambda *args, **kw: np.full((4, 4), len(calls["moment"]), np.uint8))
    noted("moments", figures.moments)
    return calls


def quick_settings(pretrained, **changes):
    sizes = {"steps": 5, "columns": 2, "judged": 6, "judge_images": 600}
    return generate.Settings(pretrained=pretrained, **(sizes | changes))


def num_frames(path):
    with PIL.Image.open(path) as film:
        return film.n_frames


@pytest.mark.parametrize("untied", [False, True])
def test_a_labelled_net_leaves_a_whole_workdir(tmp_path, capsys, quick, dataset, untied):
    net = make_net(dataset)
    path = save_run(tmp_path / "net", net)
    if untied:
        tuned = finetune_updown.Settings(pretrained=path)
        path = finished_runs.save(tmp_path / "tuned", dbn.untie(net), tuned)
    settings = quick_settings(path)
    summary = generate.run(settings, str(tmp_path / "run"))
    assert {path.name for path in (tmp_path / "run/figures").iterdir()} == {
        "classes.png",
        "forgetting.png",
        "movie.webp",
        "mind_and_brain.png",
        "mind_and_brain.webp",
    }
    found = summary["results"]
    assert found["recognised"] > 0.95  # each sample is a mean digit, whatever the chain came from
    assert list(found["recognised_by_class"]) == [str(k) for k in range(10)]
    assert np.mean(list(found["recognised_by_class"].values())) == pytest.approx(
        found["recognised"]
    )
    assert found["recognised_as_nothing"] < 0.05
    assert found["judge_images"] == 600
    printed = capsys.readouterr().out
    assert f"{found['judge_error']:.2%} wrong" in printed
    assert f"recognises {found['recognised']:.1%}" in printed

    # The movie clamps one label after the other; at the end of each the digit is there.
    frames = [(args, kw) for args, kw in quick["moment"] if kw["image_name"] == "image"]
    assert num_frames(tmp_path / "run/figures/movie.webp") == len(frames) == 20
    assert [kw["clamped"] for _, kw in frames] == [str(k) for k in range(10) for _ in range(2)]
    last = np.stack([args[0] for args, _ in frames[1::2]])
    examiner = svm_judge.train(dataset, 600)
    assert np.mean(examiner.answers(last) == np.arange(10)) >= 0.9
    for k, (args, kw) in enumerate(frames[1::2]):
        (states,) = args[1].values()
        np.testing.assert_array_equal(states, np.eye(10)[k])
        np.testing.assert_allclose([*kw["labels"].values()], np.eye(10)[k], atol=1e-6)

    # Mind and brain: first the noise, then all layers, nothing clamped.
    frames = [(args, kw) for args, kw in quick["moment"] if kw["image_name"] != "image"]
    assert frames[0][1]["image_name"] == "shown"
    assert set(np.unique(frames[0][0][0])) == {0.0, 1.0}
    assert len(frames) == 4
    assert [len(states) for states in frames[-1][0][1].values()] == [10, 10]
    assert all("clamped" not in kw for _, kw in frames)
    assert "since: 10" in frames[-1][1]["subtitle"]
    (((images, layers), kw),) = quick["moments"]
    assert kw["times"] == ["shown", "1", "10"]
    np.testing.assert_array_equal(images[0], frames[0][0][0])
    np.testing.assert_array_equal(images[-1], frames[-1][0][0])
    assert [states.shape for states in layers.values()] == [(3, 10), (3, 10)]

    # A finished run is left as it is.
    quick["moment"].clear()
    assert generate.run(settings, str(tmp_path / "run")) == summary
    assert not quick["moment"]


def test_a_net_that_mistakes_classes_is_found_out(tmp_path, quick, dataset):
    swapped = [1, 0, 2, 3, 4, 5, 6, 7, 8, 9]
    net = make_net(dataset, swapped)
    settings = quick_settings(save_run(tmp_path / "net", net), start="features")
    found = generate.run(settings, str(tmp_path / "run"))["results"]
    by_class = list(found["recognised_by_class"].values())
    assert by_class[0] == by_class[1] == 0
    assert np.mean(by_class[2:]) > 0.95
    assert found["recognised"] == pytest.approx(np.mean(by_class))
    n = 60
    p = found["recognised"]
    assert found["recognised_standard_error"] == pytest.approx((p * (1 - p) / n) ** 0.5)


UNLABELLED_PICTURES = {"movie.webp", "mind_and_brain.webp", "mind_and_brain.png", "chains.png"}


def test_a_net_without_labels_has_its_movie_and_its_mind(tmp_path, capsys, quick):
    keys = jax.random.split(jax.random.key(0), 3)
    sizes = ((64, 12), (12, 9), (9, 7))
    layers = [rbm.init_params(key, *pair) for key, pair in zip(keys, sizes, strict=True)]
    settings = generate.Settings(pretrained=save_run(tmp_path / "net", dbn.stack(tuple(layers))))
    summary = generate.run(settings, str(tmp_path / "run"))
    names = {path.name for path in (tmp_path / "run/figures").iterdir()}
    assert names == UNLABELLED_PICTURES
    assert summary["results"] == {}
    assert "the net has no label units" in capsys.readouterr().out
    _, kw = quick["moment"][0]
    assert kw["labels"] == {}
    assert kw["clamped"] is None
    (((_, layers), kw),) = quick["moments"]
    assert [states.shape[1] for states in layers.values()] == [12, 9, 7]
    assert kw["notes"] is None


def test_a_net_of_pooled_maps_generates_from_unseen_images(tmp_path, monkeypatch, quick):
    """By Gibbs sampling in its top RBM, and a pass down through the blocks."""
    low = convolutional.init_params(jax.random.key(0), (8, 8, 1), 4, 3, block=2)
    shape = convolutional.pooled_shape(low)
    net = dbn.stack((low, convolutional.init_params(jax.random.key(1), shape, 5, 2, block=2)))
    shown = []
    monkeypatch.setattr(generate, "_CHAIN_STEPS", (0, 1, 4))
    draw = figures.chains
    monkeypatch.setattr(figures, "chains", lambda x, **kw: shown.append(x) or draw(x, **kw))
    path = finished_runs.save(tmp_path / "net", net, small_convolutional())
    generate.run(generate.Settings(pretrained=path), str(tmp_path / "run"))
    assert {path.name for path in (tmp_path / "run/figures").iterdir()} == UNLABELLED_PICTURES
    (frames,) = shown
    assert frames.shape == (3, 8, 8, 8)
    dataset, _ = DIGITS.load()
    images = dataset.pictures(dataset.test.spread(8).images)
    np.testing.assert_allclose(frames[0], images, rtol=1e-6)
    # With weights this small, pixels are at their biases, whatever is above them.
    np.testing.assert_allclose(frames[1:], 0.5, atol=0.15)
    (((_, layers), _),) = quick["moments"]
    assert [states.shape[1] for states in layers.values()] == [3 * 3 * 4, 2 * 2 * 5]


def test_chains_start_at_real_images_of_other_classes(dataset):
    """A net of one layer, so that the features are the pixels."""
    net = dbn.stack((label_units.init_params(jax.random.key(0), 64, 5),))
    _, transform = data.binarise(dataset, "none")
    labels = np.repeat(np.arange(10), 30)

    def begin(name, seed=1):
        return generate.start(jax.random.key(seed), name, net, dataset, transform, labels)

    for name in generate.STARTS:
        x, began = begin(name)
        np.testing.assert_array_equal(x[:, 64:], np.eye(10)[labels])
        assert (began is not None) == (name == "images")
        assert np.abs(begin(name, 2)[0] - x).max() > 0.1
    x, began = begin("images")
    assert not (began == labels).any()
    assert len(set(began)) == 10
    known = {row.tobytes(): label for row, label in
             zip(dataset.train.images, dataset.train.labels, strict=True)}  # fmt: skip
    rows = np.round(np.asarray(x[:, :64]) * dataset.scale).astype(dataset.train.images.dtype)
    assert [known[row.tobytes()] for row in rows] == list(began)
    noise, _ = begin("noise")
    on = np.asarray(noise[:, :64]).mean()  # 19,200 pixels: standard error 0.0036
    assert set(np.unique(noise[:, :64])) == {0.0, 1.0}
    assert abs(on - 0.5) < 5 * 0.0036


def test_the_sheets_steps_are_among_those_of_the_animation():
    assert set(movies._MIND_STEPS) <= set(np.cumsum(movies._MIND_INTERVALS))
