"""The zero-sum gauge: one RBM of all that are the same distribution.

The units of a softmax group sum to 1. What all of a group's weights to another unit have in common
acts as a bias of that unit, and what all of its biases have in common does nothing. Couplings can
be compared and drawn only when such freedom is used up: each group's weights and biases then sum to
0.

Reference: Ekeberg, Lövkvist, Lan, Weigt, Aurell, "Improved contact prediction in proteins: using
pseudolikelihoods to infer Potts models" (2013), section II.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from dbn_jax import linear, units


def zero_sum_gauge(params: Any) -> Any:
    """Returns the RBM in the zero-sum gauge, in its visible and hidden softmax groups.

    All probabilities, of (v, h) and of v, stay as they are; all energies, and log Z, move by one
    constant. Without softmax units it is the same RBM.
    """
    sides = (*params.visible.elements(), *params.hidden.elements())
    if not any(isinstance(part, units.Softmax) for part in sides):
        return params
    _check(params)
    weights = linear.matrix(params.weights)
    common = _common(params.visible, weights)
    into_hidden = _once_per_group(params.visible, common)
    weights = weights - common
    common = _common(params.hidden, weights.T)
    into_visible = _once_per_group(params.hidden, common)
    return dataclasses.replace(
        params,
        weights=weights - common.T,
        visible=_with_zero_sums(params.visible.add_to_bias(into_visible)),
        hidden=_with_zero_sums(params.hidden.add_to_bias(into_hidden)),
    )


def _check(params):
    for side in (params.visible, params.hidden):
        if side.bias.shape[-1] != side.num_units:
            raise ValueError(
                f"{side.num_units} {type(side).__name__} units share {side.bias.shape[-1]} biases; "
                "the gauge moves the bias of each unit by itself"
            )


def _common(layer, x):
    """The mean over each softmax group of what (N, …) says of its units, at each; 0 elsewhere."""
    ends = np.cumsum([part.num_units for part in layer.elements()])[:-1]

    def of_part(part, x):
        if not isinstance(part, units.Softmax):
            return jnp.zeros_like(x)
        groups = x.reshape(-1, part.num_classes, *x.shape[1:])
        mean = jnp.mean(groups, axis=1, keepdims=True)
        return jnp.broadcast_to(mean, groups.shape).reshape(x.shape)

    shares = zip(layer.elements(), jnp.split(x, ends), strict=True)
    return jnp.concatenate([of_part(part, share) for part, share in shares])


def _once_per_group(layer, common):
    """The sum of `_common` over the groups."""
    share = [
        np.full(part.num_units, 1 / getattr(part, "num_classes", 1)) for part in layer.elements()
    ]
    share = jnp.asarray(np.concatenate(share), common.dtype)
    return jnp.sum(share[:, None] * common, axis=0)


def _with_zero_sums(layer):
    return layer.add_to_bias(-_common(layer, layer.bias))
