"""Predictions and log p of whole data sets of sequences, which differ in length.

Sequences of about the same length are filled up to one and looked at together; log p is estimated
in blocks of frames. Results are on the host.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import data
from dbn_jax.compilation import jit
from dbn_jax.temporal import likelihood
from dbn_jax.temporal.base import Memory, TemporalRBM, recall

_TOGETHER = 16


class LogLikelihood(NamedTuple):
    """log p of sequences, in nats per frame: the sum over all of them over the number of frames.

    Attributes:
      mean: by annealed importance sampling, too high on average if at all.
      standard_error: of the mean, over sequences as draws of all there could be.
      annealing_error: the part of it that more annealing would take away.
      conservative: by reverse annealing, too low on average.
    """

    mean: float
    standard_error: float
    annealing_error: float
    conservative: float


def for_each(
    function: Callable[..., Any],
    key: jax.Array,
    model: TemporalRBM,
    sequences: Sequence[np.ndarray],
    memories: Memory = None,
) -> list[Any]:
    """``function(key, model, v, memory)`` of each sequence: trees of arrays (frames, …).

    `memories` are those before the first frames, a tree of arrays (sequences, …); None for
    ``model.start()``.
    """
    results: list[Any] = [None] * len(sequences)
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    for first in range(0, len(order), _TOGETHER):
        chosen = order[first : first + _TOGETHER]
        lengths = [len(sequences[i]) for i in chosen]
        # A power of two, so that few programs are compiled.
        shape = (len(chosen), 2 ** math.ceil(math.log2(max(lengths))), sequences[0].shape[1])
        v = np.zeros(shape, np.float32)
        for row, i in zip(v, chosen, strict=True):
            row[: len(sequences[i])] = sequences[i]
        keys = jax.random.split(jax.random.fold_in(key, first), len(chosen))
        starts = jax.tree.map(lambda x: x[np.array(chosen)], memories)  # noqa: B023
        found = jax.device_get(_together(function, keys, model, jnp.asarray(v), starts))
        for j, (i, length) in enumerate(zip(chosen, lengths, strict=True)):
            results[i] = jax.tree.map(lambda x: x[j, :length], found)  # noqa: B023
    return results


@jit(static_argnames="function")
def _together(function, keys, model, v, memories):
    return jax.vmap(lambda key, v, memory: function(key, model, v, memory=memory))(
        keys, v, memories
    )


def log_likelihood(
    key: jax.Array,
    model: TemporalRBM,
    sequences: Sequence[np.ndarray],
    *,
    num_steps: int,
    num_chains: int,
    memories: Memory = None,
    num_frames: int | None = None,
) -> LogLikelihood:
    """Estimates log p of sequences; each frame has its own annealing.

    With `num_frames`, of so many of all frames alone, evenly spread, which count as one sequence.
    """
    recall_key, annealing_key = jax.random.split(key)
    recalled = for_each(_memories, recall_key, model, sequences, memories)
    rows = jax.tree.map(lambda *x: np.concatenate(x), *recalled)
    frames = np.concatenate(sequences).astype(np.float32)
    lengths = np.array([len(x) for x in sequences])
    if num_frames is not None and num_frames < len(frames):
        rows, frames = data.spread((rows, frames), num_frames)
        lengths = np.array([num_frames])
    betas = jnp.linspace(0, 1, num_steps + 1)

    def anneal(key, rows):
        memories, v = rows
        return likelihood.ais_log_probs(key, model, memories, v, betas=betas, num_chains=num_chains)

    found, error, low = data.in_blocks(anneal, annealing_key, (rows, frames))
    totals = np.add.reduceat(found.astype(np.float64), np.cumsum(lengths) - lengths)
    mean, standard_error = ratio(totals, lengths)
    return LogLikelihood(
        mean,
        standard_error,
        float(np.sqrt(np.sum(error.astype(np.float64) ** 2)) / len(frames)),
        float(low.mean(dtype=np.float64)),
    )


def ratio(totals: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Σ totals / Σ counts, and its standard error over the units that were drawn."""
    value = totals.sum() / counts.sum()
    residual = totals - value * counts
    spread = np.sqrt(np.sum(residual**2) * len(counts) / max(len(counts) - 1, 1))
    return float(value), float(spread / counts.sum())


def _memories(key, model, v, *, memory):
    return recall(key, model, v, memory)[0]
