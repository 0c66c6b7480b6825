"""The programs of convolutional RBMs compute what they say, no product more than their floor."""

import functools
import re

import jax
import numpy as np
import pytest

from dbn_jax import linear, rbm
from experiments.benchmarks import (
    convolutional_updates,
    hlo,
    other_libraries,
    programs,
    rbm_updates,
    timing,
)

TINY = convolutional_updates.Size((7, 6, 2), num_maps=3, filter_size=3, block=1, batch_size=4)
POOLED = convolutional_updates.Size((8, 6, 2), num_maps=3, filter_size=3, block=2, batch_size=4)


@functools.cache
def program(make, size, **settings):
    """Of three updates; compiled once for all tests."""
    return make(size, 3, **settings)


def num_products(program):
    """Of one update, as it was compiled; sums written as products with a vector do not count."""
    computations = hlo.parse(program.call.func.as_text()).values()
    operations = [x for computation in computations for x in computation.values()]
    products = [x for x in operations if x.operation in ("dot", "convolution")]
    lengths = [re.search(r"\[(.*)\]", x.type)[1].split(",") for x in products]
    return sum(len(x) > 1 and "1" not in x for x in lengths)


def test_the_floor_computes_the_products():
    weights, found = program(convolutional_updates.floor, TINY).call()
    w = np.asarray(linear.matrix(weights), np.float64)
    v = np.asarray(TINY.batches()[2], np.float64)  # the third update's batch
    h = v @ w
    last_v = h @ w.T

    def of_filters(x, y):
        """The derivative of Σ x W yᵀ: the matrix's, taken to the filters."""
        of_matrix = jax.linear_transpose(linear.matrix, weights)
        return of_matrix((x.T @ y).astype(np.float32))[0].filters

    close = dict(rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[0].filters, of_filters(v, h), **close)
    np.testing.assert_allclose(found[1].filters, of_filters(last_v, last_v @ w), **close)


@pytest.mark.parametrize(("size", "pooled"), [(POOLED, True), (POOLED, False), (TINY, True)])
def test_updates_compile_to_the_products_of_the_floor(size, pooled):
    # Two upwards, which are convolutions; one down, and two of both phases, one for each row.
    needed = 2 + 3 * size.filter_size
    assert num_products(program(convolutional_updates.floor, size)) == needed
    assert num_products(program(convolutional_updates.update, size, pooled=pooled)) == needed


def test_timed_updates_are_those_of_cd_step():
    optimizer = programs.make_optimizer()
    state = rbm.init_state(POOLED.init(), optimizer)
    for t in range(3):
        key = jax.random.fold_in(jax.random.key(2), t)
        state, _ = rbm.cd_step(key, state, POOLED.batches()[t], optimizer=optimizer)
    timed, metrics = program(convolutional_updates.update, POOLED).call()
    assert metrics is None
    assert timed.step == 3
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6),
        timed.params,
        state.params,
    )


def test_the_dense_rbm_has_as_many_units():
    params = POOLED.init()
    assert POOLED.dense() == (params.visible.num_units, params.hidden.num_units, 4)


def test_a_dense_rbm_that_is_too_large_is_left_out(monkeypatch):
    """And the memory of the others is that of one update, compiled alone."""
    monkeypatch.setattr(timing, "_WARM_UP", 0)
    case = TINY.dense()
    monkeypatch.setattr(
        convolutional_updates, "_MAX_DENSE_BYTES", 4 * case.num_visible * case.num_hidden - 1
    )
    found = convolutional_updates.compare({"tiny": TINY}, (), 1, 1e-4)["tiny"]
    assert list(found) == ["floor", "update", "unpooled"]
    assert found["floor"]["memory"] is None
    # Filters, two biases and their momentum; the step; a key; a batch.
    numbers = 2 * (3 * 3 * 2 * 3 + 2 + 3) + 1 + 2 + 4 * case.num_visible
    assert found["update"]["memory"]["arguments"] == 4 * numbers
    assert found["update"]["memory"]["temporary"] >= 4 * 4 * case.num_hidden


def test_memory_of_a_dense_rbm_is_that_of_its_weights():
    case = rbm_updates.Case(12, 8, 6)
    found = programs.memory(rbm_updates.learning(case, programs.make_batches(case)))
    assert found["arguments"] == 4 * (2 * (12 * 8 + 12 + 8) + 1 + 2 + 6 * 12)


@pytest.mark.filterwarnings("ignore")  # other people's deprecations
def test_learnergy_makes_its_updates():
    (peer,) = other_libraries.IMAGE_PEERS
    if peer.version() is None:
        pytest.skip(f"{peer.package} is not installed")
    peer.program(TINY, TINY.batches(), 2).call()
