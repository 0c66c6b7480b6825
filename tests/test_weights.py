"""Models in a file."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import associative_memory, dbn, rbm, units, weights


def digit_model():
    bottom = rbm.init_params(jax.random.key(0), 6, 5)
    return dbn.stack((bottom, associative_memory.init_params(jax.random.key(1), 5, 4, 3)))


MODELS = {
    "rbm": rbm.init_params(
        jax.random.key(0), 3, 2, visible=units.Gaussian(sigma=0.5), hidden=units.ReLU()
    ),
    "learnt sigma": rbm.init_params(
        jax.random.key(0), 3, 2, visible=units.Gaussian(learn_sigma=True)
    ),
    "net": digit_model(),
    "untied": dbn.untie(digit_model()),
}


@pytest.mark.parametrize("name", MODELS)
def test_round_trip(tmp_path, name):
    model = MODELS[name]
    digest = weights.save(tmp_path / "model.npz", model)
    assert digest == hashlib.sha256((tmp_path / "model.npz").read_bytes()).hexdigest()
    loaded = weights.load(tmp_path / "model.npz", sha256=digest)
    assert jax.tree.structure(loaded) == jax.tree.structure(model)
    jax.tree.map(np.testing.assert_array_equal, loaded, model)
    assert [p.name for p in tmp_path.iterdir()] == ["model.npz"]


def test_half_precision(tmp_path):
    model = MODELS["net"]
    weights.save(tmp_path / "half.npz", model, dtype=jnp.float16)
    loaded = weights.load(tmp_path / "half.npz")
    for a, b in zip(jax.tree.leaves(loaded), jax.tree.leaves(model), strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, rtol=1e-3)
    large = jax.tree.map(lambda x: x + 1e6, model)
    with pytest.raises(OverflowError, match=r"layers\.0\.weights.*too large for float16"):
        weights.save(tmp_path / "large.npz", large, dtype=jnp.float16)


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model file.*missing\.npz"):
        weights.load(tmp_path / "missing.npz")
    path = tmp_path / "model.npz"
    weights.save(path, MODELS["rbm"])
    with pytest.raises(ValueError, match=r"SHA-256.*expected 0000.*fetch it again"):
        weights.load(path, sha256="0000")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="damaged"):
        weights.load(path)
    np.savez(path, other=np.ones(3))
    with pytest.raises(ValueError, match="no model file of dbn_jax"):
        weights.load(path)


def test_other_objects_are_refused(tmp_path):
    with pytest.raises(TypeError, match="expected an RBM, a DBN or an UntiedDBN"):
        weights.save(tmp_path / "model.npz", {"weights": jnp.ones(3)})
    assert not list(tmp_path.iterdir())
