"""The formulae of a unit type against what they are by definition, in float64."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, logsumexp

from dbn_jax import numerics
from dbn_jax.testing.sentences import apart, fail, number, worst
from dbn_jax.testing.tables import Table
from dbn_jax.typing import Array
from dbn_jax.units import Units

# Far from any mass, and still far from the largest float32.
_TAIL = 1e6


def check_tail(element: Units) -> None:
    """Fails unless the energy of real values rises as fast as `tail` says, without the bias.

    It is that of units of this type that `init` makes.
    """
    ends = [end for end in element.support if np.isinf(end)]
    if not ends:
        if element.tail != "bounded":
            limits = number(np.asarray(element.support))
            fail(
                element, "tail", f"it is {element.tail!r}, but values end at {limits}: leave it out"
            )
        return
    unbiased = element.init(element.num_units, jnp.float64)
    for end in ends:
        x = jnp.full(element.num_units, np.sign(end) * _TAIL)
        s = unbiased.statistic(x)
        least = jnp.sum(gammaln(s + 1) if element.tail == "factorial" else 0.5 * s**2)
        energy = float(unbiased.energy(x))
        if not energy >= 0.99 * float(least):
            law = {"quadratic": "s(x)²/2", "factorial": "log s(x)!"}[element.tail]
            fail(
                element,
                "energy",
                f"the tail {element.tail!r} says that it rises as {law}, without the bias; at x = "
                f"{number(x[0])} it is {number(energy)} in place of {number(least)}",
            )


@jax.jit
def _bias_slope(made: Units, x: Array) -> tuple[Array, Array]:
    """−∂U/∂b and what it should be, for each row of x."""
    slope = jax.vmap(jax.grad(lambda made, x: made.energy(x)), (None, 0))(made, x).bias
    return -slope, made.total_shared(made.statistic(x))


def check_bias(made: Units, x: np.ndarray) -> None:
    """Fails unless the bias is the coefficient of the statistic, at values x (n, N)."""
    found, expected = (np.asarray(each) for each in _bias_slope(made, jnp.asarray(x)))
    if (place := worst(found, expected)) is not None:
        row = place[0]
        one, other = apart(found[row], expected[row])
        fail(
            made,
            "energy",
            f"at x = {number(x[row])} its derivative by −bias is {one}, but the statistic s(x) is "
            f"{other}: the energy holds −b·s(x)",
        )


@jax.jit
def _evaluate(made: Units, inputs: Array) -> dict[str, Any]:
    """All that units compute of inputs (..., N), and its gradients."""
    num_shared = made.total_shared(inputs).shape[-1]
    change = 0.1 + 0.2 * jnp.arange(num_shared, dtype=inputs.dtype)
    return {
        "cumulant": made.cumulant(inputs),
        "mean": made.mean(inputs),
        "mean_statistic": made.mean_statistic(inputs),
        "by inputs": jax.grad(lambda inputs: made.cumulant(inputs).sum())(inputs),
        "by parameters": jax.grad(lambda made: made.cumulant(inputs).sum())(made),
        "changed": made.add_to_bias(change).mean(inputs),
        "change": made.spread(change),
    }


@jax.jit
def _slopes_of_sum(made: Units, inputs: Array, states: Array, log_weights: Array) -> Units:
    """The gradient, by the parameters, of what the cumulant is by definition."""

    def total(made):
        logits = inputs @ made.statistic(states).T
        return logsumexp(
            logits + numerics.per_unit(log_weights - made.energy(states), logits), axis=-1
        ).sum()

    return jax.grad(total)(made)


def check_gradients(made: Units, table: Table, inputs: np.ndarray, tolerance: float) -> None:
    """Fails unless cumulant, means and gradients are the table's, at inputs (R, N)."""
    # In two axes, each of which is a batch axis.
    rows = jnp.asarray(inputs.reshape(2, -1, inputs.shape[-1]))
    result = jax.tree.map(np.asarray, _evaluate(made, rows))
    tolerance += table.error(inputs)
    expected = table.cumulant(inputs)
    if (place := worst(found := result["cumulant"].ravel(), expected, tolerance)) is not None:
        one, other = apart(found[place], expected[place])
        where = f"at inputs {number(inputs[place[0]])}"
        fail(made, "cumulant", f"{where} it is {one}, but {table.name} is {other}")

    def compare(method: str, name: str, found: np.ndarray, expected: np.ndarray, what: str) -> None:
        found = found.reshape(inputs.shape)
        if (place := worst(found, expected, tolerance)) is None:
            return
        one, other = apart(found[place], expected[place])
        where = f"at input {number(inputs[place])} (unit {place[1]})"
        fail(made, method, f"{where} {name} is {one}, but {what} {other}")

    p = table.given(inputs)
    mean, mean_statistic = p @ table.states, p @ table.statistic
    of_table = "by its energy" if table.continuous.any() else "over its states"
    compare("mean", "it", result["mean"], mean, f"the mean {of_table} is")
    compare(
        "mean_statistic",
        "it",
        result["mean_statistic"],
        mean_statistic,
        f"the mean of s(x) {of_table} is",
    )
    compare(
        "cumulant", "its derivative", result["by inputs"], mean_statistic, "mean_statistic says"
    )
    moved = table.given(inputs + result["change"]) @ table.states
    compare(
        "add_to_bias",
        "the mean, with more bias,",
        result["changed"],
        moved,
        "with as much more input it is",
    )
    nodes = jnp.asarray(table.states), jnp.asarray(table.log_weights)
    slopes = _slopes_of_sum(made, rows.reshape(inputs.shape), *nodes)
    pairs = zip(
        jax.tree_util.tree_leaves_with_path(result["by parameters"]),
        jax.tree.leaves(slopes),
        strict=True,
    )
    for (path, found), expected in pairs:
        if (place := worst(found, expected, tolerance * len(inputs))) is not None:
            one, other = apart(found[place], np.asarray(expected)[place])
            leaf = jax.tree_util.keystr(path)
            fail(
                made,
                "cumulant",
                f"its derivative by {leaf} (number {place[-1]}), summed over {len(inputs)} inputs, "
                f"is {one}, but that of {table.name} is {other}",
            )
