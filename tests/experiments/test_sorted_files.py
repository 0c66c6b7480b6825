"""A file that is sorted by class teaches and tells what a shuffled one does."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import rbm, training
from experiments import finetune_updown, train_dbn, train_rbm
from experiments.common.data_settings import DataSettings
from tests import small_jobs
from tests.data import test_idx

pytestmark = pytest.mark.usefixtures("implicit_promotion", "undrawn")

# More of each class than the monitors look at: 1,000 examples.
_OF_A_CLASS, _EXAMINED = 1500, 1000
_PARTS = {"train": _OF_A_CLASS, "t10k": 250}


def write(folder, *, is_sorted):
    """Pale images of class 0, then dark ones of class 1; or both in random order."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for part, count in _PARTS.items():
        labels = np.repeat([0, 1], count).astype(np.uint8)
        shares = np.where(labels, 0.5, 0.02)[:, None, None]
        images = np.where(rng.random((2 * count, 5, 4)) < shares, 255, 0).astype(np.uint8)
        order = np.arange(2 * count) if is_sorted else rng.permutation(2 * count)
        test_idx.write(folder, {f"{part}-images-idx3-ubyte": images[order]})
        test_idx.write(folder, {f"{part}-labels-idx1-ubyte": labels[order]})
    return DataSettings(dataset="mine", data_dir=str(folder))


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The settings of the sorted file, and of the shuffled one."""
    folder = tmp_path_factory.mktemp("files")
    return {name: write(folder / name, is_sorted=name == "sorted") for name in ("sorted", "mixed")}


def check(tables, of_one):
    """Monitored quantities of two runs agree within five standard errors of their difference."""
    for name, spread in of_one.items():
        error = spread * np.sqrt(2 / _EXAMINED)
        difference = tables["sorted"][name][-1] - tables["mixed"][name][-1]
        assert abs(difference) < 5 * error, name


def test_monitors_and_first_biases_of_an_rbm(tmp_path, sources):
    tables, first = {}, {}
    learning = dataclasses.replace(small_jobs.QUICK, epochs=8, learning_rate=0.05)
    for name, source in sources.items():
        settings = small_jobs.small_rbm(data=source, learning=learning, num_hidden=12)
        train_rbm.run(settings, str(tmp_path / name))
        tables[name] = training.read_metrics(tmp_path / name / "metrics_rbm.csv")
        first[name] = np.load(tmp_path / name / "snapshots/epoch_0.npy")
    np.testing.assert_array_equal(first["sorted"], first["mixed"])
    # At the start the weights say nothing: what differs is the first biases.
    images = sources["mixed"].load()[0].train.images / 255
    frequencies = images.mean(axis=0)
    surprise = images @ -np.log(frequencies / (1 - frequencies))
    start = {name: {k: v[:1] for k, v in table.items()} for name, table in tables.items()}
    check(start, {"eval_free_energy_train": surprise.std()})
    model = small_jobs.load_net(tmp_path / "mixed")
    energies = np.asarray(rbm.free_energy(model, jnp.asarray(images, jnp.float32)))
    assert energies.std() > 3  # of the classes: one alone would be seen
    names = ("eval_free_energy_gap", "eval_free_energy_train", "eval_free_energy")
    check(tables, dict.fromkeys(names, np.sqrt(2) * energies.std()))
    assert abs(tables["sorted"]["eval_free_energy_gap"][-1]) < 5 * energies.std() / np.sqrt(500)


def test_monitors_and_training_errors_of_a_net(tmp_path, sources):
    tables, rates = {}, {}
    changes = {"learning": small_jobs.QUICK, "top": small_jobs.QUICK_TOP, "hidden_sizes": (10, 12)}
    for name, source in sources.items():
        folder = tmp_path / name
        train_dbn.run(small_jobs.small_dbn(data=source, **changes), str(folder))
        tables[name] = [training.read_metrics(folder / f"metrics_layer_{i}.csv") for i in (1, 2)]
        tuning = finetune_updown.Settings(pretrained=str(folder), batch_size=100, epochs=1)
        finetune_updown.run(tuning, str(folder / "updown"))
        rates[name] = training.read_metrics(folder / "updown/metrics_updown.csv")
    dataset, transform = sources["mixed"].load()
    v = transform(None, jnp.asarray(dataset.train.images))
    net = small_jobs.load_net(tmp_path / "mixed")
    below = np.asarray(rbm.free_energy(net.layers[0], v))
    check({k: t[0] for k, t in tables.items()}, {"eval_free_energy_gap": np.sqrt(2) * below.std()})
    check(rates, {"eval_error_rate_train": 0.5})
