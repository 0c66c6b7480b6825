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

from dbn_jax import data, precision
from dbn_jax.compilation import jit
from dbn_jax.temporal import likelihood
from dbn_jax.temporal.base import Memory, TemporalRBM, recall
from dbn_jax.typing import Num

# Sequences that are looked at together: so many, and so many frames, unless one alone has more.
_TOGETHER, _FRAMES = 16, 4096

_Numbers = Sequence[float] | Sequence[int] | Num[np.ndarray, " sequences"]


class LogLikelihood(NamedTuple):
    """log p of sequences, in nats per frame: the sum over all of them over the number of frames.

    Attributes:
      mean: by annealed importance sampling, too high on average if at all.
      standard_error: of the mean, over sequences as draws of all there could be; NaN of one.
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
    *others: Sequence[np.ndarray],
    memories: Memory = None,
) -> list[Any]:
    """``function(key, model, v, *others, memory=memory)`` of each sequence: trees (frames, …).

    Args:
      function: looks at no frame before those that come earlier: sequences are filled up at their
        ends.
      sequences: frames, (frames, V) each, which become float32.
      others: what else belongs to each frame, such as what of it is observed.
      memories: before the first frames, a tree of arrays (sequences, …); None for
        ``model.start()``.
    """
    results: list[Any] = [None] * len(sequences)
    sequences = [np.asarray(x, np.float32) for x in sequences]
    for chosen, num_frames in _groups([len(x) for x in sequences]):
        keys = jax.random.split(jax.random.fold_in(key, chosen[0]), len(chosen))
        columns = [_filled_up([x[i] for i in chosen], num_frames) for x in (sequences, *others)]
        starts = jax.tree.map(lambda x: x[np.array(chosen)], memories)  # noqa: B023
        found = jax.device_get(_together(function, keys, model, columns, starts))
        for j, i in enumerate(chosen):
            results[i] = jax.tree.map(lambda x: x[j, : len(sequences[i])], found)  # noqa: B023
    return results


def _groups(lengths):
    """Numbers of sequences of about the same length, and the length that they are filled up to."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i], reverse=True)
    while order:
        # A power of two, so that few programs are compiled.
        num_frames = 2 ** math.ceil(math.log2(lengths[order[0]]))
        count = min(_TOGETHER, max(1, _FRAMES // num_frames))
        yield order[:count], num_frames
        order = order[count:]


def _filled_up(rows, num_frames):
    return np.stack([np.pad(x, ((0, num_frames - len(x)), (0, 0))) for x in rows])


@jit(static_argnames="function")
@precision.full
def _together(function, keys, model, columns, memories):
    def one(key, columns, memory):
        return function(key, model, *columns, memory=memory)

    return jax.vmap(one)(keys, columns, memories)


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

    With `num_frames`, of so many of all frames alone, evenly spread, each of which then counts as a
    sequence of its own.
    """
    recall_key, annealing_key = jax.random.split(key)
    recalled = for_each(_memories, recall_key, model, sequences, memories=memories)
    rows = jax.tree.map(lambda *x: np.concatenate(x), *recalled)
    frames = np.concatenate(sequences).astype(np.float32)
    lengths = np.array([len(x) for x in sequences])
    if num_frames is not None and num_frames < len(frames):
        rows, frames = data.spread((rows, frames), num_frames)
        lengths = np.ones(num_frames, int)
    betas = jnp.linspace(0, 1, num_steps + 1)

    def anneal(key, rows):
        memories, v = rows
        return likelihood.ais_log_probs(key, model, memories, v, betas=betas, num_chains=num_chains)

    found, error, low = data.in_blocks(anneal, annealing_key, (rows, frames))
    totals = np.add.reduceat(found.astype(np.float64), np.cumsum(lengths) - lengths)
    mean, standard_error = per_frame(totals, lengths)
    return LogLikelihood(
        mean,
        standard_error,
        float(np.sqrt(np.sum(error.astype(np.float64) ** 2)) / len(frames)),
        float(low.mean(dtype=np.float64)),
    )


def per_frame(totals: _Numbers, lengths: _Numbers) -> tuple[float, float]:
    """The sum of totals over the sum of lengths, each of a sequence: a mean over all frames.

    Sequences are independent, their frames are not: the standard error is that of a ratio, from
    what each total differs from the mean times its length; NaN of one sequence, which does not
    tell.
    """
    totals, lengths = np.asarray(totals, np.float64), np.asarray(lengths, np.float64)
    mean = totals.sum() / lengths.sum()
    count = len(totals)
    if count == 1:
        return float(mean), math.nan
    scatter = np.sum((totals - mean * lengths) ** 2) * count / (count - 1)
    return float(mean), float(np.sqrt(scatter) / lengths.sum())


def _memories(key, model, v, *, memory):
    return recall(key, model, v, memory)[0]
