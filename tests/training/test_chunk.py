import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax.training import batches, chunk


def make(step, state, *source):
    """A stepper; an epoch of 1000 updates sees no data, unless a source says otherwise."""
    source = batches.Batches(*source or (None, jax.random.key(2), None, 1000))
    keys = jax.random.key(0), jax.random.key(1)
    return chunk.Stepper(step, None, state, source, keys=keys)


def test_bisection_replays_the_same_keys_and_batches():
    """In the second epoch, whose order is another; it costs no more than the chunk did."""
    rows, key = jnp.arange(1000.0)[:, None], jax.random.key(3)
    bad_row = rows[jax.random.permutation(jax.random.fold_in(key, 1), 1000)[2 * 307], 0]

    def step(key, state, batch):
        x = state["x"] + jax.random.uniform(key) + batch.sum()
        return {"x": jnp.where(batch[0, 0] == bad_row, jnp.nan, x), "y": -state["y"]}, {}

    def begin():
        state = {"x": jnp.float32(0), "y": jnp.float32(0)}
        return make(step, state, rows, key, 2, None)

    stepper = begin()
    assert not stepper.advance(500 + 7, 490)
    replayed, run = [], stepper._run
    stepper._run = lambda *args: replayed.append(args[-1]) or run(*args)
    step_number, good, where = stepper.first_bad_update(500 + 7, 490)
    assert step_number == 500 + 308
    assert where == "['x'] (1 of 1 values)"
    assert sum(replayed) <= 491
    assert len(replayed) <= 11
    expected = begin()
    assert expected.advance(500 + 7, 300)
    assert good["x"] == expected.state["x"]


def test_only_floats_are_checked():
    state = {"n": jnp.int32(3), "key": jax.random.key(2), "none": None}
    assert make(lambda key, state, batch: (state, {}), state).advance(0, 3)


@pytest.mark.parametrize("bad", [jnp.inf, -jnp.inf, jnp.nan])
def test_what_is_not_finite(bad):
    def step(key, state, batch):
        return state.at[2, 1].set(bad), {}

    stepper = make(step, jnp.zeros((3, 2)))
    assert not stepper.advance(0, 1)
    assert stepper.first_bad_update(0, 1)[2] == "the state (1 of 6 values)"
    with pytest.raises(ValueError, match=r"first state holds NaN .* in the state \(1 of 6 values"):
        make(step, stepper.state)


def test_equal_partials_share_a_program():
    """Whatever arrays they hold; as long as what is no array is equal."""
    traced = []

    def step(key, state, batch, amount, offset=0.0):
        traced.append(None)
        return state + amount * jnp.sum(offset), {}

    def run(*args, **keywords):
        """Returns the end, and whether the step was looked at again."""
        before = len(traced)
        stepper = make(functools.partial(step, *args, **keywords), jnp.zeros(()))
        assert stepper.advance(0, 4)
        return float(stepper.state), len(traced) > before

    ones, fives = jnp.ones(3), jnp.full(3, 5, jnp.float32)
    assert run(amount=2.0, offset=ones) == (24.0, True)
    assert run(offset=fives, amount=2.0) == (120.0, False)
    assert run(amount=3.0, offset=ones) == (36.0, True)
    assert run(amount=ones[0], offset=ones) == (12.0, True)  # no longer a constant
    assert run(amount=fives[0], offset=ones) == (60.0, False)


def test_a_partial_that_cannot_be_hashed_still_trains():
    def step(key, state, batch, *, held):
        return state + held[1], {}

    stepper = make(functools.partial(step, held=[1.0, 2.0]), jnp.zeros(()))
    assert stepper.advance(0, 5)
    assert stepper.state == 10


def test_state_is_not_donated():
    first = jnp.zeros(2)
    make(lambda key, state, batch: (state + 1, {}), first).advance(0, 5)
    np.testing.assert_array_equal(first, [0, 0])


TWO = np.zeros(2, np.float32)


@pytest.mark.parametrize(
    ("state", "returned", "message"),
    [
        (TWO, TWO, "must return a pair"),
        (TWO, (TWO, [1.0]), "dict of scalars"),
        (TWO, (TWO, {"x": TWO}), r"metric x is.*scalars"),
        (TWO, ({}, {}), "structure that it got"),
        (TWO, (TWO[:1], {}), r"itself as float32\[2\] and returned float32\[1\]"),
        ({"w": TWO}, ({"w": TWO.astype(np.int32)}, {}), r"\['w'\] as float32.*returned int32"),
    ],
)
def test_what_step_returns_is_checked(state, returned, message):
    with pytest.raises(ValueError, match=message):
        make(
            lambda key, state, batch: returned, chunk.prepare_state(state, None, is_ensemble=False)
        )
