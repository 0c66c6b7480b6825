"""What error rates are held against: answers by the commonest class, and by nearest neighbours.

A model that has learnt nothing, or worse features than the pixels, still prints an error rate.
"""

import math
from collections.abc import Mapping

import numpy as np
from absl import logging

from dbn_jax import data
from dbn_jax.embedding import pairwise

_NUM_NEIGHBOURS = 1000  # training images among which the nearest one is sought
_SURE = 2.0  # standard errors of the difference: less is no reason to warn


def nearest_neighbour_error(dataset: data.Dataset, split: data.Split) -> tuple[int, float]:
    """How many training images were looked at; the error of answering as the nearest of them."""
    some = dataset.train.spread(_NUM_NEIGHBOURS)
    known, asked = (np.asarray(x.images, np.float32) for x in (some, split))
    error = pairwise.classification_error(known, some.labels, asked, split.labels, num_neighbours=1)
    return len(some), error


def warn(error_rates: Mapping[str, float], dataset: data.Dataset, split: data.Split) -> None:
    """Warns of error rates on a split that are near chance, or behind the nearest neighbour's."""
    size = len(split)
    chance = 1 - float(np.bincount(split.labels).max()) / size
    seen, nearest = nearest_neighbour_error(dataset, split)
    yardsticks = {
        f"always answering the commonest class gets {chance:.1%}": chance - _margin(chance, size),
        f"the nearest of {seen:,} training images gets {nearest:.1%}": nearest
        + _margin(nearest, size),
    }
    told = set()
    for words, limit in yardsticks.items():
        behind = {name: rate for name, rate in error_rates.items() if rate > limit}
        if new := {name: rate for name, rate in behind.items() if name not in told}:
            logging.warning(
                "%s, where %s of these %s images wrong: train longer (more epochs), or at another "
                "learning rate, or with fewer layers; the learning curves tell which",
                ", ".join(f"{name} is {rate:.1%}" for name, rate in new.items()),
                words,
                f"{size:,}",
            )
            told |= new.keys()


def _margin(rate, size):
    """By how much two rates near this one may differ by chance."""
    rate = max(rate, 1 / size)  # none wrong of a few images is no proof
    return _SURE * math.sqrt(2 * rate * (1 - rate) / size)
