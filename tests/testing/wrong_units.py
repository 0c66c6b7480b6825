"""Unit types with one mistake each, and the sentences that the kit has for them."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from dbn_jax import pytrees, units
from tests.testing.own_units import Grey, Ternary


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


@pytrees.dataclass
class OneLimit(Ternary):
    support: ClassVar = (0.0,)


@pytrees.dataclass
class NoDtype(Ternary):
    def init(self, num_units):
        return super().init(num_units)


@pytrees.dataclass
class NoStates(Ternary):
    def states(self, index): ...


@pytrees.dataclass
class BrokenStates(Ternary):
    states = units.Softmax.states


@pytrees.dataclass
class OtherInit(Ternary):
    def init(self, num_units, dtype=jnp.float32):
        return units.Spin().init(num_units, dtype)


@pytrees.dataclass
class MoreUnits(Ternary):
    def init(self, num_units, dtype=jnp.float32):
        return super().init(num_units + 1, dtype)


@pytrees.dataclass
class BiasedStart(Ternary):
    def init(self, num_units, dtype=jnp.float32):
        return super().init(num_units, dtype).add_to_bias(jnp.ones(num_units, dtype))


@pytrees.dataclass
class SingleStart(Ternary):
    def init(self, num_units, dtype=jnp.float32):
        return super().init(num_units)


@pytrees.dataclass
class WholeStates(Ternary):
    def states(self, index):
        return super().states(index).astype(jnp.int32)


@pytrees.dataclass
class LooseTail(Ternary):
    tail: ClassVar = "quadratic"


@pytrees.dataclass
class StuckSigma(units.Gaussian):
    learn_sigma: bool = pytrees.static(default=True)

    def cumulant(self, inputs):
        stuck = dataclasses.replace(self, log_sigma=jax.lax.stop_gradient(self.log_sigma))
        return units.Gaussian.cumulant(stuck, inputs)


@pytrees.dataclass
class NoEnergy(Grey):
    """Near 1."""

    def energy(self, x):
        return jnp.where(jnp.max(x, axis=-1) < 1 - 1e-6, super().energy(x), jnp.nan)


@pytrees.dataclass
class Together(units.Bernoulli):
    """The same uniform number for all units of a layer."""

    def sample(self, key, inputs):
        u = jax.random.uniform(key, (*inputs.shape[:-1], 1), jnp.float32)
        mean = self.mean(inputs)
        return (jnp.broadcast_to(u, mean.shape) < mean.astype(jnp.float32)).astype(mean.dtype)


@pytrees.dataclass
class Clipped(Ternary):
    def mean(self, inputs):
        return jnp.clip(super().mean(inputs), -0.99, 0.99)


@pytrees.dataclass
class NoSlope(Ternary):
    """Its value is right: the derivative of what `where` leaves out is 0 times infinity."""

    def cumulant(self, inputs):
        total = jnp.abs(self._total(inputs))
        small = jnp.log(jnp.sum(jnp.exp(self._logits(inputs)), axis=-1))
        return jnp.sum(jnp.where(total > 50, total - self.cost, small), axis=-1)


@pytrees.dataclass
class Divided(units.Gaussian):
    """Data that never vary have no precision."""

    def _match(self, mean, variance):
        return dataclasses.replace(self, bias=mean * variance / variance)


@pytrees.dataclass
class OtherFit(Ternary):
    def fit(self, data):
        return dataclasses.replace(super().fit(data), bias=jnp.zeros(3))


@pytrees.dataclass
class WrongUnpool(Ternary):
    def unpool_mean(self, pooled):
        return pooled / 4


@jax.custom_batching.custom_vmap
def lost_by_vmap(x):
    return x


@lost_by_vmap.def_vmap
def _(axis_size, batched, x):
    return 0 * x, batched[0]


@pytrees.dataclass
class Lost(Ternary):
    def sample(self, key, inputs):
        return lost_by_vmap(super().sample(key, inputs))


class NoDataclass(units.Units):
    bias = None
    cumulant = mean = sample = units.Bernoulli.mean


# Of each class, behind its name. "…" stands for JAX's own words, or those of NoSupport.
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
        ".fit: with zero weights the mean of unit 1 is -0.5644, but that of the data is -0.7969: "
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
        " has the support None: give the smallest and largest value of a unit, such as support: "
        "ClassVar = (0.0, 1.0)"
    ),
    OneLimit: " has the support (0.0,): give the smallest and largest value of a unit, …",
    NoDtype: ".init: it does not take a dtype, such as bfloat16, after num_units (TypeError: …)",
    NoStates: (
        ".states: of numbers of shape (1, 9) it makes None; expected float32 of shape (1, 9, 2)"
    ),
    BrokenStates: ".states: it does not run, for 9 numbers (AttributeError: …)",
    OtherInit: (
        ".init: it returns Spin(bias=Array([0., 0.], dtype=float32)); expected units of the same "
        "type, with biases"
    ),
    MoreUnits: ".init: 2 units are asked for, but num_units is 3",
    BiasedStart: ".init: the biases begin at (1, 1); expected zeros",
    SingleStart: ".init: with dtype=bfloat16 it makes .bias of float32",
    WholeStates: (
        ".states: of numbers of shape (1, 9) it makes int32 of shape (1, 9, 2); expected float32 "
        "of shape (1, 9, 2)"
    ),
    LooseTail: ".tail: it is 'quadratic', but values end at (-1, 1): leave it out",
    StuckSigma: (
        ".cumulant: its derivative by .log_sigma (number 0), summed over 6 inputs, is 0, but that "
        "of log ∫ exp(I·s(x) − U(x)) dx over its support is 6"
    ),
    NoEnergy: ".energy: at x = (2.147e-14, 1) it is nan",
    Together: (
        ".sample: at inputs (-1.836, -1.934) 11.86 % of 20,000 samples are (1, 1), expected 1.73 "
        "± 0.09 %"
    ),
    Clipped: ".mean: at inputs (-10,000, 8,000) it is -0.99 (unit 0), expected -1",
    NoSlope: (
        ".cumulant: at inputs (-10,000, 8,000) a derivative by .bias of cumulant, mean or energy "
        "is (nan, nan): it has to be finite"
    ),
    Divided: (
        ".fit: of data that are (-0.1506, 0.02532) throughout it makes .bias (-0.1506, nan): it "
        "has to be finite"
    ),
    OtherFit: ".fit: of parameters .bias float32(2,) it makes .bias float32(3,)",
    WrongUnpool: ".unpool_mean: of (-1, -1) it makes what pools to (-0.25, -0.25)",
    Lost: ".sample: models in jax.vmap give other values than one by one",
    NoDataclass: " is no dataclass: decorate the class with dbn_jax.pytrees.dataclass",
}
