"""classify_features: what it learns from, what chooses C, that the test set is looked at once."""

import dataclasses

import jax
import numpy as np
import pytest
from sklearn.svm import LinearSVC

from dbn_jax import convolutional, data, dbn, rbm
from experiments import classify_features
from tests import finished_runs
from tests.random_models import at_random
from tests.small_jobs import DIGITS, small_convolutional


def net():
    keys = jax.random.split(jax.random.key(0))
    low = convolutional.init_params(keys[0], (8, 8, 1), 6, 3, block=2)
    return dbn.stack((low, convolutional.init_params(keys[1], (3, 3, 6), 5, 2, block=2)))


@pytest.fixture(scope="module")
def run_of(tmp_path_factory):
    """Workdirs of nets with random filters, that held images out or did not."""
    folder, model = tmp_path_factory.mktemp("nets"), at_random(0, net)
    validated = dataclasses.replace(DIGITS, num_validation=300)
    return {
        "all": finished_runs.save(folder / "all", model, small_convolutional()),
        "validated": finished_runs.save(
            folder / "validated", model, small_convolutional(data=validated)
        ),
        "dense": finished_runs.random_net(folder / "dense", (30, 20), weight_scale=0.3),
    }


def run(path, **settings):
    settings = classify_features.Settings(**settings)
    return classify_features.run(settings, str(path))["results"]


def features(model, images):
    """Pooled probabilities of both layers, in numpy."""
    low, high = model.layers
    v = images.astype(np.float32) / 255
    h = np.asarray(low.hidden.pool(rbm.hidden_mean(low, v)))
    return h, np.asarray(high.hidden.pool(rbm.hidden_mean(high, h)))


@pytest.mark.parametrize(
    ("changes", "chosen"), [({}, (0, 1)), ({"layers": (2,)}, (1,)), ({"layers": (2, 1)}, (1, 0))]
)
def test_it_learns_the_features_of_all_images_with_the_best_c(run_of, tmp_path, changes, chosen):
    """By scikit-learn alone, again."""
    results = run(tmp_path, pretrained=run_of["validated"], **changes)
    images = data.load("digits", num_validation=300)
    model = at_random(0, net)

    def x(split):
        found = features(model, split.images)
        return np.concatenate([found[i] for i in chosen], axis=1)

    known = np.concatenate([x(images.train), x(images.validation)])
    labels = np.concatenate([images.train.labels, images.validation.labels])
    mean = known.mean(axis=0)
    length = np.sqrt(np.mean(np.sum((known - mean) ** 2, axis=1)))
    known, asked = (known - mean) / length, (x(images.test) - mean) / length
    count = len(images.train)
    errors = {}
    for cost in (0.01, 0.1, 1.0, 10.0, 100.0):
        machine = LinearSVC(C=cost, dual=False).fit(known[:count], labels[:count])
        errors[cost] = np.mean(machine.predict(known[count:]) != labels[count:])
    best = min(errors, key=errors.get)
    assert results["chosen"] == [[best]]
    assert results["error_rate_validation"] == pytest.approx(errors[best])
    machine = LinearSVC(C=best, dual=False).fit(known, labels)
    error = np.mean(machine.predict(asked) != images.test.labels)
    assert results["error_rate"] == pytest.approx(error, abs=2 / len(images.test))
    assert results["num_features"] == known.shape[1]
    assert error < 0.7  # 0.9 is chance


def test_windows_average_maps_and_roots_are_taken_after_that(run_of, tmp_path):
    model, images = at_random(0, net), data.load("digits").test.images[:3]
    settings = classify_features.Settings(
        pretrained=run_of["all"], layers=(1,), window=2, root=True
    )
    found = classify_features._features(
        lambda key, x: x / 255, settings, model, None, images.astype(np.float32)
    )
    maps = features(model, images)[0].reshape(3, 3, 3, 6)
    windows = [maps[:, i : i + 2, j : j + 2].mean((1, 2)) for i in (0, 1) for j in (0, 1)]
    np.testing.assert_allclose(found, np.sqrt(np.concatenate(windows, axis=1)), rtol=1e-5)
    results = run(tmp_path, pretrained=run_of["all"], layers=(1,), window=2, root=True)
    assert results["num_features"] == 4 * 6


