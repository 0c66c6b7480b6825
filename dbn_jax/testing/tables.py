"""Units of any type by definition: p(x | I) ∝ exp(I·s(x) − U(x)) over all their values.

Sums over states, which a class lists, or over whole numbers; integrals over real values. The
integrals' nodes are those of the tanh-sinh rule (Takahasi, Mori 1974), which bears densities that
end, or grow without limit, at the ends of the support.
"""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax.testing.sentences import fail, number
from dbn_jax.typing import Array
from dbn_jax.units import Units

_MOST_STATES = 400_000
# What is e⁻⁵⁰ of the largest density does not count.
_NEGLIGIBLE = 50.0
# Real values lie within this of a sample, or the density is said not to fall off.
_FAR = 1e6
_SCAN = np.concatenate([-np.geomspace(_FAR, 1e-4, 250), [0.0], np.geomspace(1e-4, _FAR, 250)])
# Of the tanh-sinh rule: intervals between nodes of a unit, and where they end, 4e-14 of a piece's
# length before its ends.
_INTERVALS, _LAST = 240, 3.0


@dataclasses.dataclass(frozen=True)
class Axis:
    """Values of one unit, or joint states of several: (T, width), and their log weights (T,).

    `coarse` are the log weights of a rule that has half as many nodes.
    """

    values: np.ndarray
    log_weights: np.ndarray
    coarse: np.ndarray
    continuous: bool = False

    @classmethod
    def listed(cls, values: np.ndarray) -> "Axis":
        """Values that are summed over."""
        return cls(values, np.zeros(len(values)), np.zeros(len(values)))


@dataclasses.dataclass(frozen=True)
class Table:
    """A layer as a table of its S states, or nodes.

    Attributes:
      states: (S, N).
      log_weights: (S,), of the nodes; 0 where states are summed over.
      coarse: (S,), see `Axis`.
      energy: (S,) U of the states.
      statistic: (S, N) s of the states.
      continuous: (N,) which units take real values.
    """

    states: np.ndarray
    log_weights: np.ndarray
    coarse: np.ndarray
    energy: np.ndarray
    statistic: np.ndarray
    continuous: np.ndarray

    @classmethod
    def of(cls, layer: Units, inputs: np.ndarray, drawn: np.ndarray) -> "Table":
        """For inputs (R, N) or others as large; `drawn` (n, N) are samples, to begin from."""
        axes = _axes(layer, inputs, drawn)
        index = np.indices([len(axis.values) for axis in axes]).reshape(len(axes), -1)
        pairs = list(zip(axes, index, strict=True))
        states = np.concatenate([axis.values[i] for axis, i in pairs], axis=1)
        table = cls(
            states,
            np.sum([axis.log_weights[i] for axis, i in pairs], axis=0),
            np.sum([axis.coarse[i] for axis, i in pairs], axis=0),
            *evaluate(layer, states),
            np.concatenate([np.full(axis.values.shape[1], axis.continuous) for axis in axes]),
        )
        _check_energy(layer, table, inputs)
        return table

    @property
    def name(self) -> str:
        """What its cumulant is."""
        if self.continuous.any():
            return "log ∫ exp(I·s(x) − U(x)) dx over its support"
        return f"log Σ exp(I·s(x) − U(x)) over its {len(self.states):,} states"

    def logits(self, inputs: np.ndarray, log_weights: np.ndarray | None = None) -> np.ndarray:
        """I·s − U, with the log weights: (..., N) -> (..., S)."""
        own = (self.log_weights if log_weights is None else log_weights) - self.energy
        return np.asarray(inputs, np.float64) @ self.statistic.T + own

    def cumulant(self, inputs: np.ndarray) -> np.ndarray:
        """(..., N) -> (...)."""
        return _log_sum_exp(self.logits(inputs))

    def error(self, inputs: np.ndarray) -> float:
        """How exact `cumulant` is at inputs (R, N): 0 for sums.

        Of smooth densities it is below 1e-6. Where U has a kink between nodes, the difference of
        two rules is about their error, which varies with the inputs.
        """
        gap = _log_sum_exp(self.logits(inputs, self.coarse)) - self.cumulant(inputs)
        return 3 * float(np.abs(gap).max())

    def given(self, inputs: np.ndarray) -> np.ndarray:
        """Probabilities of the states: (..., N) -> (..., S)."""
        logits = self.logits(inputs)
        return np.exp(logits - _log_sum_exp(logits)[..., None])


@jax.jit
def _evaluate(layer: Units, x: Array) -> tuple[Array, Array]:
    return layer.energy(x), layer.statistic(x)


