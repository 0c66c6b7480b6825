"""log p of frames by annealing, against enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import temporal
from tests import significance
from tests.temporal.small_temporal import VISIBLE, draw, log_probs, make

pytestmark = pytest.mark.usefixtures("x64")
KEY = jax.random.key(5)


@pytest.mark.parametrize(
    ("kind", "visible"),
    list(itertools.product(["conditional", "gru"], ["binary", "gaussian", "voices"])),
)
def test_annealing_brackets_log_p(kind, visible):
    visible = VISIBLE[visible]
    model, v = make(kind, visible, scale=1.0), draw(1, 8, visible)
    memories, _ = temporal.recall(KEY, model, v)
    betas = jnp.linspace(0, 1, 301)
    found, error, low = temporal.ais_log_probs(KEY, model, memories, v, betas=betas, num_chains=200)
    exact = log_probs(kind, model, v)
    scores = (np.asarray(found) - exact) / np.asarray(error)
    assert np.abs(scores).max() < significance.z_bound(len(scores), 1e-4)
    assert np.asarray(error).max() < 0.1
    # The annealing itself ends in v nearly as often as the model is there.
    assert np.abs(np.asarray(low) - exact).max() < 0.3
    coarse = temporal.ais_log_probs(
        KEY, model, memories, v, betas=jnp.linspace(0, 1, 3), num_chains=200
    )
    assert np.asarray(coarse[1]).mean() > 2 * np.asarray(error).mean()
