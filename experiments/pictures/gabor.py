"""Fits Gabor functions to images, to tell whether these are localised, oriented and band-pass.

With (u, w) the offsets from a centre (x, y), turned by θ, a Gabor function is a wave along u under
a Gaussian window,

    g = exp(−u²/2α² − w²/2β²) · cos(2πf·u + φ).

Only the shape of an image matters, so a fit is judged by the correlation of the pixels. Given
window, orientation and frequency, the best amplitude, phase and constant follow from a linear
regression on the window times cosine and sine. `fit` searches the six other numbers: on a grid that
covers them, and from its best points by gradient ascent of the correlation.

A high correlation alone does not make an image a wave: a blob, and a single pixel, are close to
Gabor functions of less than a cycle. `orientation_selectivity` tells them apart.

References: Daugman, "Uncertainty relation for resolution in space, spatial frequency, and
orientation optimized by two-dimensional visual cortical filters" (1985); Jones and Palmer, "An
evaluation of the two-dimensional Gabor filter model of simple receptive fields in cat striate
cortex" (1987).
"""

import functools
import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dbn_jax.compilation import jit
from dbn_jax.typing import Array, Float

_MIN_WIDTH = 0.6  # of the window, pixels
# Cycles within two standard deviations of the window, 2fα: with fewer, its width and the frequency
# have the same effect.
_MIN_CYCLES = 0.3
_PADDING = 4  # times finer frequencies than those of the image's size
_NUM_STARTS = 8
_NUM_STEPS = 300
_RATE = 0.05
# A feature counts as a Gabor function above this correlation, and as oriented if the wave at right
# angles has less than half of its amplitude.
_FITS = 0.8
_ORIENTED = 0.5


class Fit(NamedTuple):
    """The Gabor functions that fit images best.

    Attributes:
      image: (..., size, size), with the best amplitude and constant.
      correlation: (...) with the image, over the pixels, between 0 and 1.
      centre: (..., 2) row and column, pixels.
      orientation: (...) of the wave: its angle to the rows, radians in [0, π).
      frequency: (...) cycles per pixel, at most 1/2.
      widths: (..., 2) α along the wave and β across it, pixels.
    """

    image: Array
    correlation: Array
    centre: Array
    orientation: Array
    frequency: Array
    widths: Array


def fit(images: Float[Array, "*batch size size"]) -> Fit:
    """Fits a Gabor function to each image, of at least 4 pixels a side.

    The centre lies within the image; the frequency is at most half a cycle per pixel; the window is
    between 0.6 pixels and the size of the image wide, and holds at least a third of a cycle. A flat
    image has correlation 0.
    """
    size = images.shape[-1]
    if size < 4:
        raise ValueError(f"images of {size}×{size} pixels; a Gabor function needs at least 4×4")
    if not bool(jnp.isfinite(images).all()):
        raise ValueError("the images hold NaN or infinity")
    flat = images.reshape(-1, size * size)
    flat = flat - jnp.broadcast_to(jnp.mean(flat, axis=-1, keepdims=True), flat.shape)
    parts = _fit(flat, jnp.asarray(_grid(size), flat.dtype), size)
    return Fit(*(part.reshape(*images.shape[:-2], *part.shape[1:]) for part in parts))


def describe(images: Float[Array, "features size size"]) -> tuple[Fit, dict[str, float], str]:
    """The fits, the results for a summary and the words that tell how many features fit.

    The results: `gabor_share`, the share of features whose correlation with a Gabor function is
    above 0.8; `oriented_gabor_share`, that of features which are oriented as well
    (`orientation_selectivity` above 1/2); `gabor_correlation`, the median; and for features above
    0.8 the medians `gabor_frequency` (cycles per pixel), `gabor_width` and `gabor_length` (pixels;
    α and β).
    """
    fits = fit(images)
    correlation = np.asarray(fits.correlation)
    good = correlation > _FITS
    oriented = good & (np.asarray(orientation_selectivity(images)) > _ORIENTED)
    results = {
        "gabor_share": float(good.mean()),
        "oriented_gabor_share": float(oriented.mean()),
        "gabor_correlation": float(np.median(correlation)),
    }
    if good.any():
        widths = np.asarray(fits.widths)[good]
        results |= {
            "gabor_frequency": float(np.median(np.asarray(fits.frequency)[good])),
            "gabor_width": float(np.median(widths[:, 0])),
            "gabor_length": float(np.median(widths[:, 1])),
        }
    words = (
        f"{good.mean():.0%} of all {len(good)} correlate by over {_FITS} with a Gabor function, "
        f"and {oriented.mean():.0%} are oriented as well"
    )
    return fits, results, words


