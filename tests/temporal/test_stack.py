"""Stacks of models of sequences: features, and what they generate."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import temporal
from dbn_jax.temporal import stack as stacks
from tests import oracles, significance
from tests.random_models import jolt
from tests.temporal.small_temporal import H, V, draw, frames, make

pytestmark = pytest.mark.usefixtures("x64")
KEY = jax.random.key(11)
TOP = 2  # hidden units of the upper layer


def two_layers(kinds=("conditional", "rtrbm"), scale=1.0):
    lower, other = make(kinds[0], scale=scale), kinds[1]
    key = jax.random.key(0)
    upper = (
        temporal.init_conditional(key, H, TOP, order=2)
        if other == "conditional"
        else temporal.init_rtrbm(key, H, TOP)
    )
    upper = jolt(5, jax.tree.map(lambda x: x if x.dtype == bool else x.astype(float), upper), scale)
    return temporal.Stack((lower, upper))


@pytest.mark.parametrize("kind", ["conditional", "rtrbm", "gru"])
def test_features_are_hidden_means_given_frame_and_past(kind):
    model, v = make(kind), draw(1, 5)
    found = temporal.features(KEY, model, v)
    for h, params, x in zip(found, frames(kind, model, v), np.asarray(v), strict=True):
        np.testing.assert_allclose(h, params.hidden_given(x) @ params.hidden.states, rtol=1e-9)


@pytest.mark.parametrize("kinds", [("conditional", "rtrbm"), ("rtrbm", "conditional")])
def test_a_dream_is_the_top_layer_drawn_and_passed_down(kinds):
    """The frequencies of the frame after two given ones, against enumeration of both layers."""
    stack, v = two_layers(kinds), draw(1, 2)
    lower, upper = stack.layers
    features = temporal.features(KEY, lower, v)
    # One more frame of any kind: the RBMs of frame 3 know those before it alone.
    of_lower = frames(kinds[0], lower, jnp.concatenate([v, v[:1]]))[2]
    memory = temporal.recall(KEY, upper, features)[1]
    of_upper = oracles.Model.of(upper.frame(memory))
    p = of_upper.visible_marginal() @ of_lower.visible_given(of_upper.visible.states)
    keys = jax.random.split(KEY, 20_000)
    dream = jax.vmap(lambda key: stacks.dream(key, stack, v, 1, num_steps=30)[2])
    counts = of_lower.visible.counts(dream(keys))
    assert significance.chi_squared(counts, p) > 1e-4
    other = of_lower.visible_marginal()
    assert significance.chi_squared(counts, other) < 1e-6  # it is not the lower layer alone


def test_a_dream_remembers_what_it_made():
    """Two frames more are as one frame more, twice."""
    stack, v = two_layers(), draw(1, 3)
    quiet = stacks.dream(KEY, stack, v, 2, num_steps=2, means=True)
    assert quiet.shape == (5, V)
    np.testing.assert_array_equal(quiet[:3], v)
    assert np.all((quiet[3:] > 0) & (quiet[3:] < 1))
    loud = stacks.dream(KEY, stack, v, 4, num_steps=2)
    assert set(np.unique(loud[3:])) <= {0.0, 1.0}


@pytest.mark.parametrize("kinds", [("conditional", "rtrbm"), ("rtrbm", "conditional")])
def test_each_layer_remembers_what_it_saw(kinds):
    stack, v = two_layers(kinds), draw(1, 5)
    memories = temporal.recall(KEY, stack, v)[1]
    lower, upper = stack.layers
    seen = v, temporal.features(KEY, lower, v)
    for memory, layer, x in zip(memories, (lower, upper), seen, strict=True):
        alone = temporal.recall(KEY, layer, x)[1]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), memory, alone)


def test_a_batch_is_lifted_sequence_by_sequence():
    model, sequences = make("conditional"), [draw(i, n) for i, n in enumerate((5, 3))]
    batch = temporal.Sequences.of([np.asarray(v) for v in sequences])
    batch = dataclasses.replace(batch, warm_up=jnp.array([2, 0]))
    lifted = temporal.lift(KEY, model, jax.tree.map(jnp.asarray, batch), warm_up=2)
    np.testing.assert_array_equal(lifted.lengths, [5, 3])
    np.testing.assert_array_equal(lifted.warm_up, [4, 0])
    for row, v in zip(lifted.values, sequences, strict=True):
        alone = temporal.features(KEY, model, v)
        np.testing.assert_allclose(row[: len(v)], alone, rtol=1e-12)


def test_a_dream_may_begin_with_nothing():
    """The first frame is then drawn as the top layer draws its own first frame."""
    stack = two_layers(("conditional", "rtrbm"))
    lower, upper = (oracles.Model.of(layer.frame(layer.start())) for layer in stack.layers)
    p = upper.visible_marginal() @ lower.visible_given(upper.visible.states)
    keys = jax.random.split(KEY, 20_000)
    nothing = jnp.zeros((0, V))
    dream = jax.vmap(lambda key: stacks.dream(key, stack, nothing, 1, num_steps=30)[0])
    assert significance.chi_squared(lower.visible.counts(dream(keys)), p) > 1e-4


def test_predictions_are_those_of_the_first_layer():
    stack, v = two_layers(), draw(1, 4)
    one, other = (temporal.log_probs(KEY, model, v) for model in (stack, stack.layers[0]))
    np.testing.assert_allclose(one, other, rtol=1e-12)


def test_layers_must_fit():
    lower = make("rtrbm")
    with pytest.raises(ValueError, match="layer 0 has 2 hidden units, but layer 1 3 visible ones"):
        temporal.Stack((lower, lower))
