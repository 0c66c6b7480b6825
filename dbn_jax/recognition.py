"""Recognition of whole data sets: error rates and calibration of a net or a classifier.

A way to recognise is a function (key, model, images) -> log p(label | image), (..., L) nats; `WAYS`
has those of a net with label units. Keys are consumed; N examples.

Reference: Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks" (2017).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from dbn_jax import associative_memory, data, dbn, numerics, precision

Way = Callable[[jax.Array, Any, jax.Array], jax.Array]

_NUM_PASSES = 20
_GIBBS_STEPS = 20

WAYS: dict[str, Way] = {
    "mean_field": lambda key, net, v: associative_memory.classify(net, v),
    "sampling": lambda key, net, v: associative_memory.classify_by_sampling(
        key, net, v, _NUM_PASSES
    ),
    "gibbs": lambda key, net, v: associative_memory.classify_by_gibbs(
        key, net, v, _GIBBS_STEPS, _NUM_PASSES
    ),
}


@precision.full
def log_posteriors(
    key: jax.Array,
    model: object,
    images: np.ndarray,
    transform: data.Transform,
    way: Way = WAYS["mean_field"],
) -> np.ndarray:
    """log p(label | image), (N, L), of any number of rows of a data set, (N, …)."""

    def recognise(key, rows):
        view_key, key = jax.random.split(key)
        return way(key, model, data.apply(transform, view_key, rows))

    return data.in_blocks(recognise, key, images)


def error_rate(log_posterior: np.ndarray, labels: np.ndarray) -> float:
    """Share of examples whose most probable label is wrong."""
    numerics.check_labels(labels, log_posterior.shape[-1])
    return float(np.mean(log_posterior.argmax(axis=-1) != labels))


def error_rates(
    key: jax.Array, net: dbn.Net, split: data.Split, transform: data.Transform
) -> dict[str, float]:
    """The error rate of a net on a split by each of `WAYS`, as "error_rate_<way>"."""
    rates = {}
    for i, (name, way) in enumerate(WAYS.items()):
        answers = log_posteriors(jax.random.fold_in(key, i), net, split.images, transform, way)
        rates[f"error_rate_{name}"] = error_rate(answers, split.labels)
    return rates


class Calibration(NamedTuple):
    """How confidence compares with being right, in the bins that are not empty.

    Attributes:
      error: expected calibration error: the mean distance of a bin's confidence from its share of
        right answers, weighted by the number of answers.
      confidence: (bins,) mean probability of the answers.
      share_right: (bins,) share of them that is right.
      counts: (bins,) how many they are.
    """

    error: float
    confidence: np.ndarray
    share_right: np.ndarray
    counts: np.ndarray


def calibration(confidence: np.ndarray, right: np.ndarray, num_bins: int = 15) -> Calibration:
    """Sorts answers into bins of equal width by their confidence (Guo et al., equation 3).

    `confidence` (N,) is the probability of each answer, `right` (N,) whether it is right.
    """
    bins = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    counts = np.bincount(bins, minlength=num_bins)
    full = counts > 0
    sure, share = (
        np.bincount(bins, values, num_bins)[full] / counts[full] for values in (confidence, right)
    )
    counts = counts[full]
    error = float(np.average(np.abs(sure - share), weights=counts))
    return Calibration(error, sure, share, counts)
