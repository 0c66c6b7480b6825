"""The benchmark's programs compute what they say, and no product more than their floors."""

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import learning, rbm
from dbn_jax.learning import bound_gradient, updown
from experiments.benchmarks import net_updates, other_libraries, programs, rbm_updates
from experiments.benchmarks.bound_products import BOUND
from experiments.benchmarks.programs import Case
from experiments.benchmarks.updown_products import UPDOWN

# Three sizes that differ, so that the shapes of the products tell them apart.
TINY = Case(12, 8, 6)
# The same; 8 examples make 16 paths, the top RBM has 13 visible units.
TINY_NET = net_updates.Net(sizes=(24, 12, 10, 32), num_labels=3, batch_size=8)


@pytest.fixture(scope="module")
def batches():
    return jax.device_put(programs.make_batches(TINY))


def test_a_sixth_product_is_counted():
    def seven(w, v):
        h = v @ w
        return (h @ w.T) @ w, v.T @ h, (v + 1).T @ h, (v + 2).T @ h, v @ jnp.ones(12)

    arguments = (jnp.ones((12, 8)), jnp.ones((6, 12)))
    hlo = jax.jit(seven).lower(*arguments).compile().as_text()
    assert programs.count_products(hlo, (12, 8, 6)) == {"6x8": 2, "6x12": 1, "8x12": 3}


def test_products_are_found_under_the_names_that_accelerators_use():
    hlo = """
      %a = f32[6,8]{1,0:T(8,128)} convolution(%x, %y), dim_labels=bf_io->bf
      ROOT %b = (f32[8,12]{1,0}, s8[4096]{0}) custom-call(%x), custom_call_target="__cublas$gemm"
      %c = f32[6,8]{1,0} custom-call(%x), custom_call_target="TopK"
      %d = f32[1,12]{1,0} dot(%x, %y), lhs_contracting_dims={0}
    """
    assert programs.count_products(hlo, (12, 8, 6)) == {"6x8": 1, "8x12": 1}


def test_floor_computes_the_five_products(batches):
    # Four updates: the carry holds what the last one, on the fourth batch, gave.
    weights, (last_hidden, positive, negative) = rbm_updates.floor(TINY, batches, 4).call()
    v = np.asarray(batches[3], np.float64)
    w = np.asarray(weights, np.float64)
    h = v @ w
    v2 = h @ w.T
    close = dict(rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(last_hidden, v2 @ w, **close)
    np.testing.assert_allclose(positive, v.T @ h, **close)
    np.testing.assert_allclose(negative, v2.T @ (v2 @ w), **close)


def test_timed_updates_are_those_of_cd_step(batches):
    optimizer = programs.make_optimizer()
    state = rbm.init_state(rbm_updates.init_params(TINY), optimizer)
    for t in range(3):
        key = jax.random.fold_in(jax.random.key(2), t)
        state, _ = rbm.cd_step(key, state, batches[t], optimizer=optimizer)
    timed, metrics = rbm_updates.update(TINY, batches, 3, name="cd").call()
    assert metrics is None
    assert timed.step == 3
    np.testing.assert_allclose(timed.params.weights, state.params.weights, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("peer", other_libraries.PEERS, ids=lambda peer: peer.name)
@pytest.mark.filterwarnings("ignore")  # other people's deprecations
def test_other_libraries_make_their_updates(peer):
    if peer.version() is None:
        pytest.skip(f"{peer.package} is not installed")
    peer.program(TINY, programs.make_batches(TINY), 2).call()


@functools.cache
def program(make, method, num_gibbs_steps):
    """Of three updates; compiled once for all tests."""
    return make(method, TINY_NET, num_gibbs_steps, 3)


def products(text):
    """Of a compiled program for `TINY_NET`, by shape of the result."""
    sizes = (8, 16, *TINY_NET.sizes, 13)
    return collections.Counter(programs.count_products(text, sizes))


def products_of(*which):
    return products(program(*which).call.func.as_text())


@pytest.mark.parametrize(
    ("method", "total", "outside"),
    [(UPDOWN, 17, {"8x13": 1, "8x32": 1}), (BOUND, 21, {"13x16": 2, "16x32": 2})],
    ids=["updown", "bound"],
)
def test_nets_compile_to_the_products_of_their_floors(method, total, outside):
    """Loops stand in the text once, and one Gibbs step needs none.

    Of several, up-down's last one stands outside of the loop, and CD's first; the floors loop over
    them all.
    """
    floor = products_of(net_updates.floor, method, 1)
    assert floor.total() == total
    assert products_of(net_updates.update, method, 1) == floor
    assert products_of(net_updates.floor, method, 4) == floor
    assert products_of(net_updates.update, method, 4) == floor + collections.Counter(outside)


def test_metrics_of_the_bound_add_no_product():
    optimizer = programs.make_optimizer()
    state = BOUND.init_state(TINY_NET.init(), optimizer)
    v, labels = TINY_NET.data()
    compiled = bound_gradient.step.lower(
        *(jax.random.key(0), state, v[0], labels[0]), optimizer=optimizer, learner=learning.CD()
    ).compile()
    assert products(compiled.as_text()) == products_of(net_updates.floor, BOUND, 1)


@pytest.mark.parametrize(
    ("method", "step", "setting"),
    [
        (UPDOWN, updown.step, {"num_gibbs_steps": 1}),
        (BOUND, bound_gradient.step, {"learner": learning.CD(1)}),
    ],
    ids=["updown", "bound"],
)
def test_timed_updates_of_nets_are_those_of_the_library(method, step, setting):
    v, labels = TINY_NET.data()
    optimizer = programs.make_optimizer()
    timed, _ = program(net_updates.update, method, 1).call()
    state = method.init_state(TINY_NET.init(), optimizer)
    for t in range(3):
        key = jax.random.fold_in(jax.random.key(2), t)
        state, _ = step(key, state, v[t], labels[t], optimizer=optimizer, **setting)
    assert timed.step == 3
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6),
        timed.params,
        state.params,
    )
