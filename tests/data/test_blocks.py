"""Rows of a data set: block by block, spread evenly, by label."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import data
from dbn_jax.data import blocks

KEY = jax.random.key(5)


def test_apply_is_the_transform_compiled_once():
    traced = []

    def transform(key, rows):
        traced.append(rows)
        return jax.random.normal(key, rows["x"].shape) + rows["x"], rows["label"]

    rows = {"x": np.arange(6.0, dtype=np.float32).reshape(3, 2), "label": np.arange(3)}
    found = data.apply(transform, KEY, rows)
    again = data.apply(transform, jax.random.key(6), rows)
    assert len(traced) == 1
    jax.tree.map(np.testing.assert_allclose, found, transform(KEY, rows))
    assert not np.allclose(found[0], again[0])


@pytest.mark.parametrize("size", [1, 4, 5, 10, 1000])
def test_blocks_are_put_together_in_order(monkeypatch, size):
    monkeypatch.setattr(blocks, "_BLOCK", size)
    rows = np.arange(20).reshape(10, 2), {"label": np.arange(10), "none": None}
    sizes = []

    def function(key, block):
        x, rest = block
        assert rest["none"] is None
        assert key == jax.random.fold_in(KEY, rest["label"][0])
        sizes.append(len(x))
        return {"sum": jnp.sum(x, axis=1), "label": rest["label"]}

    found = data.in_blocks(function, KEY, rows)
    np.testing.assert_array_equal(found["sum"], rows[0].sum(axis=1))
    np.testing.assert_array_equal(found["label"], np.arange(10))
    assert all(isinstance(x, np.ndarray) for x in found.values())  # on the host
    assert sizes == [min(size, 10 - start) for start in range(0, 10, size)]


def test_spread_reaches_from_the_first_row_to_the_last():
    rows = np.arange(1000), {"x": np.arange(2000).reshape(1000, 2)}
    chosen, rest = data.spread(rows, 11)
    assert (chosen[0], chosen[-1]) == (0, 999)
    assert set(np.diff(chosen)) <= {99, 100}
    np.testing.assert_array_equal(rest["x"][:, 0], 2 * chosen)
    for count in (1000, 5000):  # all of them, once each
        np.testing.assert_array_equal(data.spread(rows, count)[0], np.arange(1000))
    np.testing.assert_array_equal(data.spread(jnp.arange(7), 3), [0, 3, 6])


def test_rows_with_labels_are_spread_over_those_that_have_them():
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 0, 2])
    wanted = np.array([0, 1, 0, 2, 0, 2, 5])
    np.testing.assert_array_equal(blocks.rows_with_labels(labels, wanted), [3, 0, 5, 8, 7, 8, 0])
