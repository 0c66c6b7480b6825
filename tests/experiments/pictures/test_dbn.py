"""Samples of a net start from chains that keep their labels."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import dbn, label_units
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
