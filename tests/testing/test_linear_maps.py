"""The kit for weights with structure of one's own."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import linear, pytrees, testing

KEY = jax.random.key(0)


@pytrees.dataclass
class LowRank(linear.LinearMap):
    """W = U Vᵀ with a V that is not learnt: the sums of pairs of hidden units."""

    left: jax.Array

    @property
    def shape(self):
        return self.left.shape[0], 2 * self.left.shape[1]

    def up(self, x):
        return jnp.repeat(x @ self.left, 2, axis=-1)


@pytrees.dataclass
class Shifted(LowRank):
    def up(self, x):
        return super().up(x) + 1


@pytrees.dataclass
class Constant(LowRank):
    def up(self, x):
        return super().up(x) + x[..., :1]


@pytrees.dataclass
class Squared(LowRank):
    def up(self, x):
        return jnp.repeat(x @ self.left**2, 2, axis=-1)


@pytrees.dataclass
class WrongDown(LowRank):
    def down(self, y):
        return y[..., ::2] @ self.left.T


@pytrees.dataclass
class WrongTotal(LowRank):
    def outer_total(self, x, y):
        return jax.tree.map(lambda leaf: leaf / 2, super().outer_total(x, y))


@pytrees.dataclass
class WrongShape(LowRank):
    @property
    def shape(self):
        return self.left.shape


class NoPytree(linear.LinearMap):
    shape = (3, 2)

    def up(self, x):
        return x[..., :2]


SENTENCES = {
    Shifted: (
        ".up: at (0, 1, 2) of its result it is 1.061, but the sum over units, each alone, is "
        "-0.008473: it is not linear in x"
    ),
    Constant: (
        ".up: at (0, 0) the matrix is 1, not 0, where all arrays are 0: it is not linear in the "
        "arrays"
    ),
    Squared: (
        ".up: at (2, 0) the matrix is 0.2869, but the sum over the arrays' numbers, each alone, is "
        "-0.5357: it is not linear in the arrays"
    ),
    WrongDown: (
        ".down: at (1, 2, 1) of its result it is 0.37, but the product with the transposed matrix "
        "is 1.485"
    ),
    WrongTotal: (
        ".outer_total: number 0 of its arrays is -1.736, but the derivative of Σ x W yᵀ by it is "
        "-3.472"
    ),
    WrongShape: (
        ".up: of shape (2, 3, 3) it makes float64 of shape (2, 3, 4); expected float64 of shape "
        "(2, 3, 2)"
    ),
    NoPytree: " is no pytree with arrays: decorate the class with dbn_jax.pytrees.dataclass",
}


def left():
    return jnp.asarray(np.random.default_rng(0).normal(size=(3, 2)), jnp.float32)


def test_right_weights_pass():
    testing.check_weights(KEY, LowRank(left()))


@pytest.mark.parametrize("wrong", SENTENCES, ids=lambda cls: cls.__name__)
def test_each_mistake_has_its_sentence(wrong):
    weights = wrong() if wrong is NoPytree else wrong(left())
    with pytest.raises(AssertionError, match=f"^{re.escape(wrong.__name__ + SENTENCES[wrong])}$"):
        testing.check_weights(KEY, weights)


@pytest.mark.usefixtures("unchecked_annotations")
def test_what_is_no_weights_is_refused():
    with pytest.raises(TypeError, match=r"^check_weights takes a linear\.LinearMap, not 3$"):
        testing.check_weights(KEY, 3)