@jit
def orientation_selectivity(images: Float[Array, "*batch size size"]) -> Float[Array, "*batch"]:
    """1 − (amplitude at right angles / amplitude) of the wave of largest amplitude in each image.

    Amplitudes are those of the Fourier transform of the image less its median; the wave at right
    angles has the same frequency. The value is close to 1 for a grating. It is 0 for everything
    that a quarter turn leaves unchanged, wherever it stands in the image: round blobs, single
    pixels, crosses, rings. It is also 0 for everything of one sign, whose largest amplitude is that
    of frequency 0. A flat image, which has no wave, gets 1.

    The median is the level around a localised feature, unless the feature fills more than half of
    the image. Subtracting the mean instead would leave a square, whose amplitudes add to those of
    the feature or cancel them, depending on its place.
    """
    size = _PADDING * images.shape[-1]
    around = jnp.median(images, axis=(-2, -1), keepdims=True)
    spectrum = jnp.abs(jnp.fft.fft2(images - jnp.broadcast_to(around, images.shape), (size, size)))
    # The entry at row k and column l, a quarter turn on: row l, column −k.
    turned = jnp.swapaxes(jnp.roll(spectrum[..., ::-1, :], 1, axis=-2), -2, -1)
    flat, turned = (x.reshape(*images.shape[:-2], -1) for x in (spectrum, turned))
    peak = jnp.argmax(flat, axis=-1)[..., None]
    largest, across = (jnp.take_along_axis(x, peak, axis=-1)[..., 0] for x in (flat, turned))
    return 1 - across / jnp.where(largest > 0, largest, 1)


@functools.partial(jax.jit, static_argnames="size")
def _fit(flat, grid, size):
    bases = jax.lax.map(lambda free: _basis(free, size), grid, batch_size=256)

    def one(image):
        starts = jax.lax.top_k(jnp.sum((bases @ image) ** 2, axis=-1), _NUM_STARTS)[1]
        ascended, explained = jax.vmap(lambda start: _ascend(start, image, size))(grid[starts])
        best = jnp.argmax(explained)
        free = ascended[best]
        basis = _basis(free, size)
        norm = jnp.sum(image**2)
        correlation = jnp.sqrt(explained[best] / jnp.where(norm > 0, norm, 1))
        centre, angle, frequency, widths = _meaning(free, size)
        return (
            ((basis @ image) @ basis).reshape(size, size),
            jnp.minimum(correlation, 1),
            centre,
            angle % math.pi,
            frequency,
            widths,
        )

    return jax.lax.map(one, flat)


def _ascend(start, image, size):
    """Free numbers that explain more of an image's sum of squares, and how much they do."""
    optimizer = optax.adam(_RATE)
    scale = jnp.sum(image**2) + jnp.finfo(image.dtype).tiny

    def loss(free):
        return -jnp.sum((_basis(free, size) @ image) ** 2) / scale

    def step(carry, _):
        free, state, best, lowest = carry
        value, gradient = jax.value_and_grad(loss)(free)
        best = jnp.where(value < lowest, free, best)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(free, updates), state, best, jnp.minimum(value, lowest)), None

    carry = start, optimizer.init(start), start, jnp.zeros((), image.dtype)
    (_, _, best, lowest), _ = jax.lax.scan(step, carry, length=_NUM_STEPS)
    return best, -lowest * scale


def _basis(free, size):
    """(2, size²): orthonormal, without mean, spanning the Gabor functions of all phases."""
    centre, angle, frequency, widths = _meaning(free, size)
    row, column = jnp.mgrid[:size, :size].reshape(2, -1).astype(free.dtype) - centre[:, None]
    along = jnp.cos(angle) * column + jnp.sin(angle) * row
    across = jnp.cos(angle) * row - jnp.sin(angle) * column
    window = jnp.exp(-0.5 * ((along / widths[0]) ** 2 + (across / widths[1]) ** 2))
    wave = 2 * math.pi * frequency * along
    even, odd = window * jnp.cos(wave), window * jnp.sin(wave)
    even = _unit(even - jnp.mean(even))
    odd = odd - jnp.mean(odd)
    return jnp.stack([even, _unit(odd - even * jnp.sum(even * odd))])


def _unit(x):
    # Far outside the image, and at a phase that no pixel sees, there is nothing left.
    return x / jnp.sqrt(jnp.sum(x**2) + 1e-6)


def _meaning(free, size):
    """Centre (2,), angle, frequency and widths (2,) of six unbounded numbers."""
    share = jax.nn.sigmoid(free)
    widths = _MIN_WIDTH * (size / _MIN_WIDTH) ** share[4:]
    low = _MIN_CYCLES / (2 * widths[0])
    return (size - 1) * share[:2], free[2], low + (0.5 - low) * share[3], widths


def _grid(size):
    """(points, 6) free numbers that cover what a Gabor function can look like."""

    def logit(share):
        return math.log(share / (1 - share))

    def width(pixels):
        return logit(math.log(pixels / _MIN_WIDTH) / math.log(size / _MIN_WIDTH))

    count = max(3, math.ceil(size / 2))
    centres = [logit((i + 0.5) / count) for i in range(count)]
    angles = [math.pi * i / 8 for i in range(8)]
    widths = [width(0.9), width(1.6), width(2.8)]
    frequencies = [logit(share) for share in (0.1, 0.4, 0.75)]
    points = itertools.product(centres, centres, angles, frequencies, widths, widths)
    return np.array(list(points))
