"""Models in a file."""

import functools
import hashlib
import io
import json
import os
import pathlib
import re
import subprocess
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import (
    associative_memory,
    convolutional,
    dbn,
    model_file,
    networks,
    rbm,
    temporal,
    units,
)
from dbn_jax.temporal import cells
from tests.random_models import at_random, random_net


def pair(*sizes, **types):
    return rbm.init_params(jax.random.key(0), *sizes, **types)


def convolutional_net():
    """Of 6×4 images of 2 channels: maps, which are pooled, then 3 units over what is left."""
    keys = jax.random.split(jax.random.key(0))
    low = convolutional.init_params(keys[0], (6, 4, 2), 3, 3, block=2)
    return dbn.stack((low, rbm.init_params(keys[1], low.hidden.num_pooled, 3)))


def of_sequences(kind, **options):
    """A model of three visible and two hidden units."""
    key = jax.random.key(0)
    match kind:
        case "conditional":
            return temporal.init_conditional(key, 3, 2, **options)
        case "rtrbm":
            return temporal.init_rtrbm(key, 3, 2, **options)
    return temporal.init_rnn_rbm(key, 3, 2, *cells.make(key, kind, 3, 4), **options)


MODELS = {
    "rbm": lambda: pair(3, 2, visible=units.Gaussian(sigma=0.5), hidden=units.ReLU()),
    "learnt sigma": lambda: pair(3, 2, visible=units.Gaussian(learn_sigma=True)),
    "net": lambda: random_net(0, (6, 5, 4), 3),
    "untied": lambda: dbn.untie(random_net(0, (6, 5, 4), 3)),
    "convolution": lambda: convolutional.init_params(
        jax.random.key(0), (4, 4, 2), 3, 3, block=2, visible=units.Gaussian(learn_sigma=True)
    ),
    "local connections": lambda: convolutional.init_params(
        jax.random.key(0), (4, 4, 1), 2, 3, shared=False, border="same", hidden=units.Spin()
    ),
    "convolutional net": lambda: dbn.stack(
        (
            convolutional.init_params(jax.random.key(0), (5, 5, 1), 2, 2, block=2),
            convolutional.init_params(jax.random.key(1), (2, 2, 2), 3, 2, border="full"),
            pair(27, 4),
        )
    ),
    "untied convolutional net": lambda: dbn.untie(MODELS["convolutional net"]()),
    "classifier": lambda: networks.init_classifier(jax.random.key(0), (6, 5, 3)),
    "autoencoder": lambda: networks.init_autoencoder(jax.random.key(0), (6, 5, 2)),
    "convolutional classifier": lambda: networks.classifier_of(convolutional_net(), 4),
    "conditional": lambda: of_sequences("conditional", order=2),
    "style": lambda: of_sequences("conditional", order=1, style_size=2),
    "stack": lambda: temporal.Stack(
        (of_sequences("conditional", order=1), temporal.init_rtrbm(jax.random.key(1), 2, 4))
    ),
    "no past": lambda: of_sequences("conditional", order=0),
    "trbm": lambda: of_sequences("rtrbm", sampled=True),
    "rtrbm": lambda: of_sequences("rtrbm", visible=units.Gaussian(learn_sigma=True)),
    **{kind: functools.partial(of_sequences, kind) for kind in cells.CELLS},
}


@functools.cache
def made(name):
    return at_random(0, MODELS[name])


@pytest.mark.parametrize("name", MODELS)
def test_round_trip(tmp_path, name):
    model = made(name)
    model_file.save(tmp_path / "model.npz", model)
    loaded = model_file.load(tmp_path / "model.npz")
    assert jax.tree.structure(loaded) == jax.tree.structure(model)
    jax.tree.map(np.testing.assert_array_equal, loaded, model)
    digest = hashlib.sha256((tmp_path / "model.npz").read_bytes()).hexdigest()
    assert (tmp_path / "model.npz.sha256").read_text() == f"{digest}  model.npz\n"
    assert {p.name for p in tmp_path.iterdir()} == {"model.npz", "model.npz.sha256"}


