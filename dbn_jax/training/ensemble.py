"""Ensembles: models that differ by their seeds, trained side by side by one `vmap`.

Their states are stacked along a first axis of every array. What else differs lies there: learning
rates, for instance, if the optimizer keeps them in its state (`optax.inject_hyperparams`). The
devices of a mesh share the members, and exchange nothing.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import parallel
from dbn_jax.compilation import jit
from dbn_jax.typing import Array, Int

S = TypeVar("S")


def stack(states: Sequence[S]) -> S:
    """The state of an ensemble, of those of its members."""
    return jax.tree.map(lambda *x: jnp.stack(x), *states)


@jit
def member(state: S, i: int | Int[Array, ""]) -> S:
    """The state of one member of an ensemble."""
    return jax.tree.map(lambda x: parallel.whole(x[i]), state)


def evaluate(
    function: Callable[[Any], Mapping[str, Any]], state: Any, size: int
) -> dict[str, np.ndarray]:
    """What a function of a state, which returns scalars, finds of each member."""
    each = [function(member(state, i)) for i in range(size)]
    return {name: np.array([found[name] for found in each]) for name in each[0]}


def summary(metrics: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Means over the members, and then their standard errors as `<name>_standard_error`."""
    values = {name: np.asarray(x, np.float64) for name, x in metrics.items()}
    means = {name: float(np.mean(x)) for name, x in values.items()}
    return means | {
        f"{name}_standard_error": float(np.std(x, ddof=1) / math.sqrt(len(x)))
        for name, x in values.items()
    }
