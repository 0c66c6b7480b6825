"""Patches of photographs that packages ship, and their whitening: real-valued data, no network.

Grey levels are the luma that the files code, near the square root of light: the logarithm of light,
usual for calibrated photographs, would blow up the steps of the bytes in the shadows. Uniform noise
of one step turns bytes into real numbers, so that a density has a finite likelihood (Theis, van den
Oord, Bethge, "A note on the evaluation of generative models", 2016, section 3.1).

Training, validation and test patches come from regions of each photograph that share no pixel. The
mean of each patch is subtracted: what is left has D − 1 directions, and `fit_whitening` keeps those
in which it varies, so that every model of whitened patches is a density in the same space.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from dbn_jax import numerics, precision, pytrees
from dbn_jax.data import embedded
from dbn_jax.typing import Array, Float, Num, Real, UInt8

# The package that ships it, as pip calls it, and the file. Left out: pictures with large areas of
# pure black or white, and pictures through microscopes and telescopes.
PHOTOGRAPHS = {
    "china": ("scikit-learn", "sklearn/datasets/images/china.jpg"),
    "flower": ("scikit-learn", "sklearn/datasets/images/flower.jpg"),
    "brick": ("scikit-image", "skimage/data/brick.png"),
    "camera": ("scikit-image", "skimage/data/camera.png"),
    "chelsea": ("scikit-image", "skimage/data/chelsea.png"),
    "coffee": ("scikit-image", "skimage/data/coffee.png"),
    "grass": ("scikit-image", "skimage/data/grass.png"),
    "gravel": ("scikit-image", "skimage/data/gravel.png"),
    "motorcycle": ("scikit-image", "skimage/data/motorcycle_left.png"),
    "rocket": ("scikit-image", "skimage/data/rocket.jpg"),
}
# Shares of the columns of each photograph, from the left.
_REGIONS = {"train": (0.0, 0.7), "validation": (0.7, 0.8), "test": (0.8, 1.0)}


@dataclasses.dataclass(frozen=True, eq=False)
class Patches:
    """Patches without their means, (N, size²), in steps of the bytes and in random order."""

    train: Float[np.ndarray, "examples D"]
    validation: Float[np.ndarray, "validation_examples D"]
    test: Float[np.ndarray, "test_examples D"]
    size: int

    @property
    def image_shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.size, self.size


def photograph(name: str) -> UInt8[np.ndarray, "rows columns"]:
    """Reads one of `PHOTOGRAPHS` as grey levels."""
    if name not in PHOTOGRAPHS:
        raise ValueError(f"photograph {name!r} is none of {', '.join(PHOTOGRAPHS)}")
    path = embedded.shipped(f"the photograph {name}", *PHOTOGRAPHS[name])
    import PIL.Image

    try:
        with PIL.Image.open(path) as picture:
            return np.asarray(picture.convert("L"))
    except (OSError, SyntaxError) as error:  # what Pillow raises of files that are cut
        raise embedded.damaged(path, PHOTOGRAPHS[name][0], error) from error


def load(
    *,
    size: int = 12,
    shrink: int = 2,
    min_contrast: Real = 4.0,
    num_train: int = 100_000,
    num_validation: int = 10_000,
    num_test: int = 10_000,
    seed: int = 0,
) -> Patches:
    """Cuts patches at random places of the photographs, as many of each as it has places for.

    Args:
      size: rows and columns of a patch, at least 2.
      shrink: a pixel is the mean of so many rows and columns of the photograph. 2 removes most of
        the camera's noise, of its interpolation of colours, and of JPEG's errors.
      min_contrast: patches whose grey levels have a smaller standard deviation (steps of the
        bytes, before the uniform noise) are left out of all parts. Sky and blurred background
        show little but noise and compression, and would decide any density; 0 keeps them.
      seed: of places and noise.
    """
    counts = {"train": num_train, "validation": num_validation, "test": num_test}
    _check_at_least(2, size=size)
    _check_at_least(1, shrink=shrink, **{f"num_{part}": count for part, count in counts.items()})
    _check_at_least(0, min_contrast=min_contrast)
    pictures = {name: _shrunk(photograph(name), shrink) for name in PHOTOGRAPHS}
    parts = {
        # RandomState's streams are frozen, so the same seed gives the same patches under any numpy.
        part: _cut(pictures, part, count, size, min_contrast, np.random.RandomState([seed, index]))
        for index, (part, count) in enumerate(counts.items())
    }
    return Patches(**parts, size=size)


def _check_at_least(least, **numbers):
    for name, value in numbers.items():
        if not value >= least:
            raise ValueError(f"{name} is {value}; it must be at least {least}")


def _shrunk(picture, shrink):
    rows, columns = (length // shrink for length in picture.shape)
    blocks = picture[: rows * shrink, : columns * shrink].reshape(rows, shrink, columns, shrink)
    return blocks.mean(axis=(1, 3))


def _cut(pictures, part, count, size, min_contrast, random):
    """(count, size²) patches of one part of all photographs, without means."""
    windows = [_windows(name, picture, part, size) for name, picture in pictures.items()]
    places = np.concatenate([_places(i, w, min_contrast) for i, w in enumerate(windows)])
    if count > len(places):
        raise ValueError(
            f"num_{part} is {count}, but the photographs have {len(places)} places for {part} "
            f"patches of size {size} and a contrast of at least {min_contrast}: ask for fewer"
        )
    chosen = places[random.choice(len(places), count, replace=False)]
    patches = np.stack([windows[index][row, column] for index, row, column in chosen])
    patches = patches.reshape(count, -1) + random.random_sample((count, size**2))
    return (patches - patches.mean(axis=1, keepdims=True)).astype(np.float32)


def _windows(name, picture, part, size):
    """(rows, columns, size, size): all patches of one part of a photograph, by their places."""
    first, last = (round(share * picture.shape[1]) for share in _REGIONS[part])
    region = picture[:, first:last]
    if size > min(region.shape):
        raise ValueError(
            f"size is {size}, but the {part} region of the photograph {name} has "
            f"{region.shape[0]}×{region.shape[1]} pixels: choose smaller patches, or shrink the "
            "photographs less"
        )
    return np.lib.stride_tricks.sliding_window_view(region, (size, size))


def _places(index, window, min_contrast):
    """(places, 3): number of the photograph, row and column of each patch of enough contrast."""
    mean = window.mean(axis=(2, 3))
    variance = (window**2).mean(axis=(2, 3)) - mean**2
    rows, columns = np.nonzero(variance >= min_contrast**2)
    return np.stack([np.full_like(rows, index), rows, columns], axis=1)


@pytrees.dataclass
class Whitening:
    """A linear map to K coordinates of zero mean, unit variance and no correlation.

    Principal components, largest variance first, over their standard deviations, the scales. Turned
    back into the space of pixels by the components alone, whitened patches are ZCA's: the same
    numbers in another orthonormal basis.
    """

    mean: Float[Array, " D"]
    components: Float[Array, "K D"]
    scales: Float[Array, " K"]

    @precision.full
    def whiten(self, x: Num[Array, "*batch D"]) -> Float[Array, "*batch K"]:
        """Centres and whitens patches."""
        z = (x - numerics.per_unit(self.mean, x)) @ self.components.T
        return z / numerics.per_unit(self.scales, z)

    @precision.full
    def unwhiten(self, z: Float[Array, "*batch K"]) -> Float[Array, "*batch D"]:
        """Turns back into patches without their means, as far as the K directions tell."""
        x = (z * numerics.per_unit(self.scales, z)) @ self.components
        return x + numerics.per_unit(self.mean, x)

    @precision.full
    def zca(self, z: Float[Array, "*batch K"]) -> Float[Array, "*batch D"]:
        """Turns into pixels of ZCA-whitened patches."""
        return z @ self.components


def fit_whitening(x: Num[np.ndarray, "examples D"], num_components: int | None = None) -> Whitening:
    """Fits the whitening to training patches without their means, in double precision.

    It keeps K = num_components directions; None keeps all but the null one of the means, D − 1.
    """
    num_pixels = x.shape[1]
    kept = num_pixels - 1 if num_components is None else num_components
    if not 1 <= kept < num_pixels:
        raise ValueError(
            f"num_components is {kept}; patches of {num_pixels} pixels without their means vary in "
            f"1 to {num_pixels - 1} directions"
        )
    x = x.astype(np.float64)
    mean = x.mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov(x, rowvar=False, bias=True))
    variances, directions = variances[::-1][:kept], directions[:, ::-1][:, :kept]
    # Of the covariance's accuracy in the single precision of the patches.
    if not variances[-1] > 1e-6 * variances[0]:
        raise ValueError(
            f"{len(x)} patches vary in fewer than {kept} directions: their variances fall from "
            f"{variances[0]:.3g} to {variances[-1]:.3g}; give more patches, or fewer num_components"
        )
    arrays = mean, directions.T, np.sqrt(variances)
    return Whitening(*(jnp.asarray(a, jnp.float32) for a in arrays))
