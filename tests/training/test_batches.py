import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from jax.sharding import NamedSharding, PartitionSpec

from dbn_jax.training import batches

KEY = jax.random.key(1)


def data():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (23, 3)).astype(np.uint8)
    return {"image": image, "label": np.arange(23, dtype=np.int32)}


def test_batches_are_the_rows_of_a_permutation():
    """Of one whose bits runs that are resumed, and published ones, depend on."""
    source = batches.Batches(data(), KEY, 5, None)
    assert source.updates_per_epoch == 4
    for epoch in (0, 1, 0):
        rows = jax.random.permutation(jax.random.fold_in(KEY, epoch), 23).reshape(23)
        for i in range(4):
            batch = batches.gather(source.data, source.order(epoch), i, source.batch_size)
            np.testing.assert_array_equal(batch["label"], rows[5 * i : 5 * i + 5])
            np.testing.assert_array_equal(batch["image"], data()["image"][batch["label"]])


def test_placement():
    """Data from the host are placed; those that lie on devices stay where they are."""
    mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    everywhere = NamedSharding(mesh, PartitionSpec())
    on_device = jnp.arange(20)
    placed = batches.Batches([np.arange(20), on_device], KEY, 5, None, mesh).data
    assert placed[0].sharding == everywhere
    assert placed[1] is on_device


@pytest.mark.parametrize("bad", [{}, {"a": np.zeros(3), "b": np.float32(1)}, [np.zeros(3), 1]])
def test_no_common_axis(bad):
    with pytest.raises(ValueError, match="common leading axis"):
        batches.num_examples(bad)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ([[0.0, 1.0]] * 9, "data[0] is a list, not an array of numbers: make one by numpy.asarray"),
        (
            {"image": scipy.sparse.csr_matrix(np.eye(3))},
            "data['image'] is a csr_matrix, not an array of numbers: make one by its .toarray()",
        ),
        (
            np.ma.masked_less(np.eye(3), 0.5),
            "data is a MaskedArray, not an array of numbers: make one by its .filled()",
        ),
        (np.array(["7", "b"]), "data is an array of <U1, not of numbers: convert it"),
    ],
)
def test_what_is_no_array(bad, words):
    with pytest.raises(TypeError, match=f"^{re.escape(words)}$"):
        batches.num_examples(bad)


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_nan_on_the_host_is_named_before_any_update(value):
    """By row and column, in any leaf; integers have none."""
    bad = data() | {"x": np.zeros((23, 3), jnp.bfloat16), "y": np.zeros((23, 2, 2), np.float32)}
    batches.Batches(bad, KEY, 5, None)
    bad["x"][[4, 9], 2] = value
    words = (
        f"data['x']: 2 of 23 rows hold NaN or infinity, the first at row 4, column 2 ({value}); "
        "leave those rows out, or fill the gaps"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        batches.Batches(bad, KEY, 5, None)
    bad["x"][:], bad["y"][3, 1, 0] = 0, value
    with pytest.raises(ValueError, match=r"data\['y'\]: 1 of 23 rows .* row 3, column 1, 0 \("):
        batches.Batches(bad, KEY, 5, None)


def test_fewer_examples_than_a_batch():
    with pytest.raises(ValueError, match="23 examples, fewer than the batch size 24"):
        batches.Batches(data(), KEY, 24, None)


@pytest.mark.parametrize(
    ("given", "of_the_other", "remedy"),
    [
        (None, (10, None), "without data, give updates_per_epoch alone"),
        (data(), (None, 5), "with data, give batch_size alone"),
    ],
)
def test_what_says_how_long_an_epoch_is(given, of_the_other, remedy):
    for sizes in ((None, None), of_the_other, (10, 5)):
        words = "batch_size is {} and updates_per_epoch {}; ".format(*sizes) + remedy
        with pytest.raises(ValueError, match=words):
            batches.Batches(given, KEY, *sizes)
