"""What JAX asks of `cd_step` and `pcd_step`: scan, vmap, shards, compilation, dtypes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dbn_jax import rbm
from tests import jaxprs, oracles
from tests.small_rbms import allclose, make, some_states, trees_allclose

SCHEDULE_CLIPPING_DECAY = optax.chain(
    optax.clip_by_global_norm(1.0),
    optax.add_decayed_weights(2e-4, mask=rbm.weight_mask),
    optax.sgd(optax.linear_schedule(0.1, 0.01, 10)),
)


@pytest.mark.parametrize(
    ("optimizer", "visible"),
    [(SCHEDULE_CLIPPING_DECAY, "bernoulli"), (optax.adam(0.01), "gaussian learnt")],
    ids=["schedule, clipping and decay", "adam"],
)
@jax.numpy_dtype_promotion("standard")  # optax mixes counts and rates
def test_scan_of_steps_equals_a_loop(optimizer, visible):
    params = make(visible, "bernoulli")
    batches = jnp.asarray(some_states(oracles.Model.of(params).visible, (4, 5)), jnp.float32)
    keys = jax.random.split(jax.random.key(0), 4)

    def body(state, key_and_batch):
        key, batch = key_and_batch
        return rbm.cd_step(key, state, batch, optimizer=optimizer)

    begin = rbm.init_state(params, optimizer)
    scanned, metrics = jax.jit(lambda s: jax.lax.scan(body, s, (keys, batches)))(begin)
    state = begin
    for i in range(4):
        state, one = rbm.cd_step(keys[i], state, batches[i], optimizer=optimizer)
        allclose(one["free_energy_data"], metrics["free_energy_data"][i], rtol=1e-4, atol=1e-4)
    assert int(scanned.step) == int(state.step) == 4
    trees_allclose(scanned, state, rtol=1e-4, atol=1e-5)
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), state.params, params)
    for path, has_moved in jax.tree_util.tree_leaves_with_path(moved):
        # What Gaussian units take from the data is not learnt.
        assert has_moved == (path[-1].name not in ("location", "log_bound"))


def counting(optimizer):
    """The optimizer, and a list that grows when its update is traced."""
    traced = []

    def update(*args):
        traced.append(None)
        return optimizer.update(*args)

    return optax.GradientTransformation(optimizer.init, update), traced


@pytest.mark.parametrize("learner", ["cd", "pcd"])
def test_steps_called_directly_compile_once(learner):
    optimizer, traced = counting(optax.sgd(optax.linear_schedule(0.1, 0.0, 9)))
    params = make("bernoulli", "bernoulli")
    chains = rbm.init_chains(jax.random.key(0), params, 4)
    state = rbm.init_state(params, optimizer, chains=chains)
    step = {"cd": rbm.cd_step, "pcd": rbm.pcd_step}[learner]
    for i in range(4):  # new keys, batches, states and learning rates
        state, _ = step(
            jax.random.key(i), state, jnp.full((5, 3), 0.1 * i, jnp.float32), optimizer=optimizer
        )
    assert len(traced) == 1
    other = dataclasses.replace(state, params=make("bernoulli", "bernoulli", seed=9))
    step(jax.random.key(5), other, jnp.ones((5, 3)), optimizer=optimizer)
    assert len(traced) == 1
    step(jax.random.key(5), other, jnp.ones((6, 3)), optimizer=optimizer)
    step(jax.random.key(5), other, jnp.ones((5, 3)), optimizer=optimizer, num_gibbs_steps=2)
    assert len(traced) == 3  # what must be compiled anew: another shape, another program


def test_an_update_keeps_the_chains_unless_they_have_moved():
    params, optimizer = make("bernoulli", "bernoulli"), optax.sgd(0.1)
    chains = rbm.init_chains(jax.random.key(0), params, 4)
    state = rbm.init_state(params, optimizer, chains=chains)
    assert rbm.apply_gradient(state, params, optimizer).chains is chains
    for moved in (1 - chains, None):
        after = rbm.apply_gradient(state, params, optimizer, chains=moved)
        assert after.chains is moved
    assert after.step == 1
    trees_allclose(after.params, jax.tree.map(lambda p: 0.9 * p, params))


def called(function, *args):
    """Names of the compiled functions that remain calls inside a function."""
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    return {equation.params.get("name") for equation in jaxprs.equations(jaxpr)}


def test_steps_are_inlined_into_the_callers_program():
    optimizer = optax.sgd(0.1)
    params = make("bernoulli", "bernoulli")
    chains = rbm.init_chains(jax.random.key(0), params, 4)
    state = rbm.init_state(params, optimizer, chains=chains)
    args = (jax.random.key(0), state, jnp.ones((5, 3)))
    for step in (rbm.cd_step, rbm.pcd_step):
        names = called(functools.partial(step, optimizer=optimizer), *args)
        assert not names & {"cd_step", "cd_gradient", "pcd_step", "pcd_gradient"}
    plain = jax.jit(rbm.cd_gradient.__wrapped__)  # the twin: a jit without inlining is seen
    assert "cd_gradient" in called(plain, args[0], params, args[2])
