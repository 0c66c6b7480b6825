"""Potentials of all points of a map, in a time that grows as N log N.

The potential at a place y is φ(y) = Σ_j w(|y − y_j|²). It is smooth, so that a grid whose steps are
a fraction of the kernel's width has it: the points are spread over the nodes round them, potentials
of nodes are a convolution by fast Fourier transforms, and between nodes they are interpolated.
B-splines spread and interpolate; what they smooth is restored by a division in Fourier space. So
the potential is that of the kernel but for what the grid cannot tell apart, and its slope is that
of the splines.

A small map has slopes that are small beside its potentials. So the smallest grid is as large as the
map, and what is convolved there is the kernel less its smallest value on the map.

Compared with sums over all pairs, forces differ by some 10⁻⁴ of their norm
(`tests/embedding/test_grid.py`).

References: Linderman, Rachh, Hoskins, Steinerberger, Kluger, "Fast interpolation-based t-SNE for
improved visualization of single-cell RNA-seq data" (2019), for grids; Essmann et al., "A smooth
particle mesh Ewald method" (1995), for splines and the division by them.
"""

import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax.typing import Array, Float

# Nodes along a side: the fewest with steps of at most `_step` are taken.
SIZES = (64, 128, 256, 384, 512, 640, 768, 1024, 1280, 1536, 2048)
_ORDER = 6  # of the splines, each of which reaches so many nodes along a side
# Nodes that keep the farthest pairs away from where the kernel, continued periodically, has a kink:
# the division by the splines, whose inverse falls by 0.43 a node, spreads it.
_REACH = 20


def potential(
    targets: Float[Array, "M 2"],
    sources: Float[Array, "N 2"],
    w: Callable[[Array], Array],
    excess: Callable[[Array], Array],
    sums: Callable[[Array, Array], tuple[Array, Array]],
) -> tuple[Float[Array, " M"], Float[Array, "M 2"]]:
    """Σ_j w(|y_i − y_j|²) of each target, over all sources, and its slope ∂/∂y_i.

    `w` of a squared distance is the kernel; `excess` is w − 1, exact near 0. Maps that are too
    large for a grid are left to `sums` of targets and sources.
    """
    if targets.shape[1] != 2:
        raise ValueError(
            f"the map has {targets.shape[1]} dimensions, and a grid 2: sum over all pairs (exact "
            "forces), or make a map in 2 dimensions"
        )
    everything = jnp.concatenate([targets, sources])
    low = jnp.min(everything, axis=0, keepdims=True)
    extent = jnp.max(everything - low)
    widths = np.array(SIZES, extent.dtype) - _ORDER - _REACH  # of maps, in steps
    limits = _step(len(sources)) * widths

    def by_grid(targets, sources):
        number = jnp.argmax(extent <= limits)
        step = jnp.maximum(
            extent / jnp.asarray(widths)[number], jnp.finfo(extent.dtype).tiny ** 0.25
        )
        farthest = 2 * extent**2
        *near, (weights, slopes) = _nodes((targets - low) / step)
        *spread, (charges, _) = _nodes((sources - low) / step)
        charges = charges[:, 0, :, None] * charges[:, 1, None, :]
        potentials = jax.lax.switch(
            number,
            [functools.partial(_convolved, size, w, excess) for size in SIZES],
            *(charges, spread, near, step, farthest),
        )

        def interpolated(down, across):
            return jnp.einsum("mij,mi,mj->m", potentials, down[:, 0], across[:, 1])

        slope = interpolated(slopes, weights), interpolated(weights, slopes)
        left_out = jnp.where(number == 0, w(farthest) * len(sources), 0)
        return left_out + interpolated(weights, weights), jnp.stack(slope, axis=-1) / step

    return jax.lax.cond(extent <= limits[-1], by_grid, sums, targets, sources)


def _step(num_sources):
    """The largest step, in units of the kernel's width.

    On a grid a point pulls itself a little. Among few points this counts more, as a share of the
    forces: with these steps it is below a thousandth.
    """
    return min(max(0.2 * (num_sources / 1000) ** 0.1, 0.2), 0.3)


def _convolved(size, w, excess, charges, spread, near, step, farthest):
    """The potentials of the nodes near the targets, by a grid of that many nodes along a side."""
    # Of the periodic grid one quarter is the map: no point meets another from the other side.
    shape = 2 * size, 2 * size
    nodes = np.arange(2 * size, dtype=step.dtype)
    lag = (step * np.minimum(nodes, 2 * size - nodes)) ** 2
    squared = lag[:, None] + lag[None]
    kernel = excess(squared) - excess(farthest) if size == SIZES[0] else w(squared)
    response = jnp.fft.rfft2(kernel)
    restoring = jnp.asarray(1 / _smoothing(size), response.dtype)
    response *= restoring[:, None] * restoring[None, : size + 1]
    grid = jnp.zeros(shape, charges.dtype).at[*spread].add(charges)
    return jnp.fft.irfft2(jnp.fft.rfft2(grid) * response, s=shape)[*near]


def _nodes(places):
    """Rows and columns of the nodes near each place, (M, order, 1 or order); splines there."""
    first = jnp.floor(places)
    splines = _splines(places - first)
    nearest = np.arange(_ORDER, dtype=np.int32)[None, None, ::-1]
    near = first.astype(jnp.int32)[:, :, None] + nearest
    return near[:, 0, :, None], near[:, 1, None, :], splines


def _splines(t):
    """B-splines, and their slopes, at t + 0, 1, … of their support, t in [0, 1): (..., order)."""
    zero = jnp.zeros_like(t)
    values, slopes = [zero + 1], [zero]
    for order in range(2, _ORDER + 1):
        pairs = list(itertools.pairwise([zero, *values, zero]))
        slopes = [last - first for first, last in pairs]
        values = [
            ((t + i) * last + (order - i - t) * first) / (order - 1)
            for i, (first, last) in enumerate(pairs)
        ]
    return jnp.stack(values, axis=-1), jnp.stack(slopes, axis=-1)


def _smoothing(size):
    """What spreading and interpolating multiply each frequency by, along a side."""
    with jax.ensure_compile_time_eval():
        values, _ = _splines(jnp.zeros(()))
    return np.abs(np.fft.fft(np.asarray(values, np.float64), 2 * size)) ** 2
