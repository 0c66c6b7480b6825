"""train_convolutional: what layers are made of and leave, layers of other runs, resumption."""

import dataclasses
import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import convolutional, data, dbn, learning, rbm, training, units
from experiments import train_convolutional
from experiments.common import memory, pretraining, runs
from experiments.common.rbm_settings import ConvolutionalSettings
from experiments.pictures import convolutional as pictures
from experiments.pictures import gabor
from tests import binaries, finished_runs
from tests.data.test_idx import idx_bytes
from tests.resumption import broken_and_resumed
from tests.small_jobs import DIGITS, load_net, small_convolutional

pytestmark = pytest.mark.usefixtures("implicit_promotion")


def run(settings, path):
    return train_convolutional.run(settings, str(path))["results"]


@pytest.fixture(scope="module")
def two_layers(tmp_path_factory):
    """The workdir of a run whose pictures were not drawn."""
    path = tmp_path_factory.mktemp("below") / "run"
    with pytest.MonkeyPatch.context() as patch, jax.numpy_dtype_promotion("standard"):
        patch.setattr(pictures, "draw", lambda *args: ({}, {}))
        run(small_convolutional(), path)
    return path


def test_it_leaves_a_whole_workdir(tmp_path):
    results = run(small_convolutional(), tmp_path)
    drawn = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    kinds = ("features", "preferred", "maps", "curves_layer")
    assert drawn == {"reconstructions"} | {f"{kind}_{i}" for kind in kinds for i in (1, 2)}
    first, second = load_net(tmp_path).layers
    assert first.weights.map_shape == (6, 6, 6)
    assert second.weights.map_shape == (2, 2, 5)
    assert isinstance(second.hidden, units.MaxPooled)
    # The results again, of all images at once.
    dataset, transform = DIGITS.load()
    v = data.apply(transform, jax.random.key(0), dataset.test.images)
    for i, net in enumerate((dbn.stack((first,)), dbn.stack((first, second))), 1):
        error = jnp.mean(jnp.sum((v - dbn.reconstruct(net, v)) ** 2, axis=-1))
        assert results[f"reconstruction_error_layer_{i}"] == pytest.approx(float(error), rel=1e-4)
        active = jnp.mean(dbn.up_pass(net, v)[-1])
        assert results[f"hidden_activity_layer_{i}"] == pytest.approx(float(active), rel=1e-4)
    # It learnt.
    for i in (1, 2):
        errors = training.read_metrics(tmp_path / f"metrics_layer_{i}.csv")
        assert errors["eval_reconstruction_error"][-1] < errors["eval_reconstruction_error"][0]


@pytest.fixture
def layers(monkeypatch):
    """Of each layer that runs train, by name: the arguments; nothing is learnt or drawn."""
    seen = {}

    def watch(run, name, settings, rows, held_out, layer, **options):
        params = layer(jax.random.key(0), rows.shape[1])
        seen[name] = options | {"rows": rows, "layer": params}
        return rbm.init_state(params, settings.make_optimizer(10))

    monkeypatch.setattr(pretraining, "train_layer", watch)
    monkeypatch.setattr(pretraining, "layer_curves", lambda *args, **options: {})
    monkeypatch.setattr(pictures, "draw", lambda *args: ({}, {}))
    return seen


def test_what_layers_are_made_of_and_learn_from(tmp_path, layers):
    learning = dataclasses.replace(small_convolutional().learning, start_share=0.01)
    settings = small_convolutional(
        learning=learning, visible="gaussian_learnt", border="same", unshared=True, seed=5
    )
    run(settings, tmp_path)
    first, second = layers["layer_1"], layers["layer_2"]
    assert [x["seed"] for x in (first, second)] == [training.seed_of_phase(5, i) for i in (0, 1)]
    assert isinstance(first["visible"].each, units.Gaussian)
    assert isinstance(second["visible"].each, units.Bernoulli)
    assert first["layer"].weights.map_shape == (8, 8, 6)
    assert isinstance(first["layer"].weights, convolutional.LocalConnections)
    np.testing.assert_allclose(first["layer"].hidden.bias, np.log(0.01), rtol=1e-6)
    dataset, _ = DIGITS.load()
    np.testing.assert_array_equal(first["rows"], dataset.train.images)
    assert second["rows"].shape == (len(dataset.train), 4 * 4 * 6)


