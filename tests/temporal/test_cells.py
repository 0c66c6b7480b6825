"""Recurrent cells: made, described, and built again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dbn_jax.temporal import cells

KEY = jax.random.key(0)


@pytest.mark.parametrize("kind", cells.CELLS)
def test_a_cell_is_built_again_from_its_description(kind):
    cell, carry = cells.make(KEY, kind, 3, 4)
    for part in jax.tree.leaves(carry):
        np.testing.assert_array_equal(part, np.zeros(4))
    how, arrays = cells.describe(cell)
    assert how == {"kind": kind, "num_inputs": 3, "size": 4}
    again = cells.rebuild(arrays, **how)
    x, last = jnp.arange(3.0), jax.tree.map(lambda c: c + 0.5, carry)
    after, u = cell(last, x)
    jax.tree.map(np.testing.assert_array_equal, again(last, x), (after, u))
    # The output is the last leaf of the carry, as an RNN-RBM takes it.
    np.testing.assert_array_equal(jax.tree.leaves(after)[-1], u)
    other, _ = cells.make(jax.random.key(1), kind, 3, 4)
    assert np.abs(other(last, x)[1] - u).max() > 0.01


def test_the_plain_cell_has_logistic_units():
    cell, carry = cells.make(KEY, "plain", 3, 4)
    large = jax.tree.map(lambda p: 0 * p + 100, cell)
    np.testing.assert_array_equal(large(carry, jnp.ones(3))[1], np.ones(4))
    np.testing.assert_array_equal(large(carry, -jnp.ones(3))[1] < 1e-6, np.ones(4, bool))


@pytest.mark.parametrize(
    "cell",
    [
        nnx.SimpleCell(3, 4, rngs=nnx.Rngs(0)),
        nnx.GRUCell(3, 4, gate_fn=nnx.tanh, rngs=nnx.Rngs(0)),
        nnx.LSTMCell(3, 4, rngs=nnx.Rngs(0)),
    ],
    ids=lambda cell: type(cell).__name__,
)
def test_a_cell_of_other_functions_is_none_of_them(cell):
    words = rf"the {type(cell).__name__} is none of the cells plain, gru, lstm as `cells.make`"
    with pytest.raises(TypeError, match=words):
        cells.describe(cell)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"^there is no cell 'elman'; choose one of plain, gru, l"):
        cells.make(KEY, "elman", 3, 4)
    how, arrays = cells.describe(cells.make(KEY, "gru", 3, 4)[0])
    with pytest.raises(ValueError, match=r"^the gru cell has arrays \{.*\(3, 12\).*; expected"):
        cells.rebuild(arrays, **how | {"num_inputs": 2})
    arrays.popitem()
    with pytest.raises(ValueError, match=r"^the gru cell has arrays"):
        cells.rebuild(arrays, **how)
