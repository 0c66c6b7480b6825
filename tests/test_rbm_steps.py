"""What JAX asks of `cd_step` and `pcd_step`: scan, vmap, shards, compilation, dtypes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from dbn_jax import learning, rbm
from tests import oracles
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


def test_mean_over_shards_equals_the_mean_of_their_gradients():
    """In shard_map every leaf is the shard's own gradient: none is summed over devices already."""
    params = make("gaussian learnt", "bernoulli")
    batch = jnp.asarray(some_states(oracles.Model.of(params).visible, 16), jnp.float32)
    key = jax.random.key(0)
    mesh = Mesh(np.array(jax.devices()[:8]), ("data",))
    assert mesh.size == 8
    chains = rbm.init_chains(jax.random.key(1), params, 24)

    def gradients(key, params, chains, batch):
        cd = rbm.cd_gradient(key, params, batch, num_gibbs_steps=3)
        pcd, moved, metrics = rbm.pcd_gradient(key, params, chains, batch, num_gibbs_steps=2)
        inputs = rbm.hidden_inputs(params, batch)
        exact, _, _ = learning.Exact().estimate(key, params, None, batch)
        free_energy = rbm.free_energy_gradient(params, batch, inputs)
        return (cd, pcd, metrics, exact, free_energy), moved

    def on_a_shard(key, params, chains, batch):
        key = jax.random.fold_in(key, jax.lax.axis_index("data"))
        found, moved = gradients(key, params, chains, batch)
        return jax.lax.pmean(found, "data"), moved

    sharded = jax.shard_map(
        on_a_shard,
        mesh=mesh,
        in_specs=(P(), P(), P("data"), P("data")),
        out_specs=(P(), P("data")),
    )
    found, moved = jax.jit(sharded)(key, params, chains, batch)
    one = jax.jit(gradients)
    each = [
        one(jax.random.fold_in(key, i), params, chains[3 * i : 3 * i + 3], batch[2 * i : 2 * i + 2])
        for i in range(8)
    ]
    means = jax.tree.map(lambda *x: np.mean(x, axis=0), *(x[0] for x in each))
    trees_allclose(found, means, atol=1e-5)
    allclose(moved, np.concatenate([x[1] for x in each]), atol=1e-5)
    # Statistics without chance equal those of the whole batch on a single device.
    whole = jax.jit(
        lambda params, v: rbm.free_energy_gradient(params, v, rbm.hidden_inputs(params, v))
    )
    trees_allclose(found[-1], whole(params, batch), atol=1e-5)


def test_a_batch_spread_over_devices_gives_the_same_update():
    """Sharded data in, the same program, the same random numbers, the same update."""
    optimizer = optax.sgd(0.1, momentum=0.9)
    params = make("bernoulli", "bernoulli")
    state = rbm.init_state(params, optimizer)
    batch = jnp.asarray(some_states(oracles.Model.of(params).visible, 16), jnp.float32)
    mesh = Mesh(np.array(jax.devices()[:8]), ("data",))
    spread = jax.device_put(batch, NamedSharding(mesh, P("data")))
    assert len(spread.sharding.device_set) == 8
    state_everywhere = jax.device_put(state, NamedSharding(mesh, P()))
    key = jax.random.key(0)
    alone = rbm.cd_step(key, state, batch, optimizer=optimizer, num_gibbs_steps=2)
    together = rbm.cd_step(key, state_everywhere, spread, optimizer=optimizer, num_gibbs_steps=2)
    trees_allclose(together, alone)


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
    return {equation.params.get("name") for equation in oracles.equations(jaxpr)}


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