@pytest.mark.parametrize(
    ("name", "dtype", "precision"),
    [
        ("net", jnp.float16, 2**-11),
        ("net", jnp.bfloat16, 2**-8),
        ("classifier", jnp.bfloat16, 2**-8),
        ("convolution", jnp.bfloat16, 2**-8),
        ("local connections", jnp.float16, 2**-11),
        ("lstm", jnp.bfloat16, 2**-8),
    ],
)
def test_half_precision_is_that_of_the_weights(tmp_path, name, dtype, precision):
    model = made(name)
    model_file.save(tmp_path / "half.npz", model, dtype=dtype)
    loaded = model_file.load(tmp_path / "half.npz")
    exact = True
    for a, b in zip(jax.tree.leaves(loaded), jax.tree.leaves(model), strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, rtol=precision if a.ndim > 1 else 0)
        # Rounded to nearest, to the bit.
        np.testing.assert_array_equal(a, b.astype(dtype).astype(a.dtype) if a.ndim > 1 else b)
        exact &= bool((a == b).all())
    assert not exact


def test_models_that_are_in_half_precision_keep_it(tmp_path):
    model = jax.tree.map(lambda x: x.astype(jnp.bfloat16), made("untied"))
    model_file.save(tmp_path / "model.npz", model)
    loaded = model_file.load(tmp_path / "model.npz", dtype=jnp.bfloat16)
    jax.tree.map(np.testing.assert_array_equal, loaded, model)


def test_weights_beyond_half_precision_are_refused(tmp_path):
    large = jax.tree.map(lambda x: x + 1e6, made("net"))
    with pytest.raises(OverflowError, match=r"layers\.0\.weights.*too large for float16"):
        model_file.save(tmp_path / "large.npz", large, dtype=jnp.float16)
    assert not list(tmp_path.iterdir())


def test_half_precision_takes_a_byte_and_a_half(tmp_path):
    """Weights spread as learnt ones are, with a scale of its own for each pixel."""
    rng = np.random.default_rng(0)
    learnt = rng.normal(0, 0.2, (784, 100)) * rng.exponential(1, (784, 1))
    model = rbm.RBM(
        jnp.asarray(learnt, jnp.float32), units.Bernoulli().init(784), units.Bernoulli().init(100)
    )
    model_file.save(tmp_path / "model.npz", model, dtype=jnp.bfloat16)
    assert (tmp_path / "model.npz").stat().st_size < 1.55 * learnt.size


def test_the_checksum_is_verified_if_it_is_there(tmp_path):
    path, sidecar = tmp_path / "model.npz", tmp_path / "model.npz.sha256"
    model_file.save(path, made("rbm"))
    right = sidecar.read_text()
    assert subprocess.run(["sha256sum", "-c", sidecar.name], cwd=tmp_path).returncode == 0
    sidecar.write_text(f"{'0' * 64}  model.npz\n")
    with pytest.raises(ValueError, match=r"SHA-256.*model\.npz\.sha256 says 0000.*fetch both"):
        model_file.load(path)
    sidecar.write_text("")
    with pytest.raises(ValueError, match="says nothing"):
        model_file.load(path)
    # A file that still is a model, but another one: only the checksum can tell.
    other = tmp_path / "other.npz"
    model_file.save(other, made("net"))
    other.replace(path)
    sidecar.write_text(right)
    with pytest.raises(ValueError, match="SHA-256"):
        model_file.load(path)
    sidecar.unlink()
    assert jax.tree.structure(model_file.load(path)) == jax.tree.structure(made("net"))


