"""Maps of codes: what is left on disk, that labels do not matter, resumption, bad input."""

import dataclasses
import json
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import networks, training
from dbn_jax.embedding import affinities, objective, pca, sne
from experiments import embed_codes, train_autoencoder
from experiments.common import shared
from experiments.embed_codes import Settings
from tests import finished_runs
from tests.experiments.test_evaluate import rbm_run

DIGITS = shared.DataSettings(dataset="digits")
QUICK = {"num_images": 120, "perplexity": 10.0, "num_steps": 100}


@pytest.fixture(scope="module")
def model():
    return networks.init_autoencoder(jax.random.key(5), (64, 20, 6))


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, model):
    """The workdir of an autoencoder that has hardly learnt."""
    settings = train_autoencoder.Settings(data=DIGITS, hidden_sizes=(20, 6))
    return finished_runs.save(
        tmp_path_factory.mktemp("autoencoder"), model, settings, "train_autoencoder"
    )


def test_a_whole_workdir(tmp_path, pretrained, model, capsys):
    settings = Settings(pretrained, **QUICK, seed=3)
    summary = embed_codes.run(settings, tmp_path / "run")
    found = summary["results"]
    assert {k for k in found if k.startswith("neighbour_error_")} == {
        f"neighbour_error_{space}" for space in ("pixels", "codes", "pca", "map_codes", "map_pca")
    }
    assert all(0 < found[k] < 0.9 for k in found if k.startswith("neighbour_error_"))
    assert found["neighbour_error_pixels"] < 0.2
    assert (found["split"], found["num_images"], found["num_components"]) == ("test", 120, 6)
    assert found["peak_memory_bytes"] > 1e7
    assert found["seconds_codes"] > 0
    assert {path.stem for path in (tmp_path / "run/figures").iterdir()} == {
        "maps", "thumbnails", "curves",
    }  # fmt: skip

    # The maps are those of `unisne`, which sees no label; the objective is theirs.
    dataset, transform = DIGITS.load()
    images = jnp.asarray(dataset.test.images[:120])
    pixels = transform(jax.random.key(0), images)
    train = transform(jax.random.key(0), jnp.asarray(dataset.train.images))
    spaces = {
        "codes": model.encode(pixels),
        "pca": pca.encode(pca.fit(train, 6), pixels),
    }
    key = jax.random.split(jax.random.key(3), 3)[0]
    method = sne.Method(background=sne.UNI_SNE.background, num_steps=100)
    with np.load(tmp_path / "run/maps.npz") as maps:
        np.testing.assert_array_equal(maps["labels"], dataset.test.labels[:120])
        for i, (name, points) in enumerate(spaces.items()):
            map_key = jax.random.fold_in(key, i)
            expected = sne.embed(map_key, points, perplexity=10.0, method=method)
            np.testing.assert_allclose(maps[name], expected, rtol=1e-2, atol=1e-2)
            p = affinities.joint_probabilities(points, 10.0)
            value = objective.divergence(expected, p, method.background, kernel=method.kernel)
            lines = (tmp_path / f"run/metrics_{name}.csv").read_text().splitlines()
            assert len(lines) == 4  # the header, and updates 0, 50, 100
            assert found[f"objective_{name}"] == pytest.approx(float(value), rel=1e-3)

    # Done is done; other settings are refused.
    assert embed_codes.run(settings, tmp_path / "run") == summary
    assert "done already" in capsys.readouterr().out
    other = dataclasses.replace(settings, perplexity=12.0)
    with pytest.raises(ValueError, match=r"--perplexity: was 10\.0, now 12\.0"):
        embed_codes.run(other, tmp_path / "run")


@pytest.mark.parametrize("method", ["sne", "tsne"])
@pytest.mark.usefixtures("undrawn")
def test_other_methods(tmp_path, pretrained, method):
    settings = Settings(pretrained, **QUICK | {"num_steps": 50}, method=method, start="pca")
    assert np.isfinite(embed_codes.run(settings, tmp_path)["results"]["objective_pca"])


@pytest.mark.usefixtures("undrawn")
def test_a_killed_run_goes_on_to_the_same_maps(tmp_path, pretrained, monkeypatch):
    settings = Settings(pretrained, **QUICK)
    whole = embed_codes.run(settings, tmp_path / "whole")["results"]
    real, looks = sne.state_objective, []

    def killed(state, p, *, method):
        looks.append(int(state.step))
        if len(looks) in (2, 5):  # in the middle of each map
            signal.raise_signal(signal.SIGTERM)
        return real(state, p, method=method)

    monkeypatch.setattr(sne, "state_objective", killed)
    for _ in range(2):
        with pytest.raises(training.Interrupted):
            embed_codes.run(settings, tmp_path / "killed", checkpoint_seconds=0.0)
    again = embed_codes.run(settings, tmp_path / "killed")["results"]
    assert looks == [0, 50, 100, 0, 50, 100]  # nothing was done twice
    for name, value in whole.items():
        if not name.startswith(("seconds", "peak")):
            assert again[name] == value, name
    with np.load(tmp_path / "whole/maps.npz") as a, np.load(tmp_path / "killed/maps.npz") as b:
        for name in a.files:
            np.testing.assert_array_equal(a[name], b[name])
    flags = json.loads((tmp_path / "killed/summary.json").read_text())["flags"]
    assert flags["num_steps"] == "100"


def test_bad_input_is_refused_before_any_work(tmp_path, pretrained):
    with pytest.raises(ValueError, match=r"--num_steps=70: it must be a multiple of 50"):
        Settings("a", num_steps=70)
    with pytest.raises(ValueError, match=r"--num_images=9999, but there are \d+ test images"):
        embed_codes.run(Settings(pretrained, num_images=9999), tmp_path / "run")
    with pytest.raises(ValueError, match=r"perplexity is 30, .* each of 20 points has 19"):
        embed_codes.run(Settings(pretrained, num_images=20), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_programs_runs_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no finished run"):
        embed_codes.run(Settings(str(tmp_path / "nowhere")), tmp_path / "run")
    with pytest.raises(ValueError, match="made by train_rbm; expected train_autoencoder"):
        embed_codes.run(Settings(rbm_run(tmp_path / "rbm")), tmp_path / "run")
    assert not (tmp_path / "run").exists()
