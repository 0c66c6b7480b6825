"""Chains of an RBM, as they are shown."""

import jax
import numpy as np

from dbn_jax import rbm
from experiments.pictures import rbm as pictures


def test_chains_are_shown_after_as_many_steps_as_they_say(monkeypatch):
    real, taken = pictures._advance, []

    def advance(key, params, h, num_steps):
        taken.append(num_steps)
        return real(key, params, h, num_steps)

    monkeypatch.setattr(pictures, "_advance", advance)
    params = rbm.init_params(jax.random.key(0), 6, 4)
    frames = pictures._chain(jax.random.key(1), params, np.zeros((2, 4), np.float32), (0, 1, 5, 9))
    assert frames.shape == (4, 2, 6)
    assert np.cumsum(taken).tolist() == [0, 1, 5, 9]