def test_photographs_have_gaussian_pixels_whose_edges_are_counted(tmp_path):
    settings = small_convolutional(
        data=dataclasses.replace(DIGITS, whiten=True),
        visible="gaussian",
        sigma=0.5,
        maps=(6,),
        filter_sizes=(5,),
        blocks=(2,),
    )
    results = run(settings, tmp_path)
    (layer,) = load_net(tmp_path).layers
    assert layer.visible.each.scale == 0.5
    found, _, _ = gabor.describe(jnp.moveaxis(layer.weights.filters[..., 0, :], -1, 0))
    share = np.mean(np.asarray(found.correlation) > 0.8)
    assert results["gabor_share"] == pytest.approx(share)


def test_nets_of_another_learner_than_cd_fill_in_halves(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "draw", lambda *args: ({}, {}))
    learning = dataclasses.replace(small_convolutional().learning, learner="pcd", epochs=1)
    run(small_convolutional(learning=learning), tmp_path)
    drawn = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert drawn == {"halves", "curves_layer_1", "curves_layer_2"}


def test_rates_are_per_place():
    """Of the mean gradient of all places, a tenth is gone down."""
    settings = ConvolutionalSettings(
        epochs=1, learning_rate=0.1, weight_decay=0.5, momentum_epochs=0, final_momentum=0.0
    )
    params = convolutional.init_params(jax.random.key(0), (8, 8, 1), 3, 3)
    optimizer = settings.make_optimizer(10)
    assert optimizer is settings.make_optimizer(10)  # so that it compiles once
    ones = jax.tree.map(jnp.ones_like, params)
    found, _ = optimizer.update(ones, optimizer.init(params), params)
    expected = -0.1 * (1 / 36 + 0.5 * params.weights.filters)
    np.testing.assert_allclose(found.weights.filters, expected, rtol=1e-5)
    np.testing.assert_allclose(found.hidden.bias, -0.1 / 36, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, learning.CD(sample_visible=False)),
        ({"learner": "pcd", "num_chains": 7}, learning.PCD(7)),
        (
            {"sparsity_target": 0.02, "sparsity_cost": 3.0},
            learning.Sparse(learning.CD(sample_visible=False), 0.02, 3.0),
        ),
        (
            {"sparsity_target": 0.02, "sparsity_through": "biases"},
            learning.Sparse(
                learning.CD(sample_visible=False), 0.02, 0.1, decay=0.0, bias_only=True
            ),
        ),
    ],
)
def test_settings_make_their_learner(changes, expected):
    assert ConvolutionalSettings(**changes).make_learner() == expected


@pytest.mark.usefixtures("undrawn")
def test_layers_of_another_run_are_kept_on_images_of_another_size(tmp_path, two_layers):
    """Its first layer, from 8×8 images, on 6×6 ones; only what is above is trained."""
    smaller = dataclasses.replace(DIGITS, image_size=(6,))
    settings = small_convolutional(
        data=smaller,
        below=str(two_layers),
        keep_layers=1,
        maps=(4,),
        filter_sizes=(2,),
        blocks=(1,),
    )
    run(settings, tmp_path / "run")
    first, second = load_net(tmp_path / "run").layers
    kept = load_net(two_layers).layers[0]
    np.testing.assert_array_equal(first.weights.filters, kept.weights.filters)
    np.testing.assert_array_equal(first.hidden.bias, kept.hidden.bias)
    assert first.weights.map_shape == (4, 4, 6)
    assert second.weights.map_shape == (1, 1, 4)
    names = {path.name for path in (tmp_path / "run").glob("metrics_*")}
    assert names == {"metrics_layer_2.csv"}
    summary = training.read_summary(tmp_path / "run")
    assert summary["settings"]["below"] == str(two_layers)


def test_a_run_knows_the_model_that_it_stands_on(two_layers, tmp_path):
    """By its checksum: with another one below, it would refuse to go on."""
    run = runs.open(small_convolutional(below=str(two_layers)), str(tmp_path))
    with run.training("layer_3", epochs=1, batch_size=10) as arguments:
        digest = hashlib.sha256((two_layers / "model.npz").read_bytes()).hexdigest()
        assert arguments["made_with"]["below model"] == digest[:16]


