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
    monkeypatch.setattr(blocks, "BLOCK", size)
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


def test_spread_takes_a_row_of_each_part():
    rows = np.arange(1000), {"x": np.arange(2000).reshape(1000, 2)}
    chosen, rest = data.spread(rows, 10)
    np.testing.assert_array_equal(chosen // 100, np.arange(10))
    np.testing.assert_array_equal(rest["x"][:, 0], 2 * chosen)
    for count in (1000, 5000):  # all of them, once each
        np.testing.assert_array_equal(data.spread(rows, count)[0], np.arange(1000))
    np.testing.assert_array_equal(np.diff(data.spread(jnp.arange(7), 3)) > 0, True)


@pytest.mark.parametrize("count", [400, 1000, 2000])
@pytest.mark.parametrize("is_sorted", [False, True])
def test_spread_rows_have_the_classes_of_all(count, is_sorted):
    """Also where the classes take turns, as in the digits that packages ship."""
    labels = np.arange(4000) % 10
    chosen = data.spread(np.sort(labels) if is_sorted else labels, count)
    counts = np.bincount(chosen, minlength=10)
    # Five standard errors of a count; sorted, each class has its own parts.
    error = 0 if is_sorted else 5 * np.sqrt(0.1 * 0.9 * count * (1 - count / 4000))
    np.testing.assert_allclose(counts, count / 10, atol=error)


def test_rows_with_labels_are_spread_over_those_that_have_them():
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 0, 2])
    wanted = np.array([0, 1, 0, 2, 0, 2, 5])
    found = blocks.rows_with_labels(labels, wanted)
    np.testing.assert_array_equal(labels[found], [0, 1, 0, 2, 0, 2, 1])  # 1 where no row has it
    assert 3 <= found[0] < found[2] < found[4] <= 7
    assert (found[3], found[5], found[6]) == (8, 8, 0)
