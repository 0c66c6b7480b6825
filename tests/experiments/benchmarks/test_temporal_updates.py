"""The programs of RNN-RBMs compute what they say, and no product more than their floor."""

import collections
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import rbm, temporal
from experiments.benchmarks import other_libraries, programs, temporal_updates
from tests.random_models import jolt


class Jolted(temporal_updates.Size):
    """Of a model whose memory acts: at first its weights to the biases are zeros."""

    def init(self):
        return jolt(0, super().init(), 0.1)


# Sizes that differ, also from 3 × 5 and 2 × 11, so that shapes tell the products apart.
TINY = Jolted(13, 7, 5, num_gibbs_steps=1, num_sequences=2, num_frames=11)
COLUMNS, ROWS = 15, 22


@functools.cache
def program(make, num_gibbs_steps=1):
    """Of three updates; compiled once for all tests."""
    return make(dataclasses.replace(TINY, num_gibbs_steps=num_gibbs_steps), 3)


def products(make, num_gibbs_steps):
    text = program(make, num_gibbs_steps).call.func.as_text()
    return collections.Counter(
        programs.count_products(text, (13, 7, 5, COLUMNS, TINY.num_sequences, ROWS))
    )


def test_updates_compile_to_the_products_of_the_floor():
    """Loops stand in the text once, and one Gibbs step needs none; of several, one is outside.

    The gates' share of what a frame shows is computed in the loop over the frames, in the floor
    for all at once.
    """
    floor = products(temporal_updates.floor, 1)
    assert floor.total() == 16
    assert products(temporal_updates.floor, 4) == floor
    wanted = floor - collections.Counter(["15x22"]) + collections.Counter(["2x15"])
    assert products(temporal_updates.update, 1) == wanted
    outside = collections.Counter(["7x22", "13x22"])
    assert products(temporal_updates.update, 4) == wanted + outside


def test_the_floor_computes_the_products():
    weights, found = program(temporal_updates.floor).call()
    w = {name: np.asarray(x, np.float64) for name, x in weights.items()}
    # The third update's batch; frames of all sequences, the first frames first.
    v = np.asarray(TINY.batches()[2], np.float64).transpose(1, 0, 2)
    u, memory = [], np.zeros((2, 5))
    for frame in v:
        u.append(memory)
        memory = (frame @ w["I"] + memory @ w["R"])[:, :5]
    u = np.concatenate(u)
    a, c = u @ w["A"], u @ w["C"]
    slopes = (a @ w["A"].T + c @ w["C"].T).reshape(11, 2, 5)
    g, later = [], np.zeros((2, 5))
    for slope in slopes[::-1]:
        g.append(np.tile(slope + later, 3))
        later = g[-1] @ w["R"].T
    g, v = np.concatenate(g[::-1]), v.reshape(22, 13)
    fantasy = v @ w["W"] @ w["W"].T
    wanted = [v.T @ v @ w["W"], fantasy.T @ fantasy @ w["W"], u.T @ a, u.T @ c, u.T @ g, v.T @ g]
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_timed_updates_are_those_of_the_library():
    optimizer = programs.make_optimizer()
    state = rbm.init_state(TINY.init(), optimizer)
    for t in range(3):
        batch = jax.tree.map(jnp.asarray, temporal.Sequences.of(list(TINY.batches()[t])))
        key = jax.random.fold_in(jax.random.key(2), t)
        state, _ = temporal.step(key, state, batch, optimizer=optimizer)
    timed, metrics = program(temporal_updates.update).call()
    assert metrics is None
    assert timed.step == 3
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6),
        timed.params,
        state.params,
    )


def test_pytorch_makes_its_updates():
    (peer,) = other_libraries.SEQUENCE_PEERS
    if peer.version() is None:
        pytest.skip(f"{peer.package} is not installed")
    peer.program(TINY, TINY.batches(), 2).call()
