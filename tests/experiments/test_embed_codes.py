"""Maps of codes: what is left on disk, that labels do not matter, resumption."""

import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import networks, training
from dbn_jax.embedding import affinities, objective, pairwise, pca, sne
from experiments import embed_codes, train_autoencoder
from experiments.common import runs
from experiments.embed_codes import Settings
from tests import finished_runs
from tests.small_jobs import DIGITS

QUICK = {"num_images": 120, "perplexity": 10.0, "num_steps": 100}


@pytest.fixture(scope="module")
def model():
    return networks.init_autoencoder(jax.random.key(5), (64, 20, 6))


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, model):
    """The workdir of an autoencoder that has hardly learnt."""
    settings = train_autoencoder.Settings(data=DIGITS, hidden_sizes=(20, 6))
    return finished_runs.save(tmp_path_factory.mktemp("autoencoder"), model, settings)


def test_a_whole_workdir(tmp_path, pretrained, model, monkeypatch):
    settings = Settings(pretrained=pretrained, **QUICK, seed=3)
    summary = embed_codes.run(settings, str(tmp_path / "run"))
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
    test = dataset.test.spread(120)
    pixels, train = (transform(None, jnp.asarray(x.images)) for x in (test, dataset.train))
    spaces = {"codes": model.encode(pixels), "pca": pca.encode(pca.fit(train, 6), pixels)}
    key = jax.random.split(runs.Run(settings, None).key, 3)[0]
    method = sne.Method(background=sne.UNI_SNE.background, num_steps=100)
    with np.load(tmp_path / "run/maps.npz") as maps:
        np.testing.assert_array_equal(maps["labels"], test.labels)
        for i, (name, points) in enumerate(spaces.items()):
            map_key = jax.random.fold_in(key, i)
            expected = sne.embed(map_key, points, perplexity=10.0, method=method)
            np.testing.assert_allclose(maps[name], expected, rtol=1e-2, atol=1e-2)
            p = affinities.joint_probabilities(points, 10.0)
            value = objective.divergence(expected, p, method.background, kernel=method.kernel)
            lines = (tmp_path / f"run/metrics_{name}.csv").read_text().splitlines()
            assert len(lines) == 4  # the header, and updates 0, 50, 100
            assert found[f"objective_{name}"] == pytest.approx(float(value), rel=1e-3)

    # Done is done.
    monkeypatch.setattr(pca, "fit", None)
    assert embed_codes.run(settings, str(tmp_path / "run")) == summary


@pytest.mark.parametrize("method", ["sne", "tsne"])
@pytest.mark.usefixtures("undrawn")
def test_other_methods(tmp_path, pretrained, method):
    quick = QUICK | {"num_steps": 50, "method": method, "start": "pca"}
    settings = Settings(pretrained=pretrained, **quick)
    assert np.isfinite(embed_codes.run(settings, str(tmp_path))["results"]["objective_pca"])


@pytest.mark.usefixtures("undrawn")
def test_held_out_images_are_put_into_maps_of_the_others(tmp_path, pretrained):
    quick = QUICK | {"images": "train", "pixels": True, "forces": "fast", "num_images": 300}
    found = embed_codes.run(Settings(pretrained=pretrained, **quick), str(tmp_path))["results"]
    assert (found["split"], found["num_images"]) == ("training", 300)
    dataset, transform = DIGITS.load()
    own, new = dataset.train.spread(300), dataset.test
    pixels, new_pixels = (transform(None, jnp.asarray(split.images)) for split in (own, new))
    method = sne.Method(background=sne.UNI_SNE.background, num_steps=100)
    with np.load(tmp_path / "maps.npz") as maps:
        assert maps["pixels"].shape == (300, 2)
        assert maps["codes_placed"].shape == (len(new), 2)
        positions = jnp.asarray(maps["pixels"])
        expected = sne.place(new_pixels, pixels, positions, perplexity=10.0, method=method)
        np.testing.assert_allclose(maps["pixels_placed"], expected, rtol=1e-3, atol=1e-3)
    given = {"num_neighbours": 1, "labels": own.labels, "wanted": new.labels}
    for points, queries, name in (
        (pixels, new_pixels, "pixels_placed"),
        (positions, expected, "map_pixels_placed"),
    ):
        error = pairwise.classification_error(points, queries=queries, **given)
        assert found[f"neighbour_error_{name}"] == pytest.approx(error, abs=0.02)
        assert error < 0.4


@pytest.mark.usefixtures("undrawn")
def test_all_images_are_those_for_training_and_the_held_out_ones(tmp_path, pretrained, monkeypatch):
    monkeypatch.setattr(embed_codes, "_MANY", 100)
    quick = {"images": "all", "perplexity": 10.0, "num_steps": 50, "forces": "fast"}
    found = embed_codes.run(Settings(pretrained=pretrained, **quick), str(tmp_path))["results"]
    dataset, _ = DIGITS.load()
    assert found["num_images"] == len(dataset.train) + len(dataset.test)
    with np.load(tmp_path / "maps.npz") as maps:
        labels = np.append(dataset.train.labels, dataset.test.labels)
        np.testing.assert_array_equal(maps["labels"], labels)
    with pytest.raises(
        ValueError, match=r"--num_images=9000, but there are \d+ training and held-out"
    ):
        embed_codes.run(
            Settings(pretrained=pretrained, images="all", num_images=9000), str(tmp_path / "b")
        )


@pytest.mark.usefixtures("undrawn")
def test_a_killed_run_goes_on_to_the_same_maps(tmp_path, pretrained, monkeypatch):
    def run(name):
        settings = Settings(pretrained=pretrained, **QUICK, checkpoint_seconds=0.0)
        return embed_codes.run(settings, str(tmp_path / name))["results"]

    whole = run("whole")
    real, looks = sne.state_objective, []

    def killed(state, p, *, method):
        looks.append(int(state.step))
        if len(looks) in (2, 5):  # in the middle of each map
            signal.raise_signal(signal.SIGTERM)
        return real(state, p, method=method)

    monkeypatch.setattr(sne, "state_objective", killed)
    for _ in range(2):
        with pytest.raises(training.Interrupted):
            run("killed")
    again = run("killed")
    assert looks == [0, 50, 100, 0, 50, 100]  # nothing was done twice
    for name, value in whole.items():
        if not name.startswith(("seconds", "peak")):
            assert again[name] == value, name
    with np.load(tmp_path / "whole/maps.npz") as a, np.load(tmp_path / "killed/maps.npz") as b:
        for name in a.files:
            np.testing.assert_array_equal(a[name], b[name])
