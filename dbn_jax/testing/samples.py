"""Samples against the probabilities that they should have.

Every comparison is a score in standard errors. A sum of independent terms is farther from its mean
than t standard errors with probability 2·exp(−t²/2) at most: for frequencies that is Chernoff's
bound on a score from the Kullback-Leibler divergence, for distribution functions it is Dvoretzky,
Kiefer and Wolfowitz's, and for means of thousands of draws the normal law is well below it. All
scores together exceed their `bound` with a probability of one in a million. What is noticed: a
probability of ½ that is off by 0.02, a standard deviation by 4 %.
"""

import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax.testing.sentences import fail, number
from dbn_jax.testing.tables import Table
from dbn_jax.typing import Array, Key
from dbn_jax.units import Units

# How many scores, the largest of them, and what it says.
Comparison = tuple[int, float, str]
NUM_DRAWS = 20_000
FALSE_ALARM = 1e-6


@jax.jit
def _sample(key: Array, layer: Units, inputs: Array) -> Array:
    return layer.sample(key, inputs)


def draw(key: Key[Array, ""], layer: Units, inputs: np.ndarray) -> np.ndarray:
    """Draws given each row of inputs (R, N): (NUM_DRAWS, R, N), float64."""
    many = jnp.broadcast_to(jnp.asarray(inputs), (NUM_DRAWS, *inputs.shape))
    return np.asarray(_sample(key, layer, many), np.float64)


def bound(num_scores: int) -> float:
    """What the largest of so many scores exceeds for one key in a million."""
    return math.sqrt(2 * math.log(2 * num_scores / FALSE_ALARM))


def check(layer: Units, table: Table, inputs: np.ndarray, drawn: np.ndarray) -> None:
    """Compares draws (n, R, N) given inputs (R, N) with the table's probabilities."""
    compared = [
        comparison
        for row, x in zip(inputs, np.moveaxis(drawn, 1, 0), strict=True)
        for comparison in _compare(table, row, x)
    ]
    limit = bound(sum(num_scores for num_scores, _, _ in compared))
    for _, score, sentence in compared:
        if not score <= limit:
            fail(layer, "sample", sentence)


def _compare(table: Table, row: np.ndarray, x: np.ndarray) -> Iterator[Comparison]:
    """Of the draws x (n, N) given one row of inputs: how many scores, the largest, what it says."""
    p = table.given(row)
    mean = p @ table.states
    centred = table.states - mean
    for i, name in enumerate(_names(row)):
        yield _mean(f"mean of {len(x):,} samples", name, x[:, i], p, table.states[:, i])
    for i, name in enumerate(_names(row)):
        what = f"variance of {len(x):,} samples"
        yield _mean(what, name, (x[:, i] - mean[i]) ** 2, p, centred[:, i] ** 2)
    # Units that take real values are told one by one, and whether they are independent.
    columns = [[i] for i in range(len(row))] if table.continuous.any() else [list(range(len(row)))]
    for group in columns:
        where = f"at {_inputs(row[group])}"
        if table.continuous[group].any():
            yield _distribution(where, x[:, group[0]], p, table.states[:, group[0]])
        else:
            yield _frequencies(where, x[:, group], p, table.states[:, group])
    for i, j in zip(*np.triu_indices(len(row), 1), strict=True) if len(columns) > 1 else ():
        what = f"covariance of units {i} and {j} in {len(x):,} samples"
        found, expected = ((y[:, i] - mean[i]) * (y[:, j] - mean[j]) for y in (x, table.states))
        yield _mean(what, f"at {_inputs(row)}", found, p, expected)


def _inputs(row: np.ndarray) -> str:
    return f"input {number(row[0])}" if len(row) == 1 else f"inputs {number(row)}"


def _names(row: np.ndarray) -> list[str]:
    if len(row) == 1:
        return [f"at {_inputs(row)}"]
    return [f"at input {number(each)} (unit {i})" for i, each in enumerate(row)]


def _mean(
    what: str, where: str, found: np.ndarray, p: np.ndarray, values: np.ndarray
) -> Comparison:
    """The mean of found values (n,), of which the table has these (S,)."""
    expected = (p @ values).round(12)
    error = math.sqrt(max(p @ (values - expected) ** 2, 0) / len(found))
    error = max(error, 1e-6 * (1 + abs(expected)))  # rounding, where nothing varies
    score = abs(found.mean() - expected) / error
    sentence = (
        f"{where} the {what} is {number(found.mean())}, expected {number(expected)} ± "
        f"{number(error, 2)} ({number(score, 3)} standard errors)"
    )
    return 1, score, sentence


def _frequencies(where: str, x: np.ndarray, p: np.ndarray, states: np.ndarray) -> Comparison:
    """How often each value occurs among draws (n, width)."""
    values, index = np.unique(states.astype(np.float32), axis=0, return_inverse=True)
    p = np.minimum(np.bincount(index.ravel(), p), 1.0)
    share = _counts(x.astype(np.float32), values) / len(x)
    divergence = _entropy(share, p) + _entropy(1 - share, 1 - p)
    score = np.sqrt(2 * len(x) * np.maximum(divergence, 0))
    i = score.argmax()
    what = f"are {number(values[i] if len(values[i]) > 1 else values[i, 0])}"
    return len(values), score[i], _share(where, what, share[i], p[i], len(x))


def _entropy(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a log(a/b)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(a > 0, a * np.log(a / b), 0)


def _counts(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """How often each row of `values` occurs among the rows of x."""
    both, index = np.unique(np.concatenate([values, x]), axis=0, return_inverse=True)
    index = index.ravel()
    return np.bincount(index[len(values) :], minlength=len(both))[index[: len(values)]]


def _distribution(where: str, x: np.ndarray, p: np.ndarray, states: np.ndarray) -> Comparison:
    """The distribution function of draws (n,), at the nodes."""
    nodes, index = np.unique(states, return_inverse=True)
    p = np.bincount(index.ravel(), p)
    # Euler and Maclaurin's sum up to the middle of a node's share, and its first correction.
    expected = np.cumsum(p) - p / 2 - np.gradient(p) / 12
    found = np.searchsorted(np.sort(x), nodes, side="right") / len(x)
    gap = np.abs(found - expected)
    i = gap.argmax()
    score = 2 * math.sqrt(len(x)) * gap[i]
    what = f"lie below {number(nodes[i])}"
    return 1, score, _share(where, what, found[i], expected[i], len(x))


def _share(where: str, what: str, share: float, expected: float, size: int) -> str:
    error = math.sqrt(max(expected * (1 - expected), 0) / size)
    return (
        f"{where} {100 * share:.2f} % of {size:,} samples {what}, expected "
        f"{100 * expected:.2f} ± {100 * error:.2f} %"
    )
