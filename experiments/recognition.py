"""Recognition of labels by a net with an associative memory, over whole data sets."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import associative_memory, data, dbn
from experiments import shared

_BLOCK = 1000
_NUM_PASSES = 20
_GIBBS_STEPS = 20

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
