"""Units of several types in one layer."""

import dataclasses
import functools
import math

import jax.numpy as jnp

from dbn_jax import pytrees, random
from dbn_jax.examples import Examples
from dbn_jax.typing import AnyArray, Array, Bool, Num
from dbn_jax.units.base import Units


@pytrees.dataclass
class Concat(Units):
    """Units of several types side by side, such as pixels beside a label.

    ``Concat(parts=(Bernoulli(), Softmax(num_classes=10)), sizes=(784, 10))``. Values are
    concatenated along the last axis in the order of `parts`.
    """

    parts: tuple[Units, ...] = ()
    sizes: tuple[int, ...] = pytrees.static(default=())

    def __post_init__(self):
        if len(self.parts) != len(self.sizes) or not self.parts:
            raise ValueError(
                f"Concat has {len(self.parts)} parts and {len(self.sizes)} sizes; "
                "give one size for each part, and at least one part"
            )

    def init(self, num_units, dtype=jnp.float32):
        if num_units != sum(self.sizes):
            raise ValueError(f"the sizes {self.sizes} of Concat do not add up to {num_units} units")
        parts = tuple(
            part.init(size, dtype) for part, size in zip(self.parts, self.sizes, strict=True)
        )
        return dataclasses.replace(self, parts=parts)

    def elements(self):
        return [element for part in self.parts for element in part.elements()]

    def split(self, x: Num[AnyArray, "*batch N"] | Bool[AnyArray, "*batch N"]) -> list[Array]:
        """Cuts values or inputs (..., N) into those of each part."""
        ends = [sum(self.sizes[: i + 1]) for i in range(len(self.sizes) - 1)]
        return jnp.split(x, ends, axis=-1)

    def _each(self, method, *arrays):
        """Calls a method of each part on its share of the arrays."""
        shares = zip(*(self.split(a) for a in arrays), strict=True)
        return [
            getattr(part, method)(*share) for part, share in zip(self.parts, shares, strict=True)
        ]

    @property
    def bias(self):
        return jnp.concatenate([part.bias for part in self.parts], axis=-1)

    @property
    def num_units(self):
        return sum(self.sizes)

    def fit(self, data):
        data = Examples.of(data)
        known = [None] * len(self.parts) if data.observed is None else self.split(data.observed)
        shares = zip(self.parts, self.split(data.values), known, strict=True)
        parts = tuple(part.fit(Examples(x, data.weights, o)) for part, x, o in shares)
        return dataclasses.replace(self, parts=parts)

    def energy(self, x):
        return functools.reduce(jnp.add, self._each("energy", x))

    def statistic(self, x):
        return jnp.concatenate(self._each("statistic", x), axis=-1)

    def cumulant(self, inputs):
        return functools.reduce(jnp.add, self._each("cumulant", inputs))

    def mean(self, inputs):
        return jnp.concatenate(self._each("mean", inputs), axis=-1)

    def mean_statistic(self, inputs):
        return jnp.concatenate(self._each("mean_statistic", inputs), axis=-1)

    def sample(self, key, inputs):
        keys = random.split(key, len(self.parts))
        shares = zip(self.parts, keys, self.split(inputs), strict=True)
        return jnp.concatenate([part.sample(k, share) for part, k, share in shares], axis=-1)

    def add_to_bias(self, change):
        return dataclasses.replace(self, parts=tuple(self._each("add_to_bias", change)))

    @property
    def num_states(self):
        return math.prod(part.num_states for part in self.parts)

    def states(self, index):
        values = []
        for part in reversed(self.parts):
            values.append(part.states(index % part.num_states))
            index = index // part.num_states
        return jnp.concatenate(values[::-1], axis=-1)
