import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from dbn_jax.training import chunk
from dbn_jax.training.batches import Window


def add(key, state, batch, amount=1, offset=None):
    del key, batch
    return jax.tree.map(lambda x: x + amount, state), {}


def make(step, state):
    window = Window(jnp.zeros((4, 1)), jnp.arange(4), 0, 1000)
    keys = jax.random.key(0), jax.random.key(1)
    return chunk.Stepper(step, None, state, window, keys=keys, batch_size=2), window


def test_bisection_replays_about_one_chunk():
    """The search finds the update, and costs no more than the chunk did."""

    def step(key, state, batch):
        x = state["x"] + 1
        return {"x": jnp.where(x == 700.0, jnp.nan, x), "y": -x}, {"x": x}

    stepper, window = make(step, {"x": jnp.float32(0), "y": jnp.float32(0)})
    assert stepper.advance(window, 0, 300)
    assert stepper.sums["x"] == 300 * 301 / 2
    assert not stepper.advance(window, 300, 500)
    replayed, run = [], stepper._run
    stepper._run = lambda *args: replayed.append(args[-1]) or run(*args)
    step_number, good, where = stepper.first_bad_update(window, 300, 500)
    assert step_number == 700
    assert good["x"] == 699
    assert where == "['x'] (1 of 1 values)"
    assert sum(replayed) <= 501
    assert len(replayed) <= 11


def test_bisection_replays_the_same_keys_and_batches():
    def step(key, state, batch):
        x = state["x"] + jax.random.uniform(key) + batch.sum()
        return {"x": jnp.where(batch[0, 0] == 600.0, jnp.nan, x)}, {}

    def begin():
        rows = jnp.arange(1000.0)[:, None]
        window = Window(rows, jnp.arange(1000), 0, 500)
        keys = jax.random.key(0), jax.random.key(1)
        state = {"x": jnp.float32(0)}
        return chunk.Stepper(step, None, state, window, keys=keys, batch_size=2), window

    stepper, window = begin()
    assert not stepper.advance(window, 7, 500)
    step_number, good, where = stepper.first_bad_update(window, 7, 500)
    assert step_number == 7 + 301
    assert where == "['x'] (1 of 1 values)"
    expected, window = begin()
    assert expected.advance(window, 7, 300)
    assert good["x"] == expected.state["x"]


def test_only_floats_are_checked():
    state = {"n": jnp.int32(3), "key": jax.random.key(2), "none": None}
    stepper, window = make(lambda key, state, batch: (state, {}), state)
    assert stepper.advance(window, 0, 3)


@pytest.mark.parametrize("bad", [jnp.inf, -jnp.inf, jnp.nan])
def test_what_is_not_finite(bad):
    def step(key, state, batch):
        return state.at[2, 1].set(bad), {}

    stepper, window = make(step, jnp.zeros((3, 2)))
    assert not stepper.advance(window, 0, 1)
    assert stepper.first_bad_update(window, 0, 1)[2] == "the state (1 of 6 values)"


def test_equal_partials_are_equal():
    def hashable(*args, **keywords):
        return chunk._hashable(functools.partial(add, *args, **keywords))

    assert hashable(amount=2, offset=3) == hashable(offset=3, amount=2)
    assert hash(hashable(amount=2)) == hash(hashable(amount=2))
    assert hashable(amount=2) != hashable(amount=3)
    nested = functools.partial(functools.partial(add, amount=2), offset=1)
    assert chunk._hashable(nested) == hashable(amount=2, offset=1)
    assert hashable(amount=2)(None, 1, None) == (3, {})
    assert hashable(amount=2)(None, 1, None, amount=5) == (6, {})
    array = jnp.ones(2)
    with_array = functools.partial(add, amount=array)
    assert chunk._hashable(with_array) is with_array


def test_a_partial_that_holds_arrays_still_trains():
    stepper, window = make(functools.partial(add, amount=jnp.ones(2)), jnp.zeros(2))
    assert stepper.advance(window, 0, 5)
    np.testing.assert_array_equal(stepper.state, [5, 5])


def test_arrays_of_a_partial_are_arguments_of_one_program():
    traced, counts = [], []

    def step(key, state, batch, *, offset, amount):
        traced.append(None)
        return state + amount * jnp.sum(offset), {}

    ends = []
    for offset in (jnp.ones(3, "float32"), jnp.full(3, 5, "float32")):
        stepper, window = make(functools.partial(step, offset=offset, amount=2), jnp.zeros(()))
        assert stepper.advance(window, 0, 4)
        ends.append(float(stepper.state))
        counts.append(len(traced))
    assert ends == [24.0, 120.0]
    assert counts[1] == counts[0]  # the second did not even look at the step again


def test_state_is_not_donated():
    first = jnp.zeros(2)
    stepper, window = make(add, first)
    stepper.advance(window, 0, 5)
    np.testing.assert_array_equal(first, [0, 0])


def test_prepare_state():
    state = chunk.prepare_state({"a": 1.0, "b": np.zeros(2, np.float32), "c": None})
    assert not state["a"].weak_type
    assert isinstance(state["b"], jax.Array)
    assert chunk.replicated(state) is None

    mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = NamedSharding(mesh, PartitionSpec("x"))
    state = {"a": jax.device_put(jnp.zeros(8), rows), "b": jnp.zeros(3)}
    placed = chunk.prepare_state(state)
    assert placed["a"].sharding == rows
    assert placed["b"].sharding == chunk.replicated(state)
    assert len(placed["b"].devices()) == 8


def test_what_step_returns_is_checked():
    with pytest.raises(ValueError, match="must return a pair"):
        make(lambda key, state, batch: state, jnp.zeros(2))
    with pytest.raises(ValueError, match="dict of scalars"):
        make(lambda key, state, batch: (state, [1.0]), jnp.zeros(2))
    with pytest.raises(ValueError, match=r"itself as float32\[2\] and returned float32\[3\]"):
        make(lambda key, state, batch: (jnp.zeros(3), {}), jnp.zeros(2))