def evaluate(layer: Units, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """U and s of values (T, N), in the precision of the layer."""
    energy, statistic = _evaluate(layer, jnp.asarray(x, jax.tree.leaves(layer)[0].dtype))
    return np.asarray(energy, np.float64), np.asarray(statistic, np.float64)


def number_of_states(layer: Units) -> int | None:
    """None if the states are not finitely many."""
    try:
        return layer.num_states
    except TypeError:  # as `Units.num_states` says it
        return None


def _check_energy(layer: Units, table: Table, inputs: np.ndarray) -> None:
    if (unknown := np.isnan(table.energy)).any():
        fail(layer, "energy", f"at x = {number(table.states[unknown.argmax()])} it is nan")
    if (error := table.error(inputs)) > 0.1:
        fail(
            layer,
            "energy",
            "exp(I·s(x) − U(x)) cannot be integrated: by two rules its logarithm is not the same "
            f"within {number(error, 2)}. Is U smooth within the support?",
        )


def check_size(layer: Units) -> None:
    """Raises ValueError if there are too many states; a unit that lists none takes two values."""
    parts = layer.elements()
    _check_number(layer, math.prod(number_of_states(x) or 2**x.num_units for x in parts))


def _check_number(layer: Units, num_states: int) -> None:
    if num_states > _MOST_STATES:
        raise ValueError(
            f"{layer.num_units:,} {type(layer).__name__} units have more than the {_MOST_STATES:,} "
            "states or nodes that can be summed over: give a smaller num_units"
        )


def _log_sum_exp(logits: np.ndarray) -> np.ndarray:
    top = logits.max(axis=-1, keepdims=True)
    return np.asarray(np.log(np.exp(logits - top).sum(axis=-1)) + top[..., 0])


def _axes(layer: Units, inputs: np.ndarray, drawn: np.ndarray) -> list[Axis]:
    """The states of elements that list them, and else the values of each unit."""
    axes: list[Axis] = []
    start = 0
    for element in layer.elements():
        end = start + element.num_units
        if (num_states := number_of_states(element)) is None:
            low, high = element.support
            axes += [_axis(layer, inputs, drawn, i, low, high) for i in range(start, end)]
        else:
            states = element.states(jnp.arange(num_states))
            axes.append(Axis.listed(np.asarray(states, np.float64)))
        start = end
    _check_number(layer, math.prod(len(axis.values) for axis in axes))
    return axes


def _axis(
    layer: Units, inputs: np.ndarray, drawn: np.ndarray, i: int, low: float, high: float
) -> Axis:
    """The values of unit i, which are no listed states: whole numbers if its samples are."""
    whole = bool(np.all(drawn[:, i] == np.round(drawn[:, i])))
    first, last = _reach(layer, inputs, drawn[0], i, low, high, whole)
    if whole:
        return Axis.listed(np.arange(math.ceil(first), math.floor(last) + 1.0)[:, None])
    # Densities often have a kink at 0.
    ends = [first, 0.0, last] if first < 0 < last else [first, last]
    size = _INTERVALS // (len(ends) - 1) + 1
    pieces = [_tanh_sinh(*piece, size) for piece in itertools.pairwise(ends)]
    values, weights, coarse = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    with np.errstate(divide="ignore"):
        return Axis(values[:, None], np.log(weights), np.log(coarse), continuous=True)


def _reach(
    layer: Units,
    inputs: np.ndarray,
    base: np.ndarray,
    i: int,
    low: float,
    high: float,
    whole: bool,
) -> tuple[float, float]:
    """Where the density of unit i is not negligible, beside others as in `base`."""
    grid = base[i] + (np.unique(np.round(_SCAN)) if whole else _SCAN)
    inside = (low <= grid) & (grid <= high) if whole else (low < grid) & (grid < high)
    x = np.tile(base, (len(grid), 1))
    x[inside, i] = grid[inside]
    energy, statistic = evaluate(layer, x)
    with np.errstate(invalid="ignore"):
        log_density = np.where(inside, inputs @ statistic.T - energy, -np.inf)
    log_density[np.isnan(log_density)] = -np.inf
    top = log_density.max(axis=1, keepdims=True)
    if not np.isfinite(top).all():
        fail(layer, "energy", f"at x near {number(base)} it is {number(energy[len(grid) // 2])}")
    (there,) = np.nonzero((log_density > top - _NEGLIGIBLE).any(axis=0))
    for end, at_end in (("low", there[0] == 0), ("high", there[-1] == len(grid) - 1)):
        if at_end:
            far = grid[0] if end == "low" else grid[-1]
            fail(
                layer,
                "energy",
                f"exp(I·s(x) − U(x)) does not fall off: at x = {number(far)} U is "
                f"{number(energy[0 if end == 'low' else -1])}, and the density has no sum or "
                "integral. Is the sign of U right?",
            )
    return max(low, grid[there[0] - 1]), min(high, grid[there[-1] + 1])


def _tanh_sinh(first: float, last: float, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """So many nodes between two ends, their weights, and those of every other node alone."""
    t = np.linspace(-_LAST, _LAST, size)
    half, inner = (last - first) / 2, math.pi / 2 * np.sinh(t)
    weights = half * (t[1] - t[0]) * math.pi / 2 * np.cosh(t) / np.cosh(inner) ** 2
    # From the nearer end, so that no digits are lost there.
    from_end = half * 2 / (1 + np.exp(2 * np.abs(inner)))
    nodes = np.where(t < 0, first + from_end, last - from_end)
    # A rule that also ends earlier tells how much may lie beyond the last nodes.
    coarse = np.where((np.arange(size) % 2 == 0) & (np.abs(t) < 0.95 * _LAST), 2 * weights, 0)
    return nodes, weights, coarse
