"""The kit for unit types of one's own: right ones pass, and each mistake has its sentence."""

import dataclasses
import math
import re
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import pytrees, testing, units
from tests.testing.own_units import Grey, Ternary

KEY = jax.random.key(0)


@pytest.mark.parametrize(
    "layer", [Ternary(), Ternary(cost=-1.0), Grey(), units.Concat((Grey(), Ternary()), (1, 1))]
)
def test_right_types_pass(layer):
    testing.check_units(KEY, layer)


# Mistakes, each in a class that is right otherwise.


@pytrees.dataclass
class WrongCumulant(Ternary):
    def cumulant(self, inputs):  # of three equal states, whatever the cost
        return super().cumulant(inputs) + self.cost * inputs.shape[-1]


@pytrees.dataclass
class WrongSlope(Ternary):
    """Its value is right."""

    def cumulant(self, inputs):
        return jax.lax.stop_gradient(super().cumulant(inputs))


@pytrees.dataclass
class WrongMean(Ternary):
    def mean(self, inputs):
        return jnp.tanh(self._total(inputs))


@pytrees.dataclass
class WrongStatistic(Grey):
    def mean_statistic(self, inputs):
        return 2 * self.mean(inputs)


@pytrees.dataclass
class WrongBias(Ternary):
    def energy(self, x):
        return self.cost * jnp.sum(x * x, axis=-1) + x @ self.bias


@pytrees.dataclass
class NoFall(units.Gaussian):
    """U = −z²/2 − b·z."""

    def energy(self, x):
        return super().energy(x) - jnp.sum(self.statistic(x) ** 2, axis=-1)


@pytrees.dataclass
class SlowFall(units.Gaussian):
    """A normal law of variance 2, whose statistic is not divided by σ."""

    def energy(self, x):
        return super().energy(x) - jnp.sum(x**2, axis=-1) / 4


@pytrees.dataclass
class MissingState(Ternary):
    _num_values: ClassVar = 2


@pytrees.dataclass
class DoubleState(Ternary):
    def states(self, index):
        return super().states(jnp.maximum(index, 1))


@pytrees.dataclass
class OtherSupport(Ternary):
    support: ClassVar = (0.0, 1.0)

    def states(self, index):
        return 2 * super().states(index) - 1


@pytrees.dataclass
class Biased(Ternary):
    def sample(self, key, inputs):
        return super().sample(key, inputs + 0.1)


@pytrees.dataclass
class Overdispersed(units.Gaussian):
    def sample(self, key, inputs):
        mean = self.mean(inputs)
        return mean + 1.05 * (super().sample(key, inputs) - mean)


@pytrees.dataclass
class TooNormal(Grey):
    """Mean and variance are right."""

    def sample(self, key, inputs):
        mean, slope = self.mean(inputs), jax.grad(lambda x: self.mean(x).sum())(inputs)
        flips = 2 * jax.random.bernoulli(key, 0.5, inputs.shape).astype(inputs.dtype) - 1
        return mean + jnp.sqrt(slope) * flips


@pytrees.dataclass
class InStep(units.Gaussian):
    """All units of a layer get the same noise."""

    def sample(self, key, inputs):
        noise = jax.random.normal(key, (*inputs.shape[:-1], 1), inputs.dtype)
        return self.mean(inputs) + jnp.broadcast_to(noise, inputs.shape)


@pytrees.dataclass
class OneDraw(units.Gaussian):
    """All examples of a batch get the same noise."""

    def sample(self, key, inputs):
        noise = jax.random.normal(key, inputs.shape[-1:], inputs.dtype)
        return self.mean(inputs) + jnp.broadcast_to(noise, inputs.shape)


@pytrees.dataclass
class Keyless(Ternary):
    def sample(self, key, inputs):
        return super().sample(jax.random.key(7), inputs)


@pytrees.dataclass
class Outside(Grey):
    def sample(self, key, inputs):
        return super().sample(key, inputs) - 0.1


@pytrees.dataclass
class WholeNumbers(Ternary):
    def sample(self, key, inputs):
        return super().sample(key, inputs).astype(jnp.int32)


@pytrees.dataclass
class OneSum(Ternary):
    def cumulant(self, inputs):
        return jnp.sum(jax.nn.logsumexp(self._logits(inputs), axis=-1))


@pytrees.dataclass
class Untraced(Ternary):
    def mean(self, inputs):
        return super().mean(inputs) if inputs.sum() < 1e9 else inputs


@pytrees.dataclass
class WrongMatch(Ternary):
    def _match(self, mean, variance):
        return dataclasses.replace(self, bias=jnp.arctanh(mean))


@pytrees.dataclass
class Overflowing(Ternary):
    def cumulant(self, inputs):
        return jnp.sum(jnp.log(jnp.sum(jnp.exp(self._logits(inputs)), axis=-1)), axis=-1)


@pytrees.dataclass
class StuckBias(Ternary):
    def add_to_bias(self, change):
        return self


@dataclasses.dataclass(frozen=True)
class NoPytree(Ternary):
    bias: jax.Array | None = None


@pytrees.dataclass
class NoSupport(units.Units):
    bias: jax.Array | None = None
    cumulant = mean = sample = units.Bernoulli.mean


@pytrees.dataclass
class Listed(Ternary):
    values: object = pytrees.static(None)


SENTENCES = {
    WrongCumulant: "",
    WrongSlope: "",
    WrongMean: "",
    WrongStatistic: "",
    WrongBias: "",
    NoFall: "",
    SlowFall: "",
    MissingState: "",
    DoubleState: "",
    OtherSupport: "",
    Biased: "",
    Overdispersed: "",
    TooNormal: "",
    InStep: "",
    OneDraw: "",
    Keyless: "",
    Outside: "",
    WholeNumbers: "",
    OneSum: "",
    Untraced: "",
    WrongMatch: "",
    Overflowing: "",
    StuckBias: "",
    NoPytree: "",
    NoSupport: "",
}


@pytest.mark.parametrize("wrong", SENTENCES, ids=lambda cls: cls.__name__)
def test_each_mistake_has_its_sentence(wrong):
    with pytest.raises(AssertionError, match=f"^{re.escape(SENTENCES[wrong])}$"):
        testing.check_units(KEY, wrong())
