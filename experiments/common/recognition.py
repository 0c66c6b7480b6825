"""Recognition of labels over whole data sets: by a net with an associative memory, or a network."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure

from dbn_jax import associative_memory, data, dbn, figures
from experiments.common import shared

_BLOCK = 1000
_NUM_PASSES = 20
_GIBBS_STEPS = 20
# Examples of each split that `watch_errors` looks at.
_NUM_WATCHED = 2000
# Images in a row of the sheet of errors, and in all of it.
_COLUMNS = 12
_MAX_ERRORS = 40 * _COLUMNS

# (key, model, images) -> log p(label | image), compiled.
Classify = Callable[[jax.Array, object, jax.Array], jax.Array]

WAYS: dict[str, Classify] = {
    "mean_field": lambda key, net, v: associative_memory.classify(net, v),
    "sampling": lambda key, net, v: associative_memory.classify_by_sampling(
        key, net, v, _NUM_PASSES
    ),
    "gibbs": lambda key, net, v: associative_memory.classify_by_gibbs(
        key, net, v, _GIBBS_STEPS, _NUM_PASSES
    ),
}


def log_posteriors(
    key: jax.Array, model: object, split: data.Split, transform: data.Transform, classify: Classify
) -> np.ndarray:
    """log p(label | image) of every image of a split, in blocks.

    Args:
      key: consumed.
      model: the net or network.
      split: images and labels.
      transform: makes pixels of the split's rows.
      classify: how it recognises, such as one of `WAYS`.

    Returns:
      (N, L), nats.
    """
    blocks = []
    for start in range(0, len(split), _BLOCK):
        view_key, block_key = jax.random.split(jax.random.fold_in(key, start))
        rows = split.images[start : start + _BLOCK]
        v = shared.transformed(transform, view_key, rows)
        blocks.append(np.asarray(classify(block_key, model, v)))
    return np.concatenate(blocks)


def error_rate(log_posterior: np.ndarray, labels: np.ndarray) -> float:
    """Share of examples whose most probable label is wrong."""
    return float(np.mean(log_posterior.argmax(axis=-1) != labels))


def error_rates(
    key: jax.Array, net: dbn.Net, split: data.Split, transform: data.Transform
) -> dict[str, float]:
    """Error rates by all ways, as "error_rate_<way>"; the key is consumed. See `log_posteriors`."""
    rates = {}
    for i, (way, classify) in enumerate(WAYS.items()):
        answers = log_posteriors(jax.random.fold_in(key, i), net, split, transform, classify)
        rates[f"error_rate_{way}"] = error_rate(answers, split.labels)
    return rates


def watch_errors(
    dataset: data.Dataset,
    transform: data.Transform,
    seed: int,
    *,
    classify: Classify = WAYS["mean_field"],
    num_validation: int | None = _NUM_WATCHED,
) -> Callable[[object], dict[str, float]]:
    """Makes what is called with the model after every epoch of fine-tuning; deterministic.

    Args:
      dataset: the data.
      transform: makes pixels of the data set's rows.
      seed: of the recognition.
      classify: how the model recognises.
      num_validation: how many validation images are looked at; None is all of them.

    Returns:
      A function that returns `error_rate_train`, of the first training images, and `error_rate`
      where there is a validation set. The test set is left alone.
    """
    watched = {"error_rate_train": _first(dataset.train, _NUM_WATCHED)}
    if dataset.validation is not None:
        watched["error_rate"] = _first(dataset.validation, num_validation)

    def evaluate(model):
        rates = {}
        for name, split in watched.items():
            answers = log_posteriors(jax.random.key(seed), model, split, transform, classify)
            rates[name] = error_rate(answers, split.labels)
        return rates

    return evaluate


def _first(split, count):
    return dataclasses.replace(split, images=split.images[:count], labels=split.labels[:count])


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


def error_sheet(
    dataset: data.Dataset, split: data.Split, log_posterior: np.ndarray, part: str
) -> Figure | None:
    """Draws the images that were recognised wrongly, with label, answer and confidence.

    Args:
      dataset: the data.
      split: what was recognised, N images.
      log_posterior: (N, L), nats.
      part: name of the split.

    Returns:
      The sheet, the surest errors first; None if there is no error.
    """
    labels, chosen = split.labels, log_posterior.argmax(axis=-1)
    confidence = np.exp(log_posterior.max(axis=-1))
    wrong = np.flatnonzero(chosen != labels)
    if not len(wrong):
        return None
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:_MAX_ERRORS]
    share = f"{len(wrong):,} of {len(labels):,} {part} images wrong, {len(wrong) / len(labels):.2%}"
    more = f"; the surest {_MAX_ERRORS} are shown" if len(wrong) > _MAX_ERRORS else ""
    return figures.captioned_sheet(
        dataset.pictures(split.images[surest]),
        [f"{labels[i]} → {chosen[i]}  {confidence[i]:.0%}" for i in surest],
        image_shape=dataset.image_shape,
        columns=_COLUMNS,
        title="Errors, the surest first",
        subtitle=f"true label → answer, and its probability; {share}{more}",
    )


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
