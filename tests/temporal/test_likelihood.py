"""log p of frames by annealing, against enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import temporal
from tests import oracles, significance
from tests.temporal.small_temporal import VISIBLE, V, draw, log_probs, make

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


def test_annealing_backwards_is_a_distribution():
    """Averaged before the logarithm, its probabilities of all frames add up to one."""
    model = make("gru", scale=2.0)
    every = jnp.asarray(oracles.binary(V))
    memory = temporal.recall(KEY, model, draw(1, 3))[1]
    memories = jnp.broadcast_to(memory, (len(every), *memory.shape))
    betas = jnp.linspace(0, 1, 3)

    def total(key):
        low = temporal.ais_log_probs(key, model, memories, every, betas=betas, num_chains=4)[2]
        return jnp.sum(jnp.exp(low))

    totals = jax.vmap(total)(jax.random.split(KEY, 4000))
    significance.assert_mean(totals, 1.0)
    assert totals.std() > 0.05  # the average matters
