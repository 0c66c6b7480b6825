"""Convolutional RBMs as Lee et al. (2009) write them: sums over places, in loops of numpy.

    E(v, h) = U_v(v) − Σ_k Σ_ij h^k_ij b_k − Σ_k Σ_ij Σ_rsc W_rsck v_(i+r, j+s, c) h^k_ij,

and of the hidden units of a block at most one is on. It shares no code with the package: what a
unit sees is written out here, number by number, so that `oracles` can enumerate such an RBM as one
whose matrix has tied entries.
"""

import itertools
import math

import numpy as np

_ZEROS_BEFORE = {
    "valid": lambda size: 0,
    "same": lambda size: (size - 1) // 2,
    "full": lambda size: size - 1,
}


def connections(weights):
    """(visible unit, hidden unit, index into the filters) of each product in the energy."""
    rows, columns, channels = weights.image_shape
    shared = weights.filters.ndim == 4
    size = weights.filters.shape[0] if shared else weights.filter_size[0]
    before = _ZEROS_BEFORE[weights.border](size)
    num_maps = weights.filters.shape[-1]
    change = {"valid": 1 - size, "same": 0, "full": size - 1}[weights.border]
    places = itertools.product(range(rows + change), range(columns + change))
    for place, (i, j) in enumerate(places):
        numbers = itertools.product(range(size), range(size), range(channels))
        for number, (r, s, c) in enumerate(numbers):
            row, column = i + r - before, j + s - before
            if 0 <= row < rows and 0 <= column < columns:
                for k in range(num_maps):
                    index = (r, s, c, k) if shared else (place, number, k)
                    yield (row * columns + column) * channels + c, place * num_maps + k, index


def matrix(weights):
    """The tied entries written out: (V, H)."""
    filters = np.asarray(weights.filters, np.float64)
    dense = np.zeros(weights.shape)
    for v, h, index in connections(weights):
        dense[v, h] += filters[index]
    return dense


def fold(weights, dense):
    """Sums what is said of the matrix over entries that are tied: like the filters."""
    filters = np.zeros(weights.filters.shape)
    for v, h, index in connections(weights):
        filters[index] += dense[v, h]
    return filters


def interaction(weights, v, h):
    """Σ W_rsck v_(i+r, j+s, c) h^k_ij: (..., V), (..., H) -> (...)."""
    filters = np.asarray(weights.filters, np.float64)
    return sum(filters[index] * v[..., i] * h[..., j] for i, j, index in connections(weights))


def blocks(x, shape, block):
    """(..., H) -> (..., P, C²): the units of each block, blocks in the order of pooled units."""
    rows, columns = shape
    image = np.asarray(x).reshape(*np.shape(x)[:-1], rows, columns, -1)
    found = [
        image[..., i : i + block, j : j + block, k].reshape(*image.shape[:-3], -1)
        for i in range(0, rows, block)
        for j in range(0, columns, block)
        for k in range(image.shape[-1])
    ]
    return np.stack(found, axis=-2)


def allowed(states, shape, block):
    """Whether at most one unit of each block is on: (..., H) -> (...)."""
    return (blocks(states, shape, block).sum(axis=-1) <= 1).all(axis=-1)


def free_energy(params, v):
    """F(v) of binary hidden units by the formula of the paper, for pixels that are 0 or 1."""
    weights, block = params.weights, getattr(params.hidden, "block", 1)
    bias = np.asarray(params.hidden.bias, np.float64)
    total = v @ matrix(weights) + np.tile(bias, math.prod(weights.map_shape[:2]))
    inputs = blocks(total, weights.map_shape[:2], block)
    channels = np.asarray(params.visible.bias, np.float64)
    own = v @ np.tile(channels, math.prod(weights.image_shape[:2]))
    return -own - np.log1p(np.exp(inputs).sum(axis=-1)).sum(axis=-1)
