"""What units of convolutional RBMs see, and what they stand for."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import convolutional, dbn, rbm, receptive_fields
from tests.random_models import jolt


def stack(*, border="valid", shared=True):
    """Two layers over images of 11×13 pixels, the first one pooled."""
    make = functools.partial(convolutional.init_params, border=border, shared=shared)
    key = jax.random.key(0)
    sizes = {"valid": (4, 2), "same": (3, 1), "full": (2, 2)}
    size, block = sizes[border]
    first = make(key, (11, 13, 2), 3, size, block=block)
    second = make(key, convolutional.pooled_shape(first), 4, 2)
    return jolt(0, (first, second))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("border", ["valid", "same", "full"])
@pytest.mark.parametrize("depth", [1, 2])
def test_a_unit_sees_the_pixels_that_it_depends_on(border, shared, depth):
    """The derivatives by the pixels are its image, cropped; all others are 0."""
    layers = stack(border=border, shared=shared)[:depth]
    rows, columns, num_maps = layers[-1].weights.map_shape
    place = np.array([rows // 2, columns // 2])
    first, size = receptive_fields.receptive_field(layers, place)
    projected = dbn.feature_images(dbn.DBN(layers), depth - 1).T
    whole = projected.reshape(rows, columns, num_maps, 11, 13, 2)[*place]
    rows, columns = np.nonzero(np.any(whole != 0, axis=(0, 3)))
    seen = [np.arange(start, start + count) for start, count in zip(first, size, strict=True)]
    inside = [x[(x >= 0) & (x < most)] for x, most in zip(seen, (11, 13), strict=True)]
    np.testing.assert_array_equal(np.unique(rows), inside[0])
    np.testing.assert_array_equal(np.unique(columns), inside[1])
    images = receptive_fields.unit_images(layers)
    assert images.shape == (num_maps, *size, 2)
    ends = [slice(x[0] - start, x[-1] - start + 1) for x, start in zip(inside, first, strict=True)]
    expected = whole[:, inside[0][0] : inside[0][-1] + 1, inside[1][0] : inside[1][-1] + 1]
    np.testing.assert_allclose(images[:, ends[0], ends[1]], expected, rtol=1e-5, atol=1e-5)


def test_images_of_the_units_of_a_first_layer_are_its_filters():
    layer, _ = stack()
    np.testing.assert_array_equal(
        receptive_fields.unit_images((layer,)), jnp.moveaxis(layer.weights.filters, -1, 0)
    )


def test_the_field_of_a_rectangle_of_units_is_the_union_of_theirs():
    layers = stack()
    corners, size = receptive_fields.receptive_field(layers, np.array([[0, 1], [1, 2]]))
    first, whole = receptive_fields.receptive_field(layers, np.array([0, 1]), (2, 2))
    np.testing.assert_array_equal(first, corners[0])
    np.testing.assert_array_equal(first + whole, corners[1] + size)
    # 2×2 units below, each a block of 2×2 units with filters of 4×4: 4 + 4 − 1.
    assert size == (7, 7)


def test_crops_are_zero_outside_of_the_image():
    image = jnp.arange(1.0, 13).reshape(3, 4, 1)
    part = receptive_fields.crop(image, jnp.array([-1, 2]), (3, 4))
    np.testing.assert_array_equal(part[..., 0], [[0] * 4, [3, 4, 0, 0], [7, 8, 0, 0]])


def test_dense_layers_are_not_convolutional():
    assert receptive_fields.is_convolutional(stack()[0])
    dense = rbm.init_params(jax.random.key(0), 3, 2)
    assert not receptive_fields.is_convolutional(dense)
    words = "the weights are a matrix, or others that know of no images: take an RBM of `conv"
    with pytest.raises(ValueError, match=words):
        receptive_fields.receptive_field([dense], np.zeros(2, int))
