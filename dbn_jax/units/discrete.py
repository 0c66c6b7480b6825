"""Units that take whole numbers: binary, spin, softmax, binomial and Poisson units."""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln

from dbn_jax import numerics, pytrees, random
from dbn_jax.typing import Array, Float, Late, unset
from dbn_jax.units.base import Units, digits

# Poisson rates above which counts are drawn as rounded normal numbers: their skew is 0.003.
_MANY = 1e5


@pytrees.dataclass
class Bernoulli(Units):
    """Binary units, x ∈ {0, 1}: U = −b·x, p(x = 1) = σ(I + b).

    Grey levels in [0, 1] may stand for probabilities, as in Hinton's programs.
    """

    bias: Late[Float[Array, "*models N"]] = unset
    support: ClassVar = (0.0, 1.0)
    _num_values: ClassVar = 2

    def _match(self, mean, variance):
        return dataclasses.replace(self, bias=jnp.log(mean) - jnp.log1p(-mean))

    def cumulant(self, inputs):
        return jnp.sum(numerics.softplus(self._total(inputs)), axis=-1)

    def mean(self, inputs):
        return jax.nn.sigmoid(self._total(inputs))

    def sample(self, key, inputs):
        return random.bernoulli(key, self.mean(inputs))


@pytrees.dataclass
class Spin(Units):
    """Spins, x ∈ {−1, +1}: U = −b·x, mean tanh(I + b)."""

    bias: Late[Float[Array, "*models N"]] = unset
    support: ClassVar = (-1.0, 1.0)
    _num_values: ClassVar = 2

    def _match(self, mean, variance):
        return dataclasses.replace(self, bias=jnp.arctanh(mean))

    def cumulant(self, inputs):
        total = self._total(inputs)
        return jnp.sum(numerics.softplus(2 * total) - total, axis=-1)

    def mean(self, inputs):
        return jnp.tanh(self._total(inputs))

    def sample(self, key, inputs):
        up = jax.nn.sigmoid(2 * self._total(inputs))
        return 2 * random.bernoulli(key, up) - 1


@pytrees.dataclass
class Softmax(Units):
    """Groups of `num_classes` units of which exactly one is on: U = −b·x, x one-hot in each group.

    N is the number of groups times `num_classes`; a group's units are neighbours. One group is a
    class label; several are categorical variables.
    """

    bias: Late[Float[Array, "*models N"]] = unset
    num_classes: int = pytrees.static(default=10)
    support: ClassVar = (0.0, 1.0)

    def __post_init__(self):
        if self.num_classes < 2:
            raise ValueError(f"num_classes is {self.num_classes}; a choice needs at least 2")

    def init(self, num_units, dtype=jnp.float32):
        if num_units % self.num_classes:
            raise ValueError(
                f"{num_units} softmax units cannot be split into groups of {self.num_classes}; "
                "use a multiple of num_classes"
            )
        return super().init(num_units, dtype)

    def _grouped(self, x):
        return x.reshape(*x.shape[:-1], x.shape[-1] // self.num_classes, self.num_classes)

    def _logits(self, inputs):
        return self._grouped(self._total(inputs))

    def _match(self, mean, variance):
        return dataclasses.replace(self, bias=jnp.log(mean))

    def cumulant(self, inputs):
        return jnp.sum(jax.nn.logsumexp(self._logits(inputs), axis=-1), axis=-1)

    def mean(self, inputs):
        return jax.nn.softmax(self._logits(inputs), axis=-1).reshape(inputs.shape)

    def sample(self, key, inputs):
        chosen = jax.random.categorical(key, numerics.widen(self._logits(inputs)), axis=-1)
        return jax.nn.one_hot(chosen, self.num_classes, dtype=inputs.dtype).reshape(inputs.shape)

    @property
    def num_states(self):
        return self.num_classes ** (self.num_units // self.num_classes)

    def states(self, index):
        chosen = digits(index, self.num_classes, self.num_units // self.num_classes)
        one_hot = jax.nn.one_hot(chosen, self.num_classes, dtype=self.bias.dtype)
        return one_hot.reshape(*index.shape, self.num_units)


@pytrees.dataclass
class Binomial(Units):
    """Counts of successes in `num_trials` tries, x ∈ {0, …, n}: U = −b·x − log C(n, x).

    Equal to n copies of a binary unit with tied weights (Teh and Hinton 2001): mean n·σ(I + b).
    """

    bias: Late[Float[Array, "*models N"]] = unset
    num_trials: int = pytrees.static(default=8)

    def __post_init__(self):
        if self.num_trials < 1:
            raise ValueError(f"num_trials is {self.num_trials}; it must be at least 1")

    @property
    def support(self):
        return (0.0, float(self.num_trials))

    @property
    def _num_values(self):
        return self.num_trials + 1

    def _match(self, mean, variance):
        p = mean / self.num_trials
        return dataclasses.replace(self, bias=jnp.log(p) - jnp.log1p(-p))

    def energy(self, x):
        n = self.num_trials
        log_ways = math.lgamma(n + 1) - gammaln(x + 1) - gammaln(n - x + 1)
        return super().energy(x) - jnp.sum(log_ways, axis=-1)

    def cumulant(self, inputs):
        return self.num_trials * jnp.sum(numerics.softplus(self._total(inputs)), axis=-1)

    def mean(self, inputs):
        return self.num_trials * jax.nn.sigmoid(self._total(inputs))

    def sample(self, key, inputs):
        p = numerics.widen(jax.nn.sigmoid(self._total(inputs)))  # and wide enough to count

        def add_trial(trial, total):
            return total + random.bernoulli(random.fold_in(key, trial), p)

        total = jax.lax.fori_loop(0, self.num_trials, add_trial, jnp.zeros_like(p))
        return total.astype(inputs.dtype)


@pytrees.dataclass
class Poisson(Units):
    """Counts without a limit, x ∈ {0, 1, 2, …}: U = −b·x + log x!, mean exp(I + b)."""

    bias: Late[Float[Array, "*models N"]] = unset
    support: ClassVar = (0.0, math.inf)
    tail: ClassVar = "factorial"

    def _match(self, mean, variance):
        return dataclasses.replace(self, bias=jnp.log(mean))

    def energy(self, x):
        return super().energy(x) + jnp.sum(gammaln(x + 1), axis=-1)

    def cumulant(self, inputs):
        return jnp.sum(self.mean(inputs), axis=-1)

    def mean(self, inputs):
        return jnp.exp(self._total(inputs))

    def sample(self, key, inputs):
        if str(jax.random.key_impl(key)) != "threefry2x32":  # the only one of jax.random.poisson
            key = jax.random.wrap_key_data(jax.random.bits(key, (2,)), impl="threefry2x32")
        few_key, many_key = random.split(key)
        rate = numerics.widen(self.mean(inputs))
        few = jax.random.poisson(few_key, jnp.minimum(rate, _MANY)).astype(rate.dtype)
        # jax's own method rounds too much there (its variance is 1.02 times a rate of 1e6, and 1.5
        # times one of 1e8), and ends at 2³¹.
        noise = jax.random.normal(many_key, rate.shape, rate.dtype)
        many = jnp.round(rate + jnp.sqrt(rate) * noise)
        drawn = jnp.where(rate > _MANY, many, few)
        return jnp.where(jnp.isfinite(rate), drawn, rate).astype(inputs.dtype)