OTHER = {"maps": (4,), "filter_sizes": (2,), "blocks": (1,)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"filter_sizes": (3,)},
            "^--maps=6,5 --filter_sizes=3 --blocks=2,2: each has a number for every layer; give as "
            "many of each$",
        ),
        (
            {"filter_sizes": (9, 2)},
            "^--border=valid --maps=6,5 --filter_sizes=9,2 --blocks=2,2: layer 1: filters of 9×9 "
            "do not fit into images of 8×8: choose smaller ones, or another border$",
        ),
        (
            {"filter_sizes": (3, 3)},
            "^--border=valid --maps=6,5 --filter_sizes=3,3 --blocks=2,2: layer 2: maps of 1×1 "
            "units cannot be pooled in blocks of 2×2: choose a block, or filters and borders, such "
            "that it divides both$",
        ),
        ({"learning": ConvolutionalSettings(batch_size=9000)}, "^--batch_size=9000, but there are"),
        (
            {"data": dataclasses.replace(DIGITS, whiten=True)},
            "^--whiten makes real numbers of pixels, and --visible=bernoulli takes grey levels in ",
        ),
        (
            {"below": "here", **OTHER},
            "^--below=.*/dense was made by train_dbn; expected a run of train_convolutional$",
        ),
    ],
)
def test_settings_that_do_not_fit(tmp_path, changes, words):
    if "below" in changes:
        net = finished_runs.random_net(tmp_path / "dense", (10, 12))
        changes = changes | {"below": net}
    with pytest.raises(ValueError, match=words):
        run(small_convolutional(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"keep_layers": 3}, "--keep_layers=3, but the net of --below=.* has 2 layers; choose at "),
        ({"size": 7}, "^--below=.*: maps of 5×5 units cannot be pooled in blocks of 2×2: choose "),
        ({"colour": True}, "^--below=.*: the filters are of 1 channels, but the images have 3: "),
    ],
)
def test_layers_of_another_run_that_do_not_fit(tmp_path, two_layers, changes, words):
    images = DIGITS
    if size := changes.pop("size", None):
        images = dataclasses.replace(DIGITS, image_size=(size,))
    if changes.pop("colour", False):
        images = dataclasses.replace(DIGITS, dataset="mine", data_dir=str(_in_colour(tmp_path)))
    settings = small_convolutional(data=images, below=str(two_layers), **OTHER, **changes)
    with pytest.raises(ValueError, match=words):
        run(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_maps_of_all_images_that_memory_does_not_hold(tmp_path, monkeypatch):
    """1,433 times 3×3×6 numbers are 0.3 MB."""
    monkeypatch.setattr(memory, "physical", lambda: 250_000)
    words = "layer 2: what it sees of 1,433 images takes at least 0 GB, and this machine has 0 GB; "
    with pytest.raises(ValueError, match=f"{words}choose fewer maps below it, or larger blocks$"):
        run(small_convolutional(), tmp_path / "run")


def _in_colour(folder):
    digits = data.load("digits")
    for part, name in (("train", "train"), ("test", "t10k")):
        split = digits.splits()[part]
        images = np.repeat(split.images.reshape(-1, 8, 8, 1), 3, axis=-1)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(idx_bytes(split.labels.astype(np.uint8)))
    return folder


def test_images_in_colour_have_three_channels(tmp_path, layers):
    images = dataclasses.replace(DIGITS, dataset="mine", data_dir=str(_in_colour(tmp_path)))
    run(small_convolutional(data=images), tmp_path / "run")
    assert layers["layer_1"]["layer"].weights.filter_shape == (3, 3, 3, 6)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ["--keep_layers=1"],
            "--keep_layers=1 does nothing with --below=None; it goes with --below",
        ),
        (
            ["--sigma=2"],
            "--sigma=2.0 does nothing with --visible=bernoulli; it goes with --visible",
        ),
        (["--centring=centred"], "--centring is no flag of this command"),
        (
            ["--sparsity_target=0", "--sparsity_cost=3"],
            "--sparsity_cost=3.0 does nothing with --sparsity_target=0.0; it goes with ",
        ),
    ],
)
def test_flags_that_do_nothing(tmp_path, flags, words):
    done = binaries.run("experiments.train_convolutional", f"--workdir={tmp_path / 'run'}", *flags)
    assert words in done.stderr
    assert done.returncode


@pytest.mark.usefixtures("undrawn")
def test_broken_run_goes_on_to_the_same_bits(tmp_path):
    broken_and_resumed(tmp_path, train_convolutional, small_convolutional())
