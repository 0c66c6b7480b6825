"""Units that take real numbers: Gaussian and rectified linear units."""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from dbn_jax import numerics, pytrees
from dbn_jax.typing import Array, Float
from dbn_jax.units import truncated_normal
from dbn_jax.units.base import Units


@pytrees.dataclass
class Gaussian(Units):
    """Real-valued units: U = (x − b)²/2σ², s = x/σ, so that x | I is normal, mean b + σI, std σ.

    The convention of Hinton's practical guide (section 13.2). σ is `sigma` for every unit, or is
    learnt, one for each unit, as log σ (``learn_sigma=True``, starting from `sigma`). A learnt σ
    does not fall below `min_sigma`: on a pixel that never varies the likelihood has no maximum. A
    parameter below it has no gradient, so that σ then stays there.
    """

    bias: Float[Array, "*models N"] | None = None
    log_sigma: Float[Array, "*models N"] | None = None
    sigma: float = pytrees.static(1.0)
    learn_sigma: bool = pytrees.static(False)
    min_sigma: float = pytrees.static(0.01)
    support: ClassVar = (-math.inf, math.inf)
    tail: ClassVar = "quadratic"

    def __post_init__(self):
        if not self.min_sigma > 0:
            raise ValueError(f"min_sigma is {self.min_sigma}; it must be positive")
        if not self.sigma >= self.min_sigma:
            raise ValueError(f"sigma is {self.sigma}; it must be at least {self.min_sigma}")

    def init(self, num_units, dtype=jnp.float32):
        units = super().init(num_units, dtype)
        if self.learn_sigma:
            log_sigma = jnp.full(num_units, math.log(self.sigma), dtype)
            units = dataclasses.replace(units, log_sigma=log_sigma)
        return units

    @property
    def scale(self) -> Float[Array, " N"]:
        """σ of each unit."""
        if self.learn_sigma:
            return jnp.exp(jnp.maximum(self.log_sigma, math.log(self.min_sigma)))
        return jnp.full_like(self.bias, self.sigma)

    def _match(self, mean, variance):
        units = dataclasses.replace(self, bias=mean)
        if self.learn_sigma:
            sigma = jnp.maximum(jnp.sqrt(variance), self.min_sigma)
            units = dataclasses.replace(units, log_sigma=jnp.log(sigma))
        return units

    def energy(self, x):
        z = (x - numerics.per_unit(self.bias, x)) / numerics.per_unit(self.scale, x)
        return 0.5 * jnp.sum(z * z, axis=-1)

    def statistic(self, x):
        return x / numerics.per_unit(self.scale, x)

    def cumulant(self, inputs):
        ratio = numerics.per_unit(self.bias / self.scale, inputs)
        log_norm = jnp.sum(jnp.log(self.scale)) + self.num_units * numerics.HALF_LOG_2PI
        return jnp.sum(inputs * (ratio + 0.5 * inputs), axis=-1) + log_norm

    def mean(self, inputs):
        return numerics.per_unit(self.bias, inputs) + numerics.per_unit(self.scale, inputs) * inputs

    def mean_statistic(self, inputs):
        return numerics.per_unit(self.bias / self.scale, inputs) + inputs

    def sample(self, key, inputs):
        noise = jax.random.normal(key, inputs.shape, numerics.widen(inputs).dtype)
        noise = noise.astype(inputs.dtype)
        return self.mean(inputs) + numerics.per_unit(self.scale, inputs) * noise

    @property
    def statistic_scale(self):
        return self.scale


@pytrees.dataclass
class ReLU(Units):
    """Rectified linear units as truncated Gaussians, x ≥ 0: U = x²/2 − b·x.

    x | I has the density of N(I + b, 1) cut off below 0: an exact exponential family, with mean
    m + φ(m)/Φ(m) for m = I + b, close to max(0, m) away from 0. (The noisy rectified units of Nair
    and Hinton 2010, max(0, m + noise), are an approximation without an energy.)
    """

    bias: Float[Array, "*models N"] | None = None
    support: ClassVar = (0.0, math.inf)
    tail: ClassVar = "quadratic"

    def _match(self, mean, variance):
        wide = numerics.widen(mean)

        # The mean rises with the bias, lies above it, and below −1/bias where that is negative.
        def halve(_, bounds):
            low, high = bounds
            middle = 0.5 * (low + high)
            below = truncated_normal.mean(middle) < wide
            return jnp.where(below, middle, low), jnp.where(below, high, middle)

        low, high = jax.lax.fori_loop(0, 60, halve, (-1 / wide, wide))
        return dataclasses.replace(self, bias=(0.5 * (low + high)).astype(mean.dtype))

    def _wide_total(self, inputs):
        return numerics.widen(self._total(inputs))  # log Φ does not exist in half precision

    def energy(self, x):
        return super().energy(x) + 0.5 * jnp.sum(x * x, axis=-1)

    def cumulant(self, inputs):
        each = truncated_normal.cumulant(self._wide_total(inputs))
        return jnp.sum(each, axis=-1).astype(inputs.dtype)

    def mean(self, inputs):
        return truncated_normal.mean(self._wide_total(inputs)).astype(inputs.dtype)

    def sample(self, key, inputs):
        return truncated_normal.sample(key, self._wide_total(inputs)).astype(inputs.dtype)
