"""Labels as units, and the mesh of a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import numerics


@pytest.mark.parametrize("kind", [np.int64, np.uint8, jnp.int32])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_labels_are_one_hot(kind, dtype):
    labels = np.array([[0, 2], [255, 1]])
    make = kind if kind is jnp.int32 else lambda labels: labels.astype(kind)
    found = numerics.one_hot(make(labels), 300, dtype)  # more classes than a byte tells apart
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.eye(300)[labels])


@pytest.mark.parametrize("label", [-1, 3, 2**32])
def test_a_label_that_does_not_exist_is_refused(label):
    words = (
        rf"there is no label {label}; those of 3 classes are 0 to 2: number the classes from 0, "
        "and count all of them"
    )
    with pytest.raises(ValueError, match=words):
        numerics.one_hot(np.array([0, label, 2]), 3, jnp.float32)


@pytest.mark.parametrize("kind", [np.float32, bool])
def test_labels_that_are_no_numbers_of_classes_are_refused(kind):
    words = f"the labels are {np.dtype(kind)} numbers; give the number of each class as an i"
    with pytest.raises(TypeError, match=words):
        numerics.one_hot(np.array([0, 1]).astype(kind), 3, jnp.float32)


def test_a_traced_label_that_does_not_exist_is_nan():
    found = jax.jit(lambda x: numerics.one_hot(x, 2, jnp.float32))(jnp.array([1, 2, -1, 0]))
    np.testing.assert_array_equal(found, [[0, 1], [np.nan] * 2, [np.nan] * 2, [1, 0]])
