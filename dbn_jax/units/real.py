"""Units that take real numbers: Gaussian and rectified linear units."""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from dbn_jax import numerics, pytrees
from dbn_jax.typing import Array, Float, Late, unset
from dbn_jax.units import truncated_normal
from dbn_jax.units.base import Units


@pytrees.dataclass
class Gaussian(Units):
    """Real-valued units: for z = (x − m)/σ, U = z²/2 − b·z and s = z; x | I is N(m + σ(b + I), σ²).

    The unit of z is σ (Hinton's practical guide, section 13.2), and so is that of the bias. σ is
    `sigma` for every unit, and m is 0; or σ is learnt, one for each unit, as log σ
    (``learn_sigma=True``, starting from `sigma`), and m is the data's mean, which `fit` takes and
    learning leaves alone.

    So learning does not depend on the unit and origin in which data are given: of data k·x + t,
    k > 0, it makes the same model, with kσ for σ and km + t for m. The Fisher information of a
    normal law in (b, log σ) is [[1, b], [b, 2 + b²]], free of σ, and of order 1 while b is. For a
    bias in units of x it is 1/σ²: its steps at a given rate grow as 1/σ² (Amari, "Natural gradient
    works efficiently in learning", 1998; Cho, Ilin, Raiko, "Improved learning of Gaussian-Bernoulli
    restricted Boltzmann machines", 2011, on learning σ).

    A learnt σ does not fall below a bound, since on a pixel that never varies the likelihood has no
    maximum. A parameter below it has no gradient, so that σ then stays there.

    Attributes:
      log_sigma: log σ; None unless it is learnt.
      location: m; None if σ is not learnt.
      log_bound: log of the smallest σ; None if σ is not learnt.
      sigma: σ, or where it starts.
      learn_sigma: whether it is learnt.
      min_share: smallest σ, as a share of the data's standard deviation (root mean square over the
        units of the layer: units of one kind, such as pixels); before `fit`, of `sigma`.
    """

    bias: Late[Float[Array, "*models N"]] = unset
    log_sigma: Late[Float[Array, "*models N"]] = unset
    location: Late[Float[Array, "*models N"]] = unset
    log_bound: Late[Float[Array, "*models N"]] = unset
    sigma: float = pytrees.static(default=1.0)
    learn_sigma: bool = pytrees.static(default=False)
    min_share: float = pytrees.static(default=0.01)
    support: ClassVar = (-math.inf, math.inf)
    tail: ClassVar = "quadratic"

    def __post_init__(self):
        if not 0 < self.sigma < math.inf:
            raise ValueError(f"sigma is {self.sigma}; it must be positive")
        if not 0 < self.min_share <= 1:
            raise ValueError(f"min_share is {self.min_share}; it must lie in (0, 1]")

    def init(self, num_units, dtype=jnp.float32):
        units = super().init(num_units, dtype)
        if not self.learn_sigma:
            return units
        log_sigma = jnp.full(num_units, math.log(self.sigma), dtype)
        return dataclasses.replace(
            units,
            log_sigma=log_sigma,
            location=jnp.zeros(num_units, dtype),
            log_bound=log_sigma + math.log(self.min_share),
        )

    @property
    def scale(self) -> Float[Array, " N"]:
        """σ of each unit."""
        if self.learn_sigma:
            return jnp.exp(jnp.maximum(self.log_sigma, jax.lax.stop_gradient(self.log_bound)))
        return jnp.full_like(self.bias, self.sigma)

    def _match(self, mean, variance):
        if not self.learn_sigma:
            return dataclasses.replace(self, bias=mean / self.sigma)
        typical = jnp.sqrt(jnp.mean(variance))
        typical = jnp.where(typical > 0, typical, self.sigma)  # of data that never vary
        sigma = jnp.maximum(jnp.sqrt(variance), self.min_share * typical)
        return dataclasses.replace(
            self,
            bias=jnp.zeros_like(mean),
            log_sigma=jnp.log(sigma),
            location=mean,
            log_bound=jnp.full_like(mean, jnp.log(self.min_share * typical)),
        )

    def energy(self, x):
        z = self.statistic(x)
        return super().energy(z) + 0.5 * jnp.sum(z * z, axis=-1)

    def statistic(self, x):
        if self.learn_sigma:
            x = x - numerics.per_unit(jax.lax.stop_gradient(self.location), x)
        return x / numerics.per_unit(self.scale, x)

    def value(self, z: Float[Array, "*batch N"]) -> Float[Array, "*batch N"]:
        """x of a statistic: m + σz."""
        x = numerics.per_unit(self.scale, z) * z
        if self.learn_sigma:
            x = x + numerics.per_unit(jax.lax.stop_gradient(self.location), x)
        return x

    def cumulant(self, inputs):
        log_norm = jnp.sum(jnp.log(self.scale)) + self.num_units * numerics.HALF_LOG_2PI
        return 0.5 * jnp.sum(self._total(inputs) ** 2, axis=-1) + log_norm

    def mean(self, inputs):
        return self.value(self._total(inputs))

    def mean_statistic(self, inputs):
        return self._total(inputs)

    def sample(self, key, inputs):
        noise = jax.random.normal(key, inputs.shape, numerics.widen(inputs).dtype)
        return self.value(self._total(inputs) + noise.astype(inputs.dtype))


@pytrees.dataclass
class ReLU(Units):
    """Rectified linear units as truncated Gaussians, x ≥ 0: U = x²/2 − b·x.

    x | I has the density of N(I + b, 1) cut off below 0: an exact exponential family, with mean
    m + φ(m)/Φ(m) for m = I + b, close to max(0, m) away from 0. (The noisy rectified units of Nair
    and Hinton 2010, max(0, m + noise), are an approximation without an energy.)
    """

    bias: Late[Float[Array, "*models N"]] = unset
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
