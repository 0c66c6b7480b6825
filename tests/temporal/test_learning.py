"""Learning of sequences: gradients through time against enumeration, masks, dropout."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dbn_jax import rbm, temporal
from tests import significance
from tests.random_models import jolt
from tests.temporal.small_temporal import (
    DETERMINISTIC,
    KINDS,
    VISIBLE,
    V,
    draw,
    frames,
    log_probs,
    make,
)

pytestmark = pytest.mark.usefixtures("x64")
KEY = jax.random.key(7)
LENGTHS = (4, 2, 3)
CASES = [(kind, "binary") for kind in DETERMINISTIC]
CASES += [("gru", "gaussian_learnt"), ("rtrbm", "softmax"), ("conditional", "gaussian")]


def batch_of(sequences, kind=None):
    styles = np.tile([1.0, 0.0], (len(sequences), 1)) if kind == "style" else None
    batch = temporal.Sequences.of([np.asarray(v) for v in sequences], styles)
    return jax.tree.map(jnp.asarray, batch)


def some(visible="binary"):
    return [draw(i, length, VISIBLE[visible]) for i, length in enumerate(LENGTHS)]


@pytest.mark.parametrize(("kind", "visible"), CASES)
def test_gradient_of_the_exact_loss_is_the_slope_of_enumerated_log_p(kind, visible):
    """For all parameters, through time: along three random directions of parameter space."""
    model, sequences = make(kind, VISIBLE[visible]), some(visible)

    def oracle(model):
        total = sum(log_probs(kind, model, v).sum() for v in sequences)
        return -total / sum(LENGTHS)

    def loss(model):
        return temporal.exact_loss(KEY, model, batch_of(sequences, kind))[0]

    value, gradient = jax.value_and_grad(loss)(model)
    assert value == pytest.approx(oracle(model), rel=1e-9)
    leaves = jax.tree_util.tree_leaves_with_path(gradient)
    fixed = ("location", "log_bound")
    for path, x in leaves:
        name = jax.tree_util.keystr(path)
        assert np.any(x != 0) or name.endswith(fixed) or not x.size, name
    for seed in range(3):
        direction = _without(fixed, jolt(seed, jax.tree.map(jnp.zeros_like, model), 1e-5))
        up, down = (jax.tree.map(lambda a, b, s=s: a + s * b, model, direction) for s in (1, -1))
        products = jax.tree.map(lambda a, b: jnp.sum(a * b), gradient, direction)
        slope = (oracle(up) - oracle(down)) / 2
        assert sum(jax.tree.leaves(products)) == pytest.approx(slope, rel=1e-5, abs=1e-10)


def _without(names, tree):
    return jax.tree_util.tree_map_with_path(
        lambda path, x: jnp.zeros_like(x) if jax.tree_util.keystr(path).endswith(names) else x, tree
    )


@pytest.mark.parametrize("kind", ["conditional", "rtrbm", "gru"])
def test_contrastive_divergence_tends_to_the_exact_gradient(kind):
    model, batch = make(kind, seed=1, scale=1.5), batch_of(some())
    exact = jax.grad(lambda m: temporal.exact_loss(KEY, m, batch)[0])(model)

    @functools.partial(jax.jit, static_argnums=0)
    def draws(num_steps, keys):
        def loss(m, key):
            return temporal.cd_loss(key, m, batch, num_gibbs_steps=num_steps)[0]

        return jax.vmap(jax.grad(loss), in_axes=(None, 0))(model, keys)

    keys = jax.random.split(KEY, 4000)
    many, one = (_named(draws(n, keys)) for n in (60, 1))
    significance.assert_mean(many, _named(exact))
    with pytest.raises(AssertionError):  # the power: the bias of CD-1 would be seen
        significance.assert_mean(one, _named(exact))


def _named(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in leaves if x.size}


def test_samples_are_constants():
    """Also those of Gaussian units, which are differentiable functions of the biases.

    The gradient by the visible bias is then the difference of the frames' and the samples' means.
    """
    model, batch = make("gru", VISIBLE["gaussian"]), batch_of(some("gaussian"))

    def loss(change, key):
        visible = model.rbm.visible.add_to_bias(change)
        changed = dataclasses.replace(model, rbm=dataclasses.replace(model.rbm, visible=visible))
        return temporal.cd_loss(key, changed, batch)[0]

    keys = jax.random.split(KEY, 4000)
    zero = jnp.zeros(V)
    slopes = jax.vmap(jax.grad(loss), in_axes=(None, 0))(zero, keys)
    expected = np.zeros(V)
    for v in some("gaussian"):
        for params, x in zip(frames("gru", model, v), np.asarray(v), strict=True):
            after = params.after_gibbs(x[None], 1)
            expected += after @ params.visible.states - x
    significance.assert_mean(slopes, expected / sum(LENGTHS))


def test_frames_are_drawn_independently():
    """The loss of sixteen equal frames varies a sixteenth as much as that of one."""
    model, v = make("none"), draw(1, 1)
    keys = jax.random.split(KEY, 4000)

    def variance(num_sequences, num_frames):
        batch = temporal.Sequences(jnp.tile(v[None], (num_sequences, num_frames, 1)))
        losses = jax.vmap(lambda key: temporal.cd_loss(key, model, batch)[0])(keys)
        return float(jnp.var(losses))

    # A variance of 4,000 draws has a standard error of some 3 %.
    assert 16 * variance(4, 4) == pytest.approx(variance(1, 1), rel=0.2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_unequal_lengths_is_its_sequences_one_by_one(kind):
    model, sequences = make(kind), some()
    batch = batch_of(sequences, kind)
    values = jnp.where(batch.learnt[..., None], batch.values, 1.0)
    filled = dataclasses.replace(batch, values=values)

    def loss(model, batch):
        return temporal.exact_loss(KEY, model, batch)[0]

    whole = jax.value_and_grad(loss)(model, filled)
    if kind == "trbm":  # its memory is random: only what is filled in may change nothing
        alone = jax.value_and_grad(loss)(model, batch)
    else:
        parts = [jax.value_and_grad(loss)(model, batch_of([v], kind)) for v in sequences]
        shares = [length / sum(LENGTHS) for length in LENGTHS]
        alone = jax.tree.map(lambda *x: sum(s * a for s, a in zip(shares, x, strict=True)), *parts)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
    jax.tree.map(close, whole, alone)


def test_warm_up_is_remembered_and_not_learnt():
    model, (v, *_) = make("gru"), some()
    batch = temporal.Sequences(v[None], jnp.array([4]), jnp.array([3]))
    found = temporal.exact_loss(KEY, model, batch)[0]
    assert found == pytest.approx(-log_probs("gru", model, v)[3], rel=1e-9)


def test_dropout_hides_frames_from_the_memory_and_the_memory_from_the_biases():
    """With a rate next to 1 nothing of the past is left; at half of it the loss is another."""
    model, batch = make("conditional"), batch_of(some())
    context = (model.to_visible, model.to_hidden)
    forgetful = dataclasses.replace(
        model,
        **dict(
            zip(("to_visible", "to_hidden"), jax.tree.map(jnp.zeros_like, context), strict=True)
        ),
    )
    for name in ("input_dropout", "memory_dropout"):
        losses = [
            temporal.cd_loss(KEY, m, batch, **rate)[0]
            for m, rate in [
                (model, {}),
                (model, {name: 0.5}),
                (model, {name: 1 - 1e-9}),
                (forgetful, {}),
            ]
        ]
        whole, half, none, blank = map(float, losses)
        assert none == pytest.approx(blank, rel=1e-12)
        assert len({whole, half, none}) == 3


def test_learning_follows_the_loss(implicit_promotion):
    model, batch = make("gru", scale=0.1), batch_of(some() * 10)
    optimizer = optax.adam(0.02)
    state = rbm.init_state(model, optimizer)
    first = temporal.exact_loss(KEY, model, batch)[0]

    @jax.jit
    def learn(state):
        def body(t, state):
            key = jax.random.fold_in(KEY, t)
            return temporal.step(key, state, batch, optimizer=optimizer)[0]

        return jax.lax.fori_loop(0, 300, body, state)

    state = learn(state)
    last = temporal.exact_loss(KEY, state.params, batch)[0]
    assert int(state.step) == 300
    assert last < first - 0.5
