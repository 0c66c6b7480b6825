"""Samples of a net: where they start."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import data, dbn, label_units, rbm
from experiments.pictures import dbn as pictures


def test_samples_start_from_chains_of_their_labels():
    top = label_units.init_params(jax.random.key(0), 3, 3, 3)
    # Feature j shows hidden unit j, which is on in the chains of label j alone.
    weights = jnp.concatenate([200 * jnp.eye(3) - 100, jnp.zeros((3, 3))])
    top = dataclasses.replace(top, weights=weights)
    chains = jnp.eye(3)[np.arange(7) % 3]
    labels = np.repeat([0, 2], 4)
    x = pictures._start_from_chains(jax.random.key(2), dbn.stack((top,)), labels, chains)
    np.testing.assert_array_equal(x, np.tile(np.eye(3)[labels], 2))


def test_samples_start_from_all_unseen_images(monkeypatch):
    """Of a file that is sorted by class, the first hundred are of one."""
    started = []
    monkeypatch.setattr(
        dbn, "generate", lambda key, net, h, steps: (started.append(h) or dbn.down_pass(net, h), h)
    )
    net = dbn.stack((rbm.init_params(jax.random.key(0), 4, 3),))
    images = data.Split(np.zeros((300, 4), np.uint8), np.zeros(300, np.int32))
    dataset = data.Dataset("mine", images, None, images, (2, 2), 1, scale=255.0)
    start = jnp.arange(900.0).reshape(300, 3) / 900
    pictures._samples(jax.random.key(1), net, dataset, start, "unseen images", 5)
    np.testing.assert_array_equal(started[0], data.spread(start, 100))
    assert (started[0][-1] >= start[-3]).all()
