"""The patches' command: what it leaves on disk, its figures, resumption."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import model_file, rbm, training
from dbn_jax.data import patches
from dbn_jax.likelihood import partition
from experiments import train_patches
from tests.resumption import broken_and_resumed

TINY = {
    "size": 6,
    "num_train": 2000,
    "num_test": 200,
    "num_components": 30,
    "num_hidden": 8,
    "epochs": 3,
    "max_mixture": 2,
    "ais_steps": 200,
    "ais_chains": 50,
    "reverse_patches": 20,
    "sample_steps": 5,
}
# Standard errors that an estimate may be off: a false alarm in 30,000 runs or so.
_ERRORS = 4


pytestmark = pytest.mark.usefixtures("implicit_promotion")


def test_it_leaves_a_whole_workdir(tmp_path, monkeypatch):
    settings = train_patches.Settings(**TINY)
    summary = train_patches.run(settings, str(tmp_path))
    results = summary["results"]
    assert {p.stem for p in (tmp_path / "figures").iterdir()} == {
        "features", "features_in_grey_levels", "gabor_functions", "samples", "curves"
    }  # fmt: skip
    params = model_file.load(tmp_path / "model.npz")
    assert params.weights.shape == (30, 8)
    # The likelihoods again: of the RBM by enumeration, of the Gaussian by its formula.
    data = patches.load(size=6, num_train=2000, num_validation=200, num_test=200)
    with np.load(tmp_path / "whitening.npz") as arrays:
        whitening = patches.Whitening(**{k: jnp.asarray(v) for k, v in arrays.items()})
    train, test = (whitening.whiten(jnp.asarray(x)) for x in (data.train, data.test))
    log_z = partition.exact_log_partition(params)
    log_z_error = results["log_z_standard_error"]
    assert abs(results["log_z"] - float(log_z)) < _ERRORS * log_z_error + 1e-3
    exact = float(jnp.mean(partition.log_likelihood(params, test, log_z)))
    assert abs(results["log_likelihood"] - exact) < _ERRORS * log_z_error + 1e-3
    assert (
        results["log_likelihood_reverse"]
        < exact + _ERRORS * (results["log_likelihood_reverse_standard_error"])
    )
    z, x = (np.asarray(part, np.float64) for part in (test, train))
    mean, cov = x.mean(axis=0), np.cov(x, rowvar=False, bias=True)
    distance = np.sum((z - mean) @ np.linalg.inv(cov) * (z - mean), axis=1)
    log_p = -0.5 * (distance + np.linalg.slogdet(cov)[1] + 30 * np.log(2 * np.pi))
    assert results["log_likelihood_gaussian"] == pytest.approx(log_p.mean(), abs=0.1)
    error = log_p.std(ddof=1) / np.sqrt(200)
    assert results["log_likelihood_gaussian_standard_error"] == pytest.approx(error, rel=0.02)
    assert results["log_likelihood_mixture"] > results["log_likelihood_gaussian"] + 1
    assert results["mixture_components"] == 2
    assert list(results["mixture_validation_log_likelihoods"]) == ["1", "2"]
    assert 0 <= results["oriented_gabor_share"] <= results["gabor_share"] <= 1
    table = training.read_metrics(tmp_path / "metrics_rbm.csv")
    assert table["eval_log_likelihood_train"][-1] > table["eval_log_likelihood_train"][0]
    assert table["eval_sigma"][-1] < table["eval_sigma"][0]
    monkeypatch.setattr(train_patches, "train_rbm", None)
    assert train_patches.run(settings, str(tmp_path)) == summary


def test_hidden_units_start_with_the_odds_asked_for():
    settings = train_patches.Settings(**TINY | {"start_share": 0.03})
    params = train_patches.start(jax.random.key(0), 30, settings)
    # With only one hidden unit, by the definition of the joint distribution.
    for unit in range(8):
        alone = rbm.RBM(
            params.weights[:, unit : unit + 1],
            params.visible,
            type(params.hidden)(params.hidden.bias[unit : unit + 1]),
        )
        off = params.visible.cumulant(jnp.zeros(30))
        assert float(jnp.exp(partition.exact_log_partition(alone) - off)) == pytest.approx(
            1.03, rel=1e-4
        )
    assert float(jnp.std(params.weights)) == pytest.approx(np.sqrt(2 / 38), rel=0.2)


def test_sigma_learns_a_tenth_as_quickly():
    params = train_patches.start(jax.random.key(0), 30, train_patches.Settings(**TINY))
    optimizer = train_patches._optimizer(0.5, 10)
    ones = jax.tree.map(jnp.ones_like, params)
    updates, _ = optimizer.update(ones, optimizer.init(params), params)
    np.testing.assert_allclose(updates.visible.log_sigma, -0.05, rtol=1e-5)
    for other in (updates.weights, updates.visible.bias, updates.hidden.bias):
        np.testing.assert_allclose(other, -0.5, rtol=1e-5)


@pytest.mark.usefixtures("undrawn")
def test_broken_run_goes_on_to_the_same_bits(tmp_path):
    settings = train_patches.Settings(**TINY | {"epochs": 4, "patience": 3})
    summary = broken_and_resumed(tmp_path, train_patches, settings)
    scores = training.read_metrics(tmp_path / "whole/metrics_rbm.csv")["eval_log_likelihood"]
    assert summary["early_stopping"]["rbm"]["kept_epoch"] == scores.argmax()