@pytest.mark.parametrize("name", ["logistic", "rbf_svm", "least_squares"])
def test_other_classifiers_recognise(run_of, tmp_path, name):
    options = {} if name == "logistic" else {"components": 20 if name == "rbf_svm" else 300}
    results = run(tmp_path, pretrained=run_of["dense"], classifier=name, **options)
    assert results["num_features"] == 50
    assert results["error_rate"] < 0.15


def test_one_candidate_learns_all_images_and_needs_none_to_choose(run_of, tmp_path):
    results = run(
        tmp_path,
        pretrained=run_of["dense"],
        classifier="rbf_svm",
        components=20,
        costs=(10.0,),
        gammas=(0.5,),
    )
    assert results["chosen"] == [[10.0, 0.5]]
    assert "error_rate_validation" not in results
    assert results["error_rate"] < 0.15


def test_random_weights_have_the_mean_and_variance_of_each_filter():
    model = at_random(0, net)
    redrawn = classify_features._with_random_weights(jax.random.key(3), model)
    for old, new in zip(model.layers, redrawn.layers, strict=True):
        jax.tree.map(
            np.testing.assert_array_equal, (old.hidden, old.visible), (new.hidden, new.visible)
        )
        x, y = (
            np.asarray(layer.weights.filters).reshape(-1, old.hidden.bias.size)
            for layer in (old, new)
        )
        z = (y - x.mean(0)) / x.std(0)
        assert abs(z.mean()) < 5 / np.sqrt(z.size)
        assert abs(z.std() - 1) < 5 / np.sqrt(2 * z.size)
        assert not np.any(x == y)


def test_pixels_alone(run_of, tmp_path):
    results = run(tmp_path, pretrained=run_of["all"], raw=True)
    assert results["num_features"] == 64
    assert results["error_rate"] < 0.15


def test_few_labels_are_drawn_anew_each_time(run_of, tmp_path, monkeypatch):
    drawn, classify = [], classify_features._classify

    def watch(settings, x, labels, learnt, validation):
        drawn.append((learnt, validation))
        return classify(settings, x, labels, learnt, validation)

    monkeypatch.setattr(classify_features, "_classify", watch)
    results = run(tmp_path, pretrained=run_of["validated"], num_labels=100, draws=3)
    assert [(len(a), len(b)) for a, b in drawn] == [(80, 20)] * 3
    both = [np.concatenate(parts) for parts in drawn]
    assert all(len(set(rows)) == 100 for rows in both)
    assert max(rows.max() for rows in both) >= 1133  # validation images of the run count too
    assert len({tuple(sorted(rows)) for rows in both}) == 3
    errors = results["error_rates"]
    assert len(errors) == len(results["chosen"]) == 3
    assert results["error_rate"] == pytest.approx(np.mean(errors))
    assert results["error_rate_standard_deviation"] == pytest.approx(np.std(errors, ddof=1))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layers": (1, 3)}, "^--layers=1,3, but the net of .*/all has layers 1 to 2; choose of "),
        (
            {"window": 2},
            "^--window=2, but layer 2 has maps of 1×1: choose a smaller one, or --layer",
        ),
        ({"num_labels": 9000}, "^--num_labels=9000, but .* has 1433 labelled images beside those "),
        ({"num_validation": 1433}, "^--num_validation=1433 of 1433 labelled .* leaves none to lea"),
        ({"num_labels": 30, "num_validation": 30}, "^--num_validation=30 of 30 labelled images "),
    ],
)
def test_settings_that_do_not_fit(run_of, tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        run(tmp_path / "run", pretrained=run_of["all"], **changes)
    assert not (tmp_path / "run").exists()


def test_windows_of_dense_layers(run_of, tmp_path):
    with pytest.raises(ValueError, match=r"^--window=2 averages over places, and layer 1 of"):
        run(tmp_path / "run", pretrained=run_of["dense"], window=2)


def test_images_of_one_class(tmp_path):
    settings = small_convolutional(data=dataclasses.replace(DIGITS, classes=(3,)))
    path = finished_runs.save(tmp_path / "net", at_random(0, net), settings)
    with pytest.raises(ValueError, match="are all of class 3: a classifier needs two classes; tak"):
        run(tmp_path / "run", pretrained=path)
