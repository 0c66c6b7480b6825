"""The deep autoencoder's command: what it leaves on disk, its figure, resumption."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import dbn, figures, model_file, networks, training
from dbn_jax.embedding import logistic_pca
from dbn_jax.learning import backprop
from experiments import train_autoencoder
from experiments.common import pretraining
from experiments.common.rbm_settings import RBMSettings
from experiments.train_autoencoder import BackpropagationSettings
from tests import pictures
from tests.resumption import broken_and_resumed
from tests.small_jobs import DIGITS

QUICK = RBMSettings(epochs=3, batch_size=50)

pytestmark = pytest.mark.usefixtures("implicit_promotion")


def small(**changes):
    settings = train_autoencoder.Settings(
        data=DIGITS,
        learning=QUICK,
        hidden_sizes=(40, 20, 5),
        finetune=BackpropagationSettings(epochs=3),
    )
    return dataclasses.replace(settings, **changes)


@pytest.fixture
def drawn(monkeypatch):
    """Arguments of each sheet of rows that was drawn, and the sheet."""
    calls = []
    draw = figures.image_rows

    def spy(rows, **keywords):
        calls.append((rows, keywords, draw(rows, **keywords)))
        return calls[-1][-1]

    monkeypatch.setattr(figures, "image_rows", spy)
    return calls


def test_it_leaves_a_whole_workdir(tmp_path, drawn):
    settings = small()
    summary = train_autoencoder.run(settings, str(tmp_path / "run"))
    results = summary["results"]
    assert {p.stem for p in (tmp_path / "run/figures").iterdir()} == {
        "reconstructions", "curves_autoencoder", "curves_layer_1", "curves_layer_2",
        "curves_layer_3",
    }  # fmt: skip
    model = model_file.load(tmp_path / "run/model.npz")
    assert [layer.kernel[...].shape for layer in model.layers()] == [
        (64, 40), (40, 20), (20, 5), (5, 20), (20, 40), (40, 64)
    ]  # fmt: skip
    dataset, transform = DIGITS.load()
    train, v = (
        np.asarray(transform(None, jnp.asarray(part.images)), np.float64)
        for part in (dataset.train, dataset.test)
    )
    v_32 = jnp.asarray(v, jnp.float32)
    deep = np.asarray(model.decode(model.encode(v_32)), np.float64)
    error = np.sum((v - deep) ** 2, axis=-1).mean()
    assert results["reconstruction_error"] == pytest.approx(error, rel=1e-5)
    # PCA in float64.
    mean = train.mean(axis=0)
    components = np.linalg.svd(train - mean, full_matrices=False)[2][:5]
    linear = mean + (v - mean) @ components.T @ components
    error = np.sum((v - linear) ** 2, axis=-1).mean()
    assert results["reconstruction_error_pca"] == pytest.approx(error, rel=1e-4)
    logistic = logistic_pca.fit(jnp.asarray(train, jnp.float32), 5)
    best = logistic_pca.decode(logistic.model, logistic_pca.encode(logistic.model, v_32))
    error = np.sum((v - np.asarray(best, np.float64)) ** 2, axis=-1).mean()
    assert results["reconstruction_error_logistic_pca"] == pytest.approx(error, rel=1e-4)
    assert results["logistic_pca_converged"] == logistic.converged
    assert results["split"] == "test"
    table = training.read_metrics(tmp_path / "run/metrics_autoencoder.csv")
    assert table["eval_error_train"][-1] < table["eval_error_train"][0]
    np.testing.assert_allclose(
        results["reconstruction_error_train"], table["eval_error_train"][-1], rtol=1e-5
    )
    ((rows, keywords, sheet),) = drawn
    assert list(rows) == [
        "real data",
        "5-D deep autoencoder",
        "5-D logistic PCA, best codes",
        "5-D logistic PCA, linear codes",
        "5-D PCA",
    ]
    shown = [np.flatnonzero(dataset.test.labels == label)[0] for label in range(10)]
    expected = (v, deep, None, None, np.clip(linear, 0, 1))
    for images, restored in zip(rows.values(), expected, strict=True):
        if restored is not None:
            flat = np.asarray(images).reshape(10, -1)
            np.testing.assert_allclose(flat, restored[shown], atol=1e-4)
    # Linear codes: the logits of all images lie in an affine subspace of five dimensions.
    shallow = np.asarray(rows["5-D logistic PCA, linear codes"], np.float64).reshape(10, -1)
    logits = np.log(shallow) - np.log1p(-shallow)
    spectrum = np.linalg.svd(logits - logits.mean(axis=0), compute_uv=False)
    assert spectrum[4] > 1
    assert spectrum[5] < 1e-3
    assert 0 < results["reconstruction_error_linear_codes"] < np.sum(v**2, axis=-1).mean()
    assert list(keywords["notes"]) == list(rows)[1:]
    assert keywords["notes"]["5-D PCA"] == f"{results['reconstruction_error_pca']:.2f}"
    assert "averaged over all 364 test images" in pictures.words(sheet)
    pictures.assert_readable(sheet)

    assert train_autoencoder.run(settings, str(tmp_path / "run")) == summary
    assert len(drawn) == 1


@pytest.mark.usefixtures("undrawn")
def test_fine_tuning_starts_from_the_stack(tmp_path, monkeypatch):
    seen = []

    def spied(module, name):
        function = getattr(module, name)

        def spy(model):
            seen.append(model)
            return function(model)

        monkeypatch.setattr(module, name, spy)

    spied(networks, "unroll")
    spied(backprop, "split")
    data = dataclasses.replace(DIGITS, num_validation=100)
    results = train_autoencoder.run(small(data=data), str(tmp_path))["results"]
    net, start, _ = seen
    expected = backprop.split(networks.unroll(net))
    jax.tree.map(np.testing.assert_array_equal, backprop.split(start), expected)
    assert [type(layer.hidden).__name__ for layer in net.layers] == [
        "Bernoulli", "Bernoulli", "Gaussian"
    ]  # fmt: skip
    table = training.read_metrics(tmp_path / "metrics_autoencoder.csv")
    dataset, transform = data.load()
    v = transform(None, jnp.asarray(dataset.validation.images))
    error = jnp.mean(jnp.sum((v - dbn.reconstruct(net, v)) ** 2, axis=-1))
    np.testing.assert_allclose(table["eval_error"][0], error, rtol=1e-4)
    assert table["eval_error"][-1] < table["eval_error"][0]
    assert results["split"] == "validation"
    np.testing.assert_allclose(results["reconstruction_error"], table["eval_error"][-1], rtol=1e-4)


@pytest.mark.usefixtures("undrawn")
def test_the_code_learns_at_a_rate_of_its_own(tmp_path, monkeypatch):
    seen = {}
    train_layer = pretraining.train_layer

    def watch(run, name, settings, *arguments, **keywords):
        seen[name] = settings.learning_rate, keywords["seed"]
        return train_layer(run, name, settings, *arguments, **keywords)

    monkeypatch.setattr(pretraining, "train_layer", watch)
    train_autoencoder.run(small(code_learning_rate=0.002, seed=7), str(tmp_path))
    first, second, third = (training.seed_of_phase(7, i) for i in range(3))
    assert seen == {"layer_1": (0.1, first), "layer_2": (0.1, second), "layer_3": (0.002, third)}


@pytest.mark.usefixtures("undrawn")
def test_from_random_weights_and_without_logistic_pca(tmp_path, monkeypatch):
    monkeypatch.setattr(logistic_pca, "fit", None)
    settings = small(pretraining=False, logistic_pca=False)
    results = train_autoencoder.run(settings, str(tmp_path))["results"]
    names = ("reconstruction_error", "reconstruction_error_linear_codes", "logistic_pca_converged")
    assert [name in results for name in names] == [True, True, False]
    assert {p.stem for p in (tmp_path / "figures").iterdir()} == {
        "reconstructions", "curves_autoencoder"
    }  # fmt: skip
    assert not list(tmp_path.glob("metrics_layer*"))
    table = training.read_metrics(tmp_path / "metrics_autoencoder.csv")
    assert table["eval_error_train"][-1] < table["eval_error_train"][0]
    assert "eval_error" not in table
    assert np.isfinite(results["reconstruction_error"])


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("last", [5, 9], ids=["in the second layer", "in the autoencoder"])
def test_broken_run_goes_on_to_the_same_bits(tmp_path, last):
    settings = small(
        hidden_sizes=(16, 5),
        learning=dataclasses.replace(QUICK, epochs=2),
        finetune=BackpropagationSettings(epochs=4, patience=3),
        data=dataclasses.replace(DIGITS, num_validation=100),
    )
    summary = broken_and_resumed(tmp_path, train_autoencoder, settings, last)
    for phase, stop in summary["early_stopping"].items():
        errors = training.read_metrics(tmp_path / f"whole/metrics_{phase}.csv")["eval_error"]
        assert stop["kept_epoch"] == errors.argmin()


def test_weights_decay_and_biases_do_not():
    _, params = backprop.split(networks.init_autoencoder(jax.random.key(0), (6, 4, 2)))
    params = jax.tree.map(lambda x: np.asarray(x) + 1, params)
    optimizer = train_autoencoder._optimizer(0.01, 0.5, 10)
    flat = jax.tree.map(np.zeros_like, params)
    updates, _ = jax.jit(lambda: optimizer.update(flat, optimizer.init(params), params))()
    for path, update in jax.tree_util.tree_leaves_with_path(updates):
        x = functools.reduce(lambda tree, entry: tree[entry.key], path, params)
        share = 0.01 * 0.5 if path[-1].key == "kernel" else 0
        np.testing.assert_allclose(update, -share * x, rtol=1e-5)
