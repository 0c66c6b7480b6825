"""What the compiled updates of many devices cost, by their text: products and collectives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dbn_jax import learning, parallel, rbm
from dbn_jax.likelihood import annealing
from dbn_jax.training import batches, chunk
from experiments.benchmarks import hlo

NUM_VISIBLE, NUM_HIDDEN, BATCH = 60, 40, 80
OPTIMIZER = optax.sgd(0.1, momentum=0.9)
LEARNERS = {
    "CD": learning.CD(),
    "PCD": learning.PCD(80),
    "PCD, uneven chains": learning.PCD(100),
    "fast PCD": learning.FastPCD(80),
    "tempering": learning.ParallelTempering(80, 3),
    "centred": learning.Centred(learning.PCD(80)),
    "sparse": learning.Sparse(learning.CD()),
}


def update_of(learner, num_devices, members=None):
    """The work of an update in the training loop."""
    keys = tuple(jax.random.split(jax.random.key(0), (2, members) if members else (2,)))
    with parallel.devices(num_devices, members=members or 1):
        params = rbm.init_params(jax.random.key(0), NUM_VISIBLE, NUM_HIDDEN)
        state = learning.init_state(jax.random.key(1), params, learner=learner, optimizer=OPTIMIZER)
        if members:
            state = jax.tree.map(lambda x: jnp.stack([x] * members), state)
        mesh = parallel.mesh_of(())
        state = chunk.prepare_state(state, mesh, is_ensemble=members is not None)
        images = np.zeros((1000, NUM_VISIBLE), np.float32)
        source = batches.Batches(images, keys[0], BATCH, None, mesh)
        step = functools.partial(learning.step, learner=learner, optimizer=OPTIMIZER)
        stepper = chunk.Stepper(step, None, state, source, keys=keys)
        inputs = stepper.inputs(stepper.state, stepper.sums, 0, 1)
        return hlo.update(chunk.advance.lower(*inputs).compile().as_text())


@pytest.mark.parametrize("name", LEARNERS)
def test_devices_share_an_update_and_add_up_once(name):
    one, eight = (update_of(LEARNERS[name], count) for count in (1, 8))
    assert one.collectives == []
    assert eight.flops <= 1.35 * one.flops / 8 if "uneven" in name else 1.1 * one.flops / 8
    (sum_up,) = eight.collectives
    assert sum_up.kind == "all-reduce"
    # Weights of both phases apart: only compilers for accelerators add them up before.
    weights = 4 * NUM_VISIBLE * NUM_HIDDEN
    small = 4 * 8 * (NUM_VISIBLE + NUM_HIDDEN)
    assert sum_up.num_bytes <= 2 * weights + small


def test_devices_share_members_without_a_word():
    alone, shared = update_of(learning.CD(), 1), update_of(learning.CD(), 8, members=8)
    assert shared.flops <= 1.1 * alone.flops
    assert shared.collectives == []


def test_devices_share_the_chains_of_annealing():
    def flops(num_devices):
        with parallel.devices(num_devices):
            params = rbm.init_params(jax.random.key(0), NUM_VISIBLE, NUM_HIDDEN)
            run = functools.partial(
                annealing.ais, betas=jnp.linspace(0, 1, 9, dtype=jnp.float32), num_chains=80
            )
            return hlo.update(jax.jit(run).lower(jax.random.key(1), params).compile().as_text())

    one, eight = flops(1), flops(8)
    assert eight.flops <= 1.1 * one.flops / 8
    assert eight.collectives == []
