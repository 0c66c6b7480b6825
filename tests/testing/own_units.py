"""Unit types as a user of the package writes them."""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from dbn_jax import pytrees, random, units


@pytrees.dataclass
class Ternary(units.Units):
    """x ∈ {−1, 0, 1}: U = −b·x + cost·x²."""

    bias: jax.Array | None = None
    cost: float = pytrees.static(default=0.3)
    support: ClassVar = (-1.0, 1.0)
    _num_values: ClassVar = 3

    def energy(self, x):
        return super().energy(x) + self.cost * jnp.sum(x * x, axis=-1)

    def _logits(self, inputs):
        total = self._total(inputs)
        return jnp.stack([-total - self.cost, jnp.zeros_like(total), total - self.cost], axis=-1)

    def cumulant(self, inputs):
        return jnp.sum(jax.nn.logsumexp(self._logits(inputs), axis=-1), axis=-1)

    def mean(self, inputs):
        p = jax.nn.softmax(self._logits(inputs), axis=-1)
        return p[..., 2] - p[..., 0]

    def sample(self, key, inputs):
        drawn = jax.random.categorical(key, self._logits(inputs).astype(jnp.float32), axis=-1)
        return drawn.astype(inputs.dtype) - 1

    def _match(self, mean, variance):
        # e^b = y solves mean = (y − 1/y)/(y + 1/y + e^cost).
        a, c = math.exp(self.cost), mean
        y = (c * a + jnp.sqrt((c * a) ** 2 + 4 * (1 - c) * (1 + c))) / (2 * (1 - c))
        return dataclasses.replace(self, bias=jnp.log(y))


@pytrees.dataclass
class Grey(units.Units):
    """x ∈ [0, 1] with U = −b·x: the continuous Bernoulli (Loaiza-Ganem, Cunningham 2019)."""

    bias: jax.Array | None = None
    support: ClassVar = (0.0, 1.0)

    def _terms(self, inputs):
        """t = I + b, where it is not near 0, and log((eᵗ − 1)/t) with its slope."""
        total = self._total(inputs)
        near = jnp.abs(total) < 0.05
        t = jnp.where(near, 1.0, total)
        size = jnp.abs(t)
        log_norm = jnp.maximum(t, 0) + jnp.log(-jnp.expm1(-size)) - jnp.log(size)
        log_norm = jnp.where(near, total / 2 + total**2 / 24 - total**4 / 2880, log_norm)
        mean = jnp.where(t > 0, 1, 0) + jnp.sign(t) * jnp.exp(-size) / -jnp.expm1(-size) - 1 / t
        series = 0.5 + total / 12 - total**3 / 720
        return log_norm, jnp.where(near, series, mean).astype(inputs.dtype)

    def cumulant(self, inputs):
        return jnp.sum(self._terms(inputs)[0], axis=-1)

    def mean(self, inputs):
        return self._terms(inputs)[1]

    def sample(self, key, inputs):
        total = self._total(inputs).astype(jnp.float32)
        near = jnp.abs(total) < 1e-3
        t = jnp.where(near, 1.0, total)
        u = random.uniform(key, inputs.shape)
        # The inverse distribution function of 1 − x for t > 0: no exponential of a large number.
        x = -jnp.log1p(u * jnp.expm1(-jnp.abs(t))) / jnp.abs(t)
        return jnp.where(near, u, jnp.where(t > 0, 1 - x, x)).astype(inputs.dtype)

    def _match(self, mean, variance):
        def halve(_, bounds):
            low, high = bounds
            middle = (low + high) / 2
            below = dataclasses.replace(self, bias=middle).mean(jnp.zeros_like(middle)) < mean
            return jnp.where(below, middle, low), jnp.where(below, high, middle)

        ends = jnp.full_like(mean, -1e4), jnp.full_like(mean, 1e4)
        low, high = jax.lax.fori_loop(0, 60, halve, ends)
        return dataclasses.replace(self, bias=(low + high) / 2)