def test_an_interrupted_save_leaves_no_false_checksum(tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    model_file.save(path, made("rbm"))
    replace = os.replace
    for survives in (0, 1):  # renamings before the end
        left = [survives]

        def interrupted(source, target, left=left):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", interrupted)
            with pytest.raises(KeyboardInterrupt):
                model_file.save(path, made("net"))
        expected = made("net") if survives else made("rbm")
        assert jax.tree.structure(model_file.load(path)) == jax.tree.structure(expected)


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model file.*missing\.npz"):
        model_file.load(tmp_path / "missing.npz")
    path = tmp_path / "model.npz"
    for dtype in (None, jnp.bfloat16):
        model_file.save(path, rbm.init_params(jax.random.key(0), 60, 50), dtype=dtype)
        (tmp_path / "model.npz.sha256").unlink()
        whole = path.read_bytes()
        path.write_bytes(whole[:-40])
        with pytest.raises(ValueError, match="damaged"):
            model_file.load(path)
        # One flipped bit among the weights, wherever: the archive's own checks see it.
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            member = max(archive.infolist(), key=lambda info: info.compress_size)
        for place in range(member.header_offset + 120, member.header_offset + 1000, 7):
            flipped = bytearray(whole)
            flipped[place] ^= 1
            path.write_bytes(flipped)
            with pytest.raises(ValueError, match="damaged"):
                model_file.load(path)
    np.savez(path, other=np.ones(3))
    with pytest.raises(ValueError, match="no model file of dbn_jax"):
        model_file.load(path)


def forge(path, model, arrays=(), **fields):
    """A model file with other arrays, or with other fields of the whole in its description."""
    model_file.save(path, model)
    path.with_name(path.name + ".sha256").unlink()
    with np.load(path) as archive:
        found = dict(archive)
    description = json.loads(bytes(found.pop("description")))
    description["fields"] |= fields
    found |= {name: change(found[name]) for name, change in dict(arrays).items()}
    np.savez(path, description=np.frombuffer(json.dumps(description).encode(), np.uint8), **found)


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize(
    ("name", "array", "change", "words"),
    [
        ("net", "layers.0.weights", np.transpose, "layer 0, visible.bias has the shape (6,); b"),
        ("net", "layers.1.weights", lambda x: x[:-1], "the sizes (5, 3) of Concat do not add"),
        ("net", "layers.0.hidden.bias", np.atleast_2d, "layer 0, hidden.bias has the shape (1, 5"),
        ("rbm", "visible.bias", lambda x: x[:2], "the RBM, visible.bias has the shape (2,); "),
        ("rbm", "weights", lambda x: x * np.nan, "the array weights holds NaN or infinity"),
        ("rbm", "hidden.bias", lambda x: x + np.float32(np.inf), "hidden.bias holds NaN or"),
        ("rbm", "weights", lambda x: x[:0], "the array weights is empty"),
        ("rbm", "weights", lambda x: x.astype(int), "the array weights is of int64, not of real"),
        ("rbm", "weights", lambda x: x.astype(object), "Object arrays cannot be loaded"),
        ("learnt sigma", "visible.log_sigma", lambda x: x[:1], "visible.log_sigma has the shape "),
        ("convolutional classifier", "hidden.0.maps.bias", lambda x: x[:1], "layer 0 has 2 out"),
        ("convolutional classifier", "hidden.0.weights.filters", lambda x: x[:, :, 1:], "(3, 3, 1"),
        ("untied", "recognition.0.weights", lambda x: x[:-1], "recognition layer 0, visible.bias "),
        ("classifier", "softmax.kernel", np.transpose, "layer 0 has 5 outputs, but layer 1 "),
        ("classifier", "softmax.bias", lambda x: x[:1], "layer 1.bias has the shape (1,); beside"),
        ("conditional", "to_hidden", lambda x: x[:, :1], "to_hidden has the shape (6, 1); "),
        ("conditional", "to_visible", lambda x: x[:-1], "the order is 2, but to_visible "),
        ("style", "to_hidden", lambda x: x[:-1], "to_hidden has the shape (4, 2); beside its weig"),
        ("rtrbm", "recurrent", lambda x: x[:, :1], "recurrent has the shape (2, 1); beside "),
        ("trbm", "initial", lambda x: x[:1], "initial has the shape (1,); beside its "),
        ("rtrbm", "rbm.weights", lambda x: x[:-1], "the RBM, visible.bias has the shape (3,); bes"),
        ("gru", "to_visible", lambda x: x[:, :1], "to_visible has the shape (4, 1); beside its we"),
        ("plain", "to_hidden", lambda x: x[:3], "to_hidden has the shape (3, 2); beside its weigh"),
        ("lstm", "initial.0", lambda x: x[:1], "the memory[0] has the shape (1,); beside its weig"),
        ("gru", "cell.dense_h.kernel.value", np.transpose, "the gru cell has arrays "),
        ("convolution", "weights.filters", lambda x: x[:, :, :1], "(3, 3, 1, 3) do not fit images"),
        ("convolution", "weights.filters", lambda x: x[0], "filters of shape (3, 2, 3) do not fit"),
        ("convolution", "weights.filters", lambda x: x[:1], "hidden.bias has the shape (3,); bes"),
        ("convolution", "hidden.bias", lambda x: x[:1], "hidden.bias has the shape (1,); beside "),
        ("convolution", "visible.each.bias", lambda x: x[:1], "visible.each.bias has the shap"),
        ("local connections", "weights.filters", lambda x: x[:-1], "(15, 9, 2) do not fit images"),
        ("convolutional net", "layers.2.weights", lambda x: x[:-1], "layer 2, visible.bias has"),
    ],
)  # fmt: skip
def test_arrays_that_fit_no_model(tmp_path, name, array, change, words):
    forge(tmp_path / "model.npz", made(name), {array: change})
    with pytest.raises(ValueError, match=rf"model.npz' is no .*damaged .*{re.escape(words)}"):
        model_file.load(tmp_path / "model.npz")


BARE = {"class": "Gaussian", "fields": {}}
WIDE = {"class": "Gaussian", "fields": {"sigma": {"value": "wide"}}}


def weights(image_shape=(4, 4, 2), border="valid"):
    """The description of those of the convolution."""
    fields = {
        "filters": {"array": "weights.filters"},
        "image_shape": {"tuple": [{"value": size} for size in image_shape]},
        "border": {"value": border},
    }
    return {"weights": {"class": "Convolution", "fields": fields}}


def maps(shape, block):
    fields = {
        "bias": {"array": "hidden.bias"},
        "shape": {"tuple": [{"value": size} for size in shape]},
        "block": {"value": block},
    }
    return {"hidden": {"class": "MaxPooled", "fields": fields}}


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize(
    ("field", "words"),
    [
        (weights((4, 4)), "image_shape is (4, 4); expected rows, columns, channels"),
        (weights((4, 4, 0)), "image_shape is (4, 4, 0); expected rows, columns, channels"),
        (weights(("4", 4, 2)), "image_shape is ('4', 4, 2); expected rows, columns, channels"),
        (weights((4.0, 4, 2)), "image_shape is (4.0, 4, 2); expected rows, columns, channels"),
        (weights((2, 4, 2)), "filters of 3×3 do not fit into images of 2×4"),
        (weights((4, 4, 1)), "filters of shape (3, 3, 2, 3) do not fit images of shape (4, 4, 1)"),
        (weights((2, 8, 2), "same"), "hidden.bias has the shape (3,); beside its weights, (12,)"),
        (weights((5, 4, 2)), "40 units are no whole number of maps of 16 places"),
        (weights(border="zeros"), "border is 'zeros'; it is one of valid, same, full"),
        (maps((1, 4), 1), "hidden: maps of (1, 4) units; beside its weights, (2, 2)"),
        (maps((4, 4), 2), "12 units are no whole number of maps of 16 places"),
        (maps((2, 2), 3), "maps of 2×2 units cannot be pooled in blocks of 3×3"),
        (maps((2, 2), "2"), "TypeError"),
    ],
)
def test_damaged_geometry(tmp_path, field, words):
    forge(tmp_path / "model.npz", made("convolution"), **field)
    with pytest.raises(ValueError, match=rf"model.npz' is no .*damaged .*{re.escape(words)}"):
        model_file.load(tmp_path / "model.npz")


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize(
    ("name", "field", "words"),
    [
        ("rtrbm", {"rbm": {"value": 3}}, "the frames' model is a int, not an RBM"),
        ("conditional", {"order": {"value": -1}}, "the order is -1, but to_visible has the shape"),
        ("no past", {"order": {"value": 1}}, "the order is 1, but there are no weights to "),
        ("gru", {"cell": {"cell": {"kind": "elman"}, "arrays": {}}}, "missing 2 required"),
        ("gru", {"initial": {"value": None}}, "IndexError: list index out of range"),
    ],
)
def test_descriptions_of_no_model_of_sequences(tmp_path, name, field, words):
    forge(tmp_path / "model.npz", made(name), **field)
    with pytest.raises(ValueError, match=rf"model.npz' is no .*damaged .*{re.escape(words)}"):
        model_file.load(tmp_path / "model.npz")


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize(
    ("field", "words"),
    [
        ({"weights": {"value": 3}}, "the weights are no matrix"),
        ({"weights": {"tuple": []}}, "the weights are no matrix"),
        ({"visible": {"array": "weights"}}, "the RBM, visible is a ArrayImpl, not units"),
        ({"visible": {"value": None}}, "the RBM, visible is a NoneType, not units"),
        ({"visible": BARE}, "visible.bias has the shape nothing; beside"),
        ({"visible": WIDE}, "not supported between instances of"),
        ({"hidden": {"array": "elsewhere"}}, "KeyError: 'elsewhere'"),
        ({"hidden": {"class": "Unheard", "fields": {}}}, "there is no class Unheard in dbn_jax"),
        ({"more": {"value": 1}}, "unexpected keyword argument 'more'"),
    ],
)
def test_descriptions_of_no_model(tmp_path, field, words):
    forge(tmp_path / "model.npz", made("rbm"), **field)
    with pytest.raises(ValueError, match=rf"model.npz' is no .*damaged .*{re.escape(words)}"):
        model_file.load(tmp_path / "model.npz")


@pytest.mark.parametrize("description", ["[" * 100_000, "3", '{"value": 3}', "{}", "\ud800"])
def test_what_holds_no_model(tmp_path, description):
    text = np.frombuffer(description.encode("utf-8", "surrogatepass"), np.uint8)
    np.savez(tmp_path / "model.npz", description=text)
    with pytest.raises(ValueError, match=r"model.npz' is no model file of dbn_jax, or is damaged"):
        model_file.load(tmp_path / "model.npz")


def test_an_archive_that_would_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(model_file, "_LARGE", 10**6)
    np.savez_compressed(tmp_path / "model.npz", zeros=np.zeros(10**6))
    with pytest.raises(ValueError, match=r"damaged \(ValueError: its [\d,]+ bytes unpack to 8,000"):
        model_file.load(tmp_path / "model.npz")


@pytest.mark.parametrize("name", ["digit_model", "classifier", "autoencoder"])
def test_published_models_load(name):
    """With their checksums."""
    path = pathlib.Path(__file__).parent.parent / "experiments/results" / name / "model.npz"
    assert path.with_name("model.npz.sha256").is_file()
    model = model_file.load(path)
    if isinstance(model, dbn.UntiedDBN):
        assert (dbn.num_pixels(model), dbn.num_labels(model)) == (784, 10)
        answers = associative_memory.classify(model, jnp.zeros((1, 784)))
    else:
        answers = model(jnp.zeros((1, 784)))
    assert np.isfinite(answers).all()


def test_other_objects_are_refused(tmp_path):
    with pytest.raises(TypeError, match="expected an RBM, a DBN, an UntiedDBN, a C"):
        model_file.save(tmp_path / "model.npz", {"weights": jnp.ones(3)})
    assert not list(tmp_path.iterdir())
