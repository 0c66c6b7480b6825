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
    Shifted: "",
    Squared: "",
    WrongDown: "",
    WrongTotal: "",
    WrongShape: "",
    NoPytree: "",
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


def test_what_is_no_weights_is_refused():
    with pytest.raises(TypeError, match=r"^check_weights takes a linear\.LinearMap, not 3$"):
        testing.check_weights(KEY, 3)
