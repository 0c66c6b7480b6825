"""Recognition of labels by a net with an associative memory, over whole data sets."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import associative_memory, data, dbn
from experiments import shared

_BLOCK = 1000
_NUM_PASSES = 20
_GIBBS_STEPS = 20
# Examples of each split that `watch_errors` looks at.
_NUM_WATCHED = 2000

WAYS: dict[str, Callable] = {
    "mean_field": jax.jit(lambda key, net, v: associative_memory.classify(net, v)),
    "sampling": jax.jit(
        lambda key, net, v: associative_memory.classify_by_sampling(key, net, v, _NUM_PASSES)
    ),
    "gibbs": jax.jit(
        lambda key, net, v: associative_memory.classify_by_gibbs(key, net, v, _GIBBS_STEPS)
    ),
}


def log_posteriors(
    key: jax.Array, net: dbn.Net, split: data.Split, transform: data.Transform, way: str
) -> np.ndarray:
    """log p(label | image) of every image of a split, in blocks.

    Args:
      key: consumed.
      net: the net.
      split: images and labels.
      transform: makes pixels of the split's rows.
      way: one of `WAYS`.

    Returns:
      (N, L), nats.
    """
    blocks = []
    for start in range(0, len(split), _BLOCK):
        view_key, block_key = jax.random.split(jax.random.fold_in(key, start))
        rows = jnp.asarray(split.images[start : start + _BLOCK])
        v = shared.transformed(transform, view_key, rows)
        blocks.append(np.asarray(WAYS[way](block_key, net, v)))
    return np.concatenate(blocks)


def error_rate(log_posterior: np.ndarray, labels: np.ndarray) -> float:
    """Share of examples whose most probable label is wrong."""
    return float(np.mean(log_posterior.argmax(axis=-1) != labels))


def error_rates(
    key: jax.Array, net: dbn.Net, split: data.Split, transform: data.Transform
) -> dict[str, float]:
    """Error rates by all ways, as "error_rate_<way>"; the key is consumed. See `log_posteriors`."""
    rates = {}
    for i, way in enumerate(WAYS):
        answers = log_posteriors(jax.random.fold_in(key, i), net, split, transform, way)
        rates[f"error_rate_{way}"] = error_rate(answers, split.labels)
    return rates


def watch_errors(
    dataset: data.Dataset, transform: data.Transform, seed: int
) -> Callable[[dbn.Net], dict[str, float]]:
    """Makes what is called with the net after every epoch of fine-tuning; cheap and deterministic.

    Returns:
      A function that returns `error_rate_train`, and `error_rate` where there is a validation set;
      of the first images of each, by mean-field features. The test set is left alone.
    """
    watched = {"error_rate_train": dataset.train}
    if dataset.validation is not None:
        watched["error_rate"] = dataset.validation

    def evaluate(net):
        rates = {}
        for name, split in watched.items():
            some = dataclasses.replace(
                split, images=split.images[:_NUM_WATCHED], labels=split.labels[:_NUM_WATCHED]
            )
            answers = log_posteriors(jax.random.key(seed), net, some, transform, "mean_field")
            rates[name] = error_rate(answers, some.labels)
        return rates

    return evaluate


def error_curves(table: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The lines of a panel of what `watch_errors` found, from the metrics of a run."""
    lines = {"training": (table["epoch"], table["eval_error_rate_train"])}
    if "eval_error_rate" in table:
        lines["held out"] = (table["epoch"], table["eval_error_rate"])
    return lines


def rows_with_labels(labels: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Numbers of rows with the wanted labels; each in turn, and again where there are too few.

    Args:
      labels: (N,) of the rows.
      wanted: (M,).

    Returns:
      (M,); row 0 for a label that no row has.
    """
    rows = np.empty(len(wanted), int)
    for label in np.unique(wanted):
        places = np.flatnonzero(wanted == label)
        rows[places] = np.resize(np.flatnonzero(labels == label), len(places))
    return rows


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
    """Sorts answers into bins of equal width by their confidence.

    Args:
      confidence: (N,) probability of each answer.
      right: (N,) whether it is right.
      num_bins: bins between 0 and 1.

    Reference: Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks" (2017),
    equation 3.
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
