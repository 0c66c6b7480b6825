"""Models of sequences: every kind against its equations, enumerated in numpy."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dbn_jax import temporal, units
from dbn_jax.temporal import cells
from tests import oracles, significance
from tests.temporal.small_temporal import (
    DETERMINISTIC,
    KINDS,
    VISIBLE,
    H,
    V,
    draw,
    log_probs,
    make,
    start,
)

pytestmark = pytest.mark.usefixtures("x64")
KEY = jax.random.key(7)
CASES = [
    *itertools.product(DETERMINISTIC, ["binary"]),
    *itertools.product(["conditional", "rtrbm", "gru"], VISIBLE),
]


@pytest.mark.parametrize(("kind", "visible"), CASES)
def test_log_p_is_that_of_the_equations(kind, visible):
    visible = VISIBLE[visible]
    model, v = make(kind, visible), draw(1, 5, visible)
    found = temporal.log_probs(KEY, model, v, start(kind, model))
    np.testing.assert_allclose(found, log_probs(kind, model, v), rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_of_all_sequences_add_up_to_one(kind):
    model = make(kind)
    every = jnp.asarray(oracles.binary(2 * V).reshape(-1, 2, V))
    log_p = jax.vmap(temporal.log_probs, in_axes=(None, None, 0, None))
    total = log_p(KEY, model, every, start(kind, model)).sum(axis=1)
    assert np.exp(total).sum() == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("kind", DETERMINISTIC)
def test_memory_goes_on_where_it_was_left(kind):
    model, v = make(kind), draw(1, 6)
    memories, last = temporal.recall(KEY, model, v, start(kind, model))
    first, middle = temporal.recall(KEY, model, v[:4], start(kind, model))
    rest, end = temporal.recall(KEY, model, v[4:], middle)
    joined = jax.tree.map(lambda *x: jnp.concatenate(x), first, rest)
    for one, other in [(joined, memories), (end, last)]:
        jax.tree.map(np.testing.assert_array_equal, one, other)


def test_an_rnn_rbm_with_the_weights_of_the_rbm_is_an_rtrbm():
    model, v = make("rtrbm"), draw(1, 5)
    cell, _ = cells.make(KEY, "plain", V, H)
    for part, name, value in [
        (cell.dense_i, "kernel", model.rbm.weights),
        (cell.dense_i, "bias", model.rbm.hidden.bias),
        (cell.dense_h, "kernel", model.recurrent),
    ]:
        setattr(part, name, nnx.Param(value))
    rnn = temporal.RNNRBM(model.rbm, cell, jnp.zeros((H, V)), model.recurrent, model.initial)
    one, other = (temporal.log_probs(KEY, m, v) for m in (model, rnn))
    np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_without_past_it_is_an_rbm(kind):
    model, v = make(kind), draw(1, 5)
    blank = jax.tree.map(jnp.zeros_like, model)
    model = dataclasses.replace(blank, rbm=model.rbm)
    expected = oracles.Model.of(model.rbm).log_likelihood(np.asarray(v))
    found = temporal.log_probs(KEY, model, v, start(kind, model))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_filtered_probabilities_of_a_trbm_are_unbiased():
    """Against p(v) = Σ_h Π_t p(v_t, h_t | h_{t−1}), over all hidden states of all frames."""
    model, v = make("trbm", scale=1.2), draw(1, 3)
    h = oracles.binary(H)

    def joint(initial, x):
        params = dataclasses.replace(
            model.rbm, hidden=model.rbm.hidden.add_to_bias(jnp.asarray(initial) @ model.recurrent)
        )
        of = oracles.Model.of(params)
        return np.exp(-of.energy(x, h) - of.log_z())

    p = joint(np.asarray(model.initial), np.asarray(v[0]))
    for x in np.asarray(v[1:]):
        p = sum(each * joint(state, x) for each, state in zip(p, h, strict=True))
    keys = jax.random.split(KEY, 20_000)
    draws = jax.vmap(temporal.log_probs, in_axes=(0, None, None))(keys, model, v).sum(axis=1)
    significance.assert_mean(np.exp(draws), p.sum())
    assert np.exp(draws).std() > 0.01 * p.sum()  # they differ


@pytest.mark.parametrize("kind", KINDS)
def test_memory_knows_nothing_of_the_frame_or_of_later_ones(kind):
    model, v = make(kind), draw(1, 6)
    other = v.at[3:].set(1 - v[3:])
    one, two = (temporal.recall(KEY, model, x, start(kind, model))[0] for x in (v, other))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:4], b[:4]), one, two)
    if kind != "none":
        later = [
            np.asarray(a[4:] != b[4:]).any()
            for a, b in zip(*map(jax.tree.leaves, (one, two)), strict=True)
        ]
        assert any(later)


def test_bad_models_are_refused():
    with pytest.raises(ValueError, match="order is -1; it is a number of frames, at least 0"):
        temporal.init_conditional(KEY, V, H, order=-1)
    model = make("style")
    with pytest.raises(ValueError, match="the style has 0 numbers; the model's styles have 2"):
        temporal.recall(KEY, model, draw(1, 3))
    with pytest.raises(ValueError, match="its last axis must hold the 3 visible units of the RBM"):
        temporal.recall(KEY, make("rtrbm"), jnp.zeros((4, 5)))


@pytest.mark.parametrize("style", [False, True])
def test_autoregression_of_a_linear_process_is_found(style):
    """Order 2, with noise of its own for each unit; learnt σ becomes that of the noise."""
    rng = np.random.default_rng(0)
    size = 2 if style else 0
    truth = 0.3 * rng.normal(size=(2 * V + size, V))
    noise = np.array([0.1, 0.5, 2.0])
    sequences, styles = [], np.eye(2)[rng.integers(2, size=20)]
    for i in range(20):
        v = np.zeros((400, V))
        for t in range(len(v)):
            past = np.concatenate([v[max(t - q, 0)] for q in (1, 2)]) * (t > 0)
            context = np.append(past, styles[i]) if style else past
            v[t] = context @ truth + noise * rng.normal(size=V)
        sequences.append(v)
    visible = units.Gaussian(learn_sigma=True)
    model = temporal.init_conditional(
        KEY, V, H, order=2, style_size=size, visible=visible, weight_scale=0.0
    )
    model = jax.tree.map(lambda x: x.astype(jnp.float64), model)
    given = styles if style else None
    model = temporal.fit_autoregression(model, sequences, ridge=1e-6, styles=given)
    np.testing.assert_allclose(model.rbm.visible.scale, noise, rtol=0.03)
    start = model.start(jnp.asarray(styles[0])) if style else None
    found = temporal.predict(KEY, model, jnp.asarray(sequences[0]), memory=start, mean_field=True)
    past = np.concatenate([sequences[0][[0, 0]], sequences[0]])
    context = np.concatenate([past[1:-1], past[:-2]], axis=1)
    context[0] = 0
    if style:
        context = np.append(context, np.tile(styles[0], (400, 1)), axis=1)
    assert np.abs((np.asarray(found) - context @ truth) / noise).max() < 0.3
