"""Units in maps: at every place of an image one unit of each map, with parameters that maps share.

The units of a place are neighbours: unit (place, map) is number ``place * num_maps + map``, so that
N = places × maps, and values (..., N) are images (..., rows, columns, maps), rows first, written in
one line. K is the number of maps.
"""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from dbn_jax import numerics, pytrees, random
from dbn_jax.examples import Examples
from dbn_jax.typing import Array, Float, Late, unset
from dbn_jax.units.base import Units, digits
from dbn_jax.units.concat import Concat
from dbn_jax.units.discrete import Bernoulli


@pytrees.dataclass
class Maps(Units):
    """Units of any one type, at all places of an image: U is the sum over places.

    Attributes:
      each: the units of a place, whose K parameters all places share.
      num_places: number of places.
    """

    each: Units = Bernoulli()
    num_places: int = pytrees.static(default=1)

    def __post_init__(self):
        if isinstance(self.each, Concat):
            raise TypeError("the units of maps are of one type; put `Maps` of each into `Concat`")

    @property
    def bias(self):
        return self.each.bias

    @property
    def num_units(self):
        return self.num_places * self.each.num_units

    def init(self, num_units, dtype=jnp.float32):
        num_maps = _num_maps(num_units, self.num_places)
        return dataclasses.replace(self, each=self.each.init(num_maps, dtype))

    def elements(self):
        if self.bias is None:
            return self.each.elements()
        return jax.tree.map(self.spread, self.each).elements()

    def fit(self, data):
        data = Examples.of(data)
        weights, observed = data.weights, data.observed
        if weights is not None:
            weights = jnp.broadcast_to(weights[..., None], (*weights.shape, self.num_places))
        if observed is not None:
            observed = self._places(observed)
        each = self.each.fit(Examples(self._places(data.values), weights, observed))
        return dataclasses.replace(self, each=each)

    def energy(self, x):
        return jnp.sum(self.each.energy(self._places(x)), axis=-1)

    def statistic(self, x):
        return self.each.statistic(self._places(x)).reshape(x.shape)

    def cumulant(self, inputs):
        return jnp.sum(self.each.cumulant(self._places(inputs)), axis=-1)

    def mean(self, inputs):
        return self.each.mean(self._places(inputs)).reshape(inputs.shape)

    def mean_statistic(self, inputs):
        return self.each.mean_statistic(self._places(inputs)).reshape(inputs.shape)

    def sample(self, key, inputs):
        return self.each.sample(key, self._places(inputs)).reshape(inputs.shape)

    def add_to_bias(self, change):
        return dataclasses.replace(self, each=self.each.add_to_bias(change))

    def spread(self, shared):
        return jnp.tile(shared, self.num_places)

    def total_shared(self, x):
        return jnp.sum(self._places(x), axis=-2)

    def _places(self, x):
        return x.reshape(*x.shape[:-1], self.num_places, x.shape[-1] // self.num_places)

    @property
    def num_states(self):
        return self.each.num_states**self.num_places

    def states(self, index):
        of_places = digits(index, self.each.num_states, self.num_places)
        return self.each.states(of_places).reshape(*index.shape, self.num_units)


@pytrees.dataclass
class MaxPooled(Units):
    """Binary units of which at most one is on in each block of a map: probabilistic max-pooling.

    U = −b·x; with I and b of a block of C×C units, p(x_i = 1) = exp(I_i + b) / (1 + Σ_j exp(I_j +
    b)): a softmax over C² + 1 states, the last of which is "none" (Lee et al. 2009, section 3.3).
    The layer above sees one unit for each block, `pool`, which is on if one of the block's is.

    Attributes:
      bias: (K,), shared by all places.
      shape: rows and columns of a map.
      block: C, which divides both.
    """

    bias: Late[Float[Array, "*models K"]] = unset
    shape: tuple[int, int] = pytrees.static(default=(2, 2))
    block: int = pytrees.static(default=2)
    support: ClassVar = (0.0, 1.0)

    def __post_init__(self):
        if self.block < 1 or any(size < 1 or size % self.block for size in self.shape):
            rows, columns = self.shape
            raise ValueError(
                f"maps of {rows}×{columns} units cannot be pooled in blocks of {self.block}×"
                f"{self.block}: choose a block, or filters and borders, such that it divides both"
            )

    @property
    def _num_places(self):
        return math.prod(self.shape)

    @property
    def num_units(self):
        return self._num_places * self.bias.shape[-1]

    @property
    def num_pooled(self):
        return self.num_units // self.block**2

    def init(self, num_units, dtype=jnp.float32):
        return super().init(_num_maps(num_units, self._num_places), dtype)

    def energy(self, x):
        return -(self.total_shared(x) @ self.bias)

    def cumulant(self, inputs):
        largest, _, total = self._exponentials(inputs)
        return jnp.sum(largest + jnp.log(total), axis=(-5, -4, -3, -2, -1))

    def mean(self, inputs):
        _, exponentials, total = self._exponentials(inputs)
        return (exponentials / total).reshape(inputs.shape)

    def sample(self, key, inputs):
        p = numerics.widen(self._blocks(self.mean(inputs)))
        # One number for a block: it falls into the interval of one of its units, or of none.
        u = self._uniform(key, p)
        end, drawn = jnp.zeros_like(u), []
        for i in range(self.block):
            for j in range(self.block):
                start, end = end, end + p[..., i, :, j, :]
                drawn.append((start <= u) & (u < end))
        return self._join(drawn).astype(inputs.dtype)

    def spread(self, shared):
        return jnp.tile(shared, self._num_places)

    def total_shared(self, x):
        return jnp.sum(x.reshape(*x.shape[:-1], self._num_places, -1), axis=-2)

    def pool(self, x):
        return jnp.sum(self._blocks(x), axis=(-4, -2)).reshape(*x.shape[:-1], -1)

    def pool_transposed(self, x):
        rows, columns = (size // self.block for size in self.shape)
        blocks = x.reshape(*x.shape[:-1], rows, 1, columns, 1, -1)
        shape = (*x.shape[:-1], rows, self.block, columns, self.block, blocks.shape[-1])
        return jnp.broadcast_to(blocks, shape).reshape(*x.shape[:-1], -1)

    def unpool(self, key, pooled):
        on, size = self.pool_transposed(pooled), self.block**2
        u = self._uniform(key, self._blocks(on))
        chosen = jnp.minimum(jnp.floor(size * u), size - 1)
        return jnp.where(self._join([chosen == i for i in range(size)]), on, 0)

    def unpool_mean(self, pooled):
        return self.pool_transposed(pooled) / self.block**2

    def _blocks(self, x):
        """(..., N) -> (..., rows of blocks, C, columns of blocks, C, K)."""
        rows, columns = (size // self.block for size in self.shape)
        return x.reshape(*x.shape[:-1], rows, self.block, columns, self.block, -1)

    def _join(self, units):
        """The reverse: (..., rows of blocks, columns of blocks, K) for each unit of a block."""
        x = jnp.stack(units, axis=-2)
        *batch, rows, columns, _, num_maps = x.shape
        x = x.reshape(*batch, rows, columns, self.block, self.block, num_maps)
        return jnp.moveaxis(x, -3, -4).reshape(*batch, -1)

    def _uniform(self, key, blocks):
        """A random number for each block of an array that `_blocks` made."""
        *batch, rows, _, columns, _, num_maps = blocks.shape
        return random.uniform(key, (*batch, rows, columns, num_maps)).astype(blocks.dtype)

    def _exponentials(self, inputs):
        """The largest x = I + b of each block, or 0; exp(x − largest) of its units, of all states.

        In this form the mean and the slope of the cumulant are one division, made once.
        """
        x = self._blocks(inputs + numerics.per_unit(self.spread(self.bias), inputs))
        largest = jnp.maximum(jnp.max(x, axis=(-4, -2), keepdims=True), 0)
        largest = jax.lax.stop_gradient(largest)
        exponentials = jnp.exp(x - largest)
        total = jnp.exp(-largest) + jnp.sum(exponentials, axis=(-4, -2), keepdims=True)
        return largest, exponentials, total

    @property
    def num_states(self):
        return (self.block**2 + 1) ** self.num_pooled

    def states(self, index):
        place = digits(index, self.block**2 + 1, self.num_pooled)
        rows, columns = (size // self.block for size in self.shape)
        place = place.reshape(*index.shape, rows, columns, -1)
        return self._join([place == 1 + i for i in range(self.block**2)]).astype(self.bias.dtype)


def _num_maps(num_units, num_places):
    if num_units % num_places:
        raise ValueError(f"{num_units} units are no whole number of maps of {num_places} places")
    return num_units // num_places
