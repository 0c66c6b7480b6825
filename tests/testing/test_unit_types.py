"""The kit for unit types of one's own: right ones pass, and each mistake has its sentence."""

import dataclasses
import re
from typing import ClassVar

import jax
import jax.numpy as jnp
import pytest

from dbn_jax import pytrees, testing, units
from tests.testing.own_units import Grey, Ternary

KEY = jax.random.key(0)


@pytest.mark.parametrize(
    "layer", [Ternary(), Ternary(cost=-1.0), Grey(), units.Concat((Grey(), Ternary()), (1, 1))]
)
def test_right_types_pass(layer):
    testing.check_units(KEY, layer)


@pytrees.dataclass
class Single(Ternary):
    """As exact as float32, in any dtype."""

    def cumulant(self, inputs):
        return super().cumulant(inputs).astype(jnp.float32).astype(inputs.dtype)


def test_types_have_to_work_in_the_dtypes_that_are_asked_for():
    testing.check_units(KEY, Single(), dtypes=["float32"])
    with pytest.raises(AssertionError, match=r"^Single.cumulant: .* is \d\.\d{6,}, but log Σ"):
        testing.check_units(KEY, Single())


def test_units_with_parameters_keep_them():
    bias = jnp.array([20.0, -20.0, 0.0])  # the first two never vary
    with pytest.raises(AssertionError, match=r"^Biased.sample: at input \S+ \(unit 2\) the mean"):
        testing.check_units(KEY, Biased(bias))


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize("what", [Ternary, 3])
def test_what_is_no_units_is_refused(what):
    sentence = f"check_units takes units such as MyUnits(), not {what!r}"
    with pytest.raises(TypeError, match=f"^{re.escape(sentence)}$"):
        testing.check_units(KEY, what)


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


@pytrees.dataclass
class Unmapped(Ternary):
    def sample(self, key, inputs):
        return jax.pure_callback(lambda x: x, inputs, super().sample(key, inputs))


@pytrees.dataclass
class WrongShare(units.Maps):
    def total_shared(self, x):
        return 2 * super().total_shared(x)


@dataclasses.dataclass(frozen=True)
class NoPytree(Ternary):
    bias: jax.Array | None = None


@pytrees.dataclass
class NoSupport(units.Units):
    bias: jax.Array | None = None
    cumulant = mean = sample = units.Bernoulli.mean


SENTENCES = {
    WrongCumulant: (
        ".cumulant: at inputs (0.4265, 0.918) it is 2.695, but log Σ exp(I·s(x) − U(x)) over its "
        "9 states is 2.095"
    ),
    WrongSlope: (
        ".cumulant: at input -1.989 (unit 1) its derivative is 0, but mean_statistic says -0.827"
    ),
    WrongMean: (
        ".mean: at input 0.918 (unit 1) it is 0.6921, but the mean over its states is 0.4654"
    ),
    WrongStatistic: (
        ".mean_statistic: at input 1.74 (unit 1) it is 1.267, but the mean of s(x) by its energy "
        "is 0.6334"
    ),
    WrongBias: (
        ".energy: at x = (-1, -1) its derivative by −bias is (1, 1), but the statistic s(x) is "
        "(-1, -1): the energy holds −b·s(x)"
    ),
    NoFall: (
        ".energy: the tail 'quadratic' says that it rises as s(x)²/2, without the bias; at x = "
        "-1,000,000 it is -1e+12 in place of 1e+12"
    ),
    SlowFall: (
        ".energy: the tail 'quadratic' says that it rises as s(x)²/2, without the bias; at x = "
        "-1,000,000 it is 5e+11 in place of 1e+12"
    ),
    MissingState: ".sample: it drew (-1, 0), which is none of the 4 states that `states` lists",
    DoubleState: ".states: number 0 and number 1 are (-1, 0)",
    OtherSupport: ".states: they lie between -1 and 1, but the support is 0 to 1",
    Biased: (
        ".sample: at input -1.934 (unit 1) the mean of 20,000 samples is -0.7924, expected "
        "-0.8174 ± 0.003 (8.33 standard errors)"
    ),
    Overdispersed: (
        ".sample: at input -1.836 (unit 0) the variance of 20,000 samples is 1.087, expected 1 ± "
        "0.01 (8.71 standard errors)"
    ),
    TooNormal: (
        ".sample: at input -1.836 49.91 % of 20,000 samples lie below 0.09235, expected 18.19 ± "
        "0.27 %"
    ),
    InStep: (
        ".sample: at inputs (-1.836, -1.934) the covariance of units 0 and 1 in 20,000 samples is "
        "1.001, expected 0 ± 0.0071 (142 standard errors)"
    ),
    OneDraw: (
        ".sample: at input -1.836 (unit 0) the mean of 20,000 samples is -0.1506, expected -1.773 "
        "± 0.0071 (229 standard errors)"
    ),
    Keyless: ".sample: two keys draw the same values: use the key",
    Outside: ".sample: it drew -0.08119; the support is 0 to 1",
    WholeNumbers: (
        ".sample: in float32 it returns int32: give constants the dtype of the inputs, or end "
        "with .astype(inputs.dtype)"
    ),
    OneSum: ".cumulant: of inputs of shape (2, 3, 2) it makes (); expected (2, 3)",
    Untraced: (".mean: it does not run in jax.jit, in float32 (TracerBoolConversionError: …)"),
    WrongMatch: (
        ".fit: with zero weights the mean of unit 1 is -0.5613, but that of the data is -0.794: "
        "_match has to set parameters that give the mean it is given"
    ),
    Overflowing: ".cumulant: at inputs (-10,000, 8,000) it is inf: it has to be finite",
    StuckBias: (
        ".add_to_bias: at input 0.918 (unit 1) the mean, with more bias, is 0.4654, but with as "
        "much more input it is 0.5897"
    ),
    Unmapped: (".sample: it does not run, or another method, in jax.vmap (NotImplementedError: …)"),
    WrongShare: (
        ".total_shared: it is not the transpose of spread: y·total_shared(x) is 0.1333, and "
        "x·spread(y) 0.06666"
    ),
    NoPytree: " is no pytree: decorate the class with dbn_jax.pytrees.dataclass",
    NoSupport: (
        " has no support: give the smallest and largest value of a unit, such as support: "
        "ClassVar = (0.0, 1.0)"
    ),
}


@pytest.mark.parametrize("wrong", SENTENCES, ids=lambda cls: cls.__name__)
def test_each_mistake_has_its_sentence(wrong):
    sentence = re.escape(wrong.__name__ + SENTENCES[wrong]).replace("…", ".*")  # JAX's own words
    with pytest.raises(AssertionError, match=f"^{sentence}$"):
        testing.check_units(KEY, wrong())


@pytrees.dataclass
class Learnt(Ternary):
    rate: float = 0.5


@pytrees.dataclass
class Listed(Ternary):
    values: object = pytrees.static(None)


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (
            Learnt(),
            "Learnt has parameters before `init` makes them: .rate. Make them static, by "
            "dbn_jax.pytrees.static, or None",
        ),
        (
            Listed(values=[1, 2]),
            "Listed has static fields that jax.jit cannot compare (unhashable type: 'list'): use "
            "numbers, text and tuples",
        ),
    ],
)
def test_fields_that_jax_cannot_handle_are_named(layer, sentence):
    with pytest.raises(AssertionError, match=f"^{re.escape(sentence)}$"):
        testing.check_units(KEY, layer)
