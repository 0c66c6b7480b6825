"""Prediction, filling in and dreams: against enumeration, and without a look ahead."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import temporal
from tests import oracles, significance
from tests.temporal.small_temporal import (
    DETERMINISTIC,
    KINDS,
    VISIBLE,
    V,
    draw,
    frames,
    make,
    start,
)

pytestmark = pytest.mark.usefixtures("x64")
KEY = jax.random.key(3)


def expectations(kind, model, v):
    """E[v_t | frames before], by enumeration."""
    return np.stack([p.visible_marginal() @ p.visible.states for p in frames(kind, model, v)])


@pytest.mark.parametrize(
    ("kind", "visible"),
    [*((kind, "binary") for kind in DETERMINISTIC), ("gru", "gaussian"), ("rtrbm", "voices")],
)
def test_prediction_is_the_expectation(kind, visible):
    visible = VISIBLE[visible]
    model, v = make(kind, visible, scale=0.5), draw(1, 4, visible)
    predict = functools.partial(temporal.predict, num_steps=30, memory=start(kind, model))
    keys = jax.random.split(KEY, 4000)
    found = jax.vmap(lambda key: predict(key, model, v, num_chains=2))(keys)
    significance.assert_mean(found, expectations(kind, model, v))


def test_chains_start_at_the_frame_before():
    """After one step from there; the first chain starts at the mean of the visible biases."""
    model, v = make("gru", scale=1.0), draw(1, 3)
    expected = []
    for t, params in enumerate(frames("gru", model, v)):
        before = params.visible.mean(np.zeros(V)) if t == 0 else np.asarray(v[t - 1])
        h = params.hidden_given(before[None])[0]
        expected.append(h @ params.visible.mean(params.hidden.states @ params.weights.T))
    keys = jax.random.split(KEY, 4000)
    found = jax.vmap(lambda key: temporal.predict(key, model, v, num_steps=1))(keys)
    significance.assert_mean(found, np.stack(expected))


def test_mean_field_is_a_fixed_point_and_needs_no_key():
    model, v = make("gru", scale=0.5), draw(1, 4)
    one, other = (
        temporal.predict(jax.random.key(seed), model, v, num_steps=200, mean_field=True)
        for seed in (0, 1)
    )
    np.testing.assert_array_equal(one, other)
    for x, p in zip(np.asarray(one), frames("gru", model, v), strict=True):
        h = p.hidden.mean(x @ p.weights)
        np.testing.assert_allclose(p.visible.mean(p.weights @ h), x, rtol=1e-9)


WAYS = {
    "gibbs": lambda model, v, memory: temporal.predict(KEY, model, v, memory=memory),
    "chains": lambda model, v, memory: temporal.predict(
        KEY, model, v, num_chains=3, num_steps=5, memory=memory
    ),
    "mean field": lambda model, v, memory: temporal.predict(
        KEY, model, v, mean_field=True, memory=memory
    ),
    "filled in": lambda model, v, memory: temporal.complete(
        KEY, model, v, jnp.zeros(v.shape, bool).at[:2].set(True), num_steps=5, memory=memory
    ),
    "log p of a frame's past": lambda model, v, memory: temporal.log_probs(KEY, model, v, memory)[
        :, None
    ],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_look_ahead(kind, way):
    """The prediction of frame t has the same bits whatever stands in frame t and later ones."""
    model, v = make(kind, scale=1.0), draw(1, 6)
    predict = functools.partial(WAYS[way], model, memory=start(kind, model))
    whole = np.asarray(predict(v))
    for t in range(2, 6):
        other = np.asarray(predict(v.at[t:].set(1 - v[t:])))
        known = t if way == "log p of a frame's past" else t + 1
        np.testing.assert_array_equal(other[:known], whole[:known])
    if way == "mean field" and kind not in ("none", "trbm"):  # no coincidence of samples
        assert (np.asarray(predict(1 - v))[1:] != whole[1:]).any()


@pytest.mark.parametrize("visible", ["binary", "gaussian"])
def test_what_is_missing_is_drawn_from_its_conditional(visible):
    """The last frame, one unit of which is known, after whole ones."""
    visible = VISIBLE[visible]
    model, v = make("gru", visible, scale=0.6), draw(2, 3, visible)
    observed = jnp.ones(v.shape, bool).at[2, 1:].set(False)
    keys = jax.random.split(KEY, 4000)
    draws = jax.vmap(
        lambda key, v: temporal.complete(key, model, v, observed, num_steps=30), in_axes=(0, None)
    )
    found = draws(
        keys, v.at[2, 1:].set(9.0)
    )  # what stands where a value is missing does not matter
    np.testing.assert_array_equal(found[:, :2], jnp.broadcast_to(v[:2], (4000, 2, V)))
    np.testing.assert_array_equal(found[:, 2, 0], jnp.broadcast_to(v[2, 0], 4000))
    params = frames("gru", model, v)[2]
    states, p = params.visible.states, params.visible_marginal()
    if visible == VISIBLE["binary"]:
        p = p * (states[:, 0] == float(v[2, 0]))
        expected = (p / p.sum()) @ states[:, 1:]
    else:
        # p(v) at the known value of the first unit, over the grid of the other two.
        grid = np.unique(states[:, 1:], axis=0)
        points = np.concatenate([np.full((len(grid), 1), float(v[2, 0])), grid], axis=1)
        p = np.exp(-params.free_energy(points))
        expected = (p / p.sum()) @ grid
    significance.assert_mean(found[:, 2, 1:], expected)


def test_a_dream_is_drawn_from_the_model():
    """Two frames from nothing: their joint frequencies are the probabilities of the sequences."""
    model = make("conditional", scale=0.8)
    keys = jax.random.split(KEY, 30_000)
    nothing = jnp.zeros((0, V))
    dreams = jax.vmap(lambda key: temporal.dream(key, model, nothing, 2, num_steps=20))(keys)
    every = jnp.asarray(oracles.binary(2 * V).reshape(-1, 2, V))
    log_p = jax.vmap(temporal.log_probs, in_axes=(None, None, 0))(KEY, model, every).sum(axis=1)
    number = np.asarray(dreams).reshape(len(keys), -1) @ 2 ** np.arange(2 * V)[::-1]
    counts = np.bincount(number.astype(int), minlength=2 ** (2 * V))
    assert significance.chi_squared(counts, np.exp(log_p)) > 1e-4


def test_a_dream_keeps_its_beginning_and_quiet_ones_are_means():
    model, v = make("gru"), draw(1, 3)
    dream = functools.partial(temporal.dream, KEY, model, v, 2)
    loud, quiet = dream(), dream(means=True)
    assert loud.shape == (5, V)
    np.testing.assert_array_equal(loud[:3], v)
    np.testing.assert_array_equal(quiet[:3], v)
    assert set(np.unique(loud[3:])) <= {0.0, 1.0}
    assert np.all((quiet[3:] > 0) & (quiet[3:] < 1))
