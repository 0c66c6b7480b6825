"""The deep belief net in one file, small."""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from dbn_jax import label_units, rbm
from experiments import minimal_dbn


def test_it_is_short():
    assert len(inspect.getsource(minimal_dbn).splitlines()) <= 120


@pytest.mark.usefixtures("implicit_promotion")
def test_a_small_net_recognises_and_draws_digits(tmp_path, monkeypatch, capsys):
    for name, value in {"EPOCHS": 4, "SIZES": (60, 60), "TOP_SIZE": 80}.items():
        monkeypatch.setattr(minimal_dbn, name, value)
    assert minimal_dbn.run(str(tmp_path / "new/run")) is None  # or it would be the exit code
    said = re.search(r"of 1,000 unseen digits it gets ([\d.]+)% wrong", capsys.readouterr().out)
    assert float(said[1]) < 50  # chance is 90
    with PIL.Image.open(tmp_path / "new/run/digits.png") as sheet:
        assert min(sheet.size) > 10 * 28


def test_each_label_generates_its_own_image(monkeypatch):
    """A memory made by hand: label k turns feature k on alone, which stands for pixel k."""
    monkeypatch.setattr(minimal_dbn, "SIZES", (10,))
    init = rbm.init_params(jax.random.key(0), 10, 10)
    layer = rbm.RBM(20 * jnp.eye(10), init.visible.add_to_bias(jnp.full(10, -10.0)), init.hidden)
    top = label_units.init_params(jax.random.key(0), 10, 10)
    bias = jnp.where(jnp.arange(20) < 10, -10.0, 0.0)
    top = rbm.RBM(
        jnp.concatenate([20 * jnp.eye(10), 60 * jnp.eye(10) - 40]),
        top.visible.add_to_bias(bias),
        top.hidden.add_to_bias(jnp.full(10, -10.0)),
    )
    assert minimal_dbn.recognise([layer], top, jnp.eye(10)).tolist() == list(range(10))
    # Were the labels not held, they would all become 0.
    visible = top.visible.add_to_bias(jnp.zeros(20).at[10].set(100.0))
    top = rbm.RBM(top.weights, visible, top.hidden)
    labels = np.array([3, 0, 7, 3])
    pixels = minimal_dbn.generate(jax.random.key(1), [layer], top, labels, num_steps=5)
    np.testing.assert_allclose(pixels, np.eye(10)[labels], atol=1e-3)
