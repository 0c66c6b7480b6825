"""What every unit type provides, and the few functions that they share."""

import abc
import dataclasses
import math
from typing import Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp

from dbn_jax import numerics, precision
from dbn_jax.examples import Batch, Examples
from dbn_jax.typing import Array, Float, Int, Key, Late

U = TypeVar("U", bound="Units")


class Units(abc.ABC):
    """A layer of units of one type.

    Values x and inputs I have shape (..., N) with any leading batch axes; N is `num_units`. Keys
    are consumed. The bias is the coefficient of s in −U: b·s(x). The methods that are not abstract
    hold for U = −b·x and s = x.

    Attributes:
      bias: None in a description.
      support: smallest and largest value that a unit can take; of layers of a single type only, as
        `tail` is (see `elements`).
      tail: how fast a lone unit's density falls: "bounded" (its values have limits), "quadratic"
        (like exp(−x²/2)) or "factorial" (like 1/x!). It decides which pairs have a normalisable
        joint density (`dbn_jax.units.normalisable`).
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]  # unit types are dataclasses
    bias: Late[Float[Array, "*models N"]]
    support: ClassVar[tuple[float, float]]
    tail: ClassVar[str] = "bounded"
    # How many values a unit takes, evenly spaced in `support`; None: infinitely many.
    _num_values: ClassVar[int | None] = None

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        support = getattr(cls, "support", ())
        unlimited = isinstance(support, tuple) and math.inf in map(abs, support)
        if unlimited and cls.tail not in ("quadratic", "factorial"):
            raise TypeError(
                f"{cls.__name__} units have the support {support} and the tail {cls.tail!r}; "
                "values without a limit have the tail 'quadratic' or 'factorial'"
            )

    @property
    def num_units(self) -> int:
        """Number of units N."""
        return self.bias.shape[-1]

    def elements(self) -> list["Units"]:
        """The units of a single type that this layer is made of: itself, or the parts of Concat."""
        return [self]

    def init(self: U, num_units: int, dtype=jnp.float32) -> U:
        """Returns units of this type with parameters: zero biases."""
        if num_units < 1:
            raise ValueError(f"num_units is {num_units}; a layer needs at least one unit")
        return dataclasses.replace(self, bias=jnp.zeros(num_units, dtype))

    def fit(self: U, data: Batch) -> U:
        """Returns units which, with zero weights, have the data's means (and learnt scales).

        The guide's initialisation of visible biases, log(p/(1 − p)) for binary units (section 8).
        A unit that never varies in the data would get an infinite bias: half a count of the other
        extreme is added to each. TypeError if the data are integers.
        """
        low, high = self.support
        data = Examples.of(data)
        dtype = (data.values if self.bias is None else self.bias).dtype
        values = numerics.widen(numerics.as_floats(data.values, dtype))  # a mean may be next to 1
        data = data.with_floats(values)
        count = data.unit_counts
        mean = data.unit_means(values)
        gap = values - numerics.per_unit(mean, values)
        variance = data.unit_means(gap * gap)
        # Data outside the support (see `learning.health.check_data`) count as its ends.
        mean = jnp.clip(mean, low, high)
        if math.isfinite(low) and math.isfinite(high):
            mean = low + (high - low) * ((mean - low) / (high - low) * count + 0.5) / (count + 1)
        elif math.isfinite(low):
            mean = jnp.maximum(mean, low + 0.5 / count)
        matched = self._match(mean, variance)
        return jax.tree.map(lambda leaf: leaf.astype(dtype), matched)

    def _match(self: U, mean: Array, variance: Array) -> U:
        """`fit`, given the moments: mean (N,) strictly inside the support, variance (N,)."""
        raise TypeError(f"{type(self).__name__} units are hidden units: they are fitted to no data")

    @precision.full
    def energy(self, x: Float[Array, "*batch N"]) -> Float[Array, "*batch"]:
        """U(x), summed over the units."""
        # As a product, so that its gradient by the bias reads x once more instead of drawing the
        # sample x once more, which XLA:CPU would fuse into a sum.
        return -(x @ self.bias)

    def statistic(self, x: Float[Array, "*batch N"]) -> Float[Array, "*batch N"]:
        """s(x), through which the units act on the other layer."""
        return x

    def _total(self, inputs):
        """I + b."""
        return inputs + numerics.per_unit(self.bias, inputs)

    @abc.abstractmethod
    def cumulant(self, inputs: Float[Array, "*batch N"]) -> Float[Array, "*batch"]:
        """A(I), summed over the units. Its gradient is `mean_statistic`."""

    @abc.abstractmethod
    def mean(self, inputs: Float[Array, "*batch N"]) -> Float[Array, "*batch N"]:
        """E[x | I]."""

    def mean_statistic(self, inputs: Float[Array, "*batch N"]) -> Float[Array, "*batch N"]:
        """E[s(x) | I]."""
        return self.mean(inputs)

    @abc.abstractmethod
    def sample(
        self, key: Key[Array, ""], inputs: Float[Array, "*batch N"]
    ) -> Float[Array, "*batch N"]:
        """Draws x given the input."""

    def log_prob(
        self, x: Float[Array, "*batch N"], inputs: Float[Array, "*batch N"]
    ) -> Float[Array, "*batch"]:
        """log p(x | I) = I·s(x) − U(x) − A(I), in nats."""
        interaction = jnp.sum(inputs * self.statistic(x), axis=-1)
        return interaction - self.energy(x) - self.cumulant(inputs)

    def add_to_bias(self: U, change: Float[Array, " K"]) -> U:
        """Returns the same units (or gradient) with `change` added to the biases."""
        return dataclasses.replace(self, bias=self.bias + change)

    # Units may share parameters (`units.maps`): then there are K biases, fewer than units.

    def spread(self, shared: Float[Array, "*models K"]) -> Float[Array, "*models N"]:
        """Gives each unit its own of what units share, such as the bias."""
        return shared

    def total_shared(self, x: Float[Array, "*batch N"]) -> Float[Array, "*batch K"]:
        """The sum over the units that share their parameters; the transpose of `spread`."""
        return x

    # The layer above may see less than the units (`units.maps.MaxPooled`): P pooled ones.

    @property
    def num_pooled(self) -> int:
        """Number P of units that the layer above sees."""
        return self.num_units

    def pool(self, x: Float[Array, "*batch N"]) -> Float[Array, "*batch P"]:
        """What the layer above sees of states or means; a linear map."""
        return x

    def pool_transposed(self, x: Float[Array, "*batch P"]) -> Float[Array, "*batch N"]:
        """The input that units get from what acts on the pooled ones."""
        return x

    def unpool(
        self, key: Key[Array, ""], pooled: Float[Array, "*batch P"]
    ) -> Float[Array, "*batch N"]:
        """Draws states given the pooled ones, without any other input."""
        return pooled

    def unpool_mean(self, pooled: Float[Array, "*batch P"]) -> Float[Array, "*batch N"]:
        """The means given the means of the pooled ones, without any other input."""
        return pooled

    def _require_values(self) -> int:
        if self._num_values is None:
            raise TypeError(
                f"{type(self).__name__} units have infinitely many states and cannot be "
                "enumerated; enumerate the other layer"
            )
        return self._num_values

    @property
    def num_states(self) -> int:
        """Number of joint states of the layer; TypeError if it is infinite."""
        return self._require_values() ** self.num_units

    def states(self, index: Int[Array, "*batch"]) -> Float[Array, "*batch N"]:
        """Joint states by number, 0 <= index < `num_states`."""
        (low, high), num_values = self.support, self._require_values()
        step = (high - low) / (num_values - 1)
        number = digits(index, num_values, self.num_units)
        return low + step * number.astype(self.bias.dtype)


def digits(index, base, num_digits):
    """The digits of a number, most significant first: (...) -> (..., num_digits)."""
    powers = jnp.array([base**i for i in reversed(range(num_digits))], index.dtype)
    index = jnp.broadcast_to(index[..., None], (*index.shape, num_digits))
    return index // jnp.broadcast_to(powers, index.shape) % base
