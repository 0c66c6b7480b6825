"""Weights with structure against their matrices, and each way to a product against the others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import convolutional, linear, testing
from tests import convolutional_oracle
from tests.random_models import at_random
from tests.small_rbms import allclose

CASES = [
    ((4, 5, 2), 3, 2, border, shared)
    for border in ("valid", "same", "full")
    for shared in (True, False)
] + [((3, 3, 1), 2, 3, "same", True), ((2, 2, 3), 2, 4, "full", True)]
every_case = pytest.mark.parametrize("case", CASES, ids=str)


def make(case):
    image_shape, num_maps, size, border, shared = case

    def blank():
        key = jax.random.key(0)
        options = {"border": border, "shared": shared, "dtype": jnp.float64}
        return convolutional.init_params(key, image_shape, num_maps, size, **options).weights

    return at_random(0, blank)


def values(weights):
    random = np.random.default_rng(1)
    num_visible, num_hidden = weights.shape
    return (jnp.asarray(random.normal(size=(2, 3, n))) for n in (num_visible, num_hidden))


@every_case
@pytest.mark.usefixtures("x64")
def test_the_matrix_and_its_products(case):
    """The kit takes the matrix from `up`."""
    weights = make(case)
    matrix = convolutional_oracle.matrix(weights)
    assert (weights.ndim, weights.dtype, weights.shape) == (2, jnp.float64, matrix.shape)
    allclose(linear.matrix(weights), matrix)
    testing.check_weights(jax.random.key(0), weights)


@every_case
@pytest.mark.parametrize("platform", ["cpu", "others"])
@pytest.mark.usefixtures("x64")
def test_every_way_gives_the_same(case, platform, monkeypatch):
    """What follows from `up` by differentiation, and what is written out for speed."""
    weights = make(case)
    x, y = values(weights)
    expected = linear.LinearMap.down(weights, y), linear.LinearMap.outer_total(weights, x, y)
    if platform == "others":
        monkeypatch.setattr(
            jax.lax, "platform_dependent", lambda *args, default, **others: default(*args)
        )
    allclose(weights.down(y), expected[0])
    allclose(weights.outer_total(x, y).filters, expected[1].filters)


def test_a_matrix_is_its_own():
    matrix = jnp.arange(6.0).reshape(2, 3)
    assert linear.matrix(matrix) is matrix
    assert linear.dense(matrix) is matrix
    x, y = jnp.ones((4, 2)), jnp.arange(12.0).reshape(4, 3)
    allclose(linear.product(x, matrix), x @ matrix)
    allclose(linear.product_transposed(y, matrix), y @ matrix.T)
    allclose(linear.outer_total(x, y, like=matrix), x.T @ y)


@pytest.mark.usefixtures("x64")
def test_only_a_matrix_is_dense():
    words = "the weights are Convolution, where only a matrix will do: take an RBM of `rbm.init_p"
    with pytest.raises(ValueError, match=words):
        linear.dense(make(CASES[0]))
