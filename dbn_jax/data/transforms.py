"""Operations on arrays of images: shrinking, and the ways from grey levels to binary pixels."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from dbn_jax import random
from dbn_jax.typing import Array, Float, Key, Num, UInt8

BINARISATIONS = ("none", "stochastic", "fixed", "threshold")


@dataclasses.dataclass(frozen=True)
class Transform:
    """Pure function from stored images to a model's input; see `transform`.

    Equal settings compare and hash equal, so that as a static argument it compiles once.
    """

    mode: str
    scale: float

    def __call__(
        self, key: Key[Array, ""] | None, batch: Num[Array, "*batch pixels"]
    ) -> Float[Array, "*batch pixels"]:
        """Transforms a batch.

        Args:
          key: consumed by the mode "stochastic"; the others take None as well.
          batch: images as stored, bytes or floats.

        Returns:
          float32 of the same shape.
        """
        grey = batch.astype(jnp.float32) / jnp.float32(self.scale)
        if self.mode == "stochastic":
            if key is None:
                raise ValueError("stochastic binarisation needs a key, and got None")
            return random.bernoulli(key, grey)
        if self.mode == "threshold":
            return (grey > 0.5).astype(jnp.float32)
        return grey


def transform(mode: str = "none", *, scale: float = 255.0) -> Transform:
    """Returns the function (key, batch) -> float32 batch, to be used inside a compiled step.

    Args:
      mode: "none" divides by the scale, "stochastic" also draws each pixel with its grey level as
        probability, "threshold" turns grey levels above one half into 1 and the others into 0.
      scale: the value of full intensity in the batch.

    Returns:
      A `Transform`.

    Raises:
      ValueError: if the mode is not one of the three, or the scale not positive. "fixed" is not:
        it draws once, so it changes the data set (`dbn_jax.data.binarise`) and not the batch.
    """
    if mode == "fixed":
        raise ValueError(
            "binarisation 'fixed' draws the images once and cannot be done batch by batch: call "
            "dbn_jax.data.binarise(dataset, 'fixed', seed=…), which returns the binary data set"
        )
    if mode not in BINARISATIONS:
        raise ValueError(f"binarisation {mode!r} is not one of {', '.join(BINARISATIONS)}")
    if not scale > 0:
        raise ValueError(f"scale={scale}, but the value of full intensity is positive")
    return Transform(mode, float(scale))


def sample_once(
    images: Num[np.ndarray, "examples pixels"], *, scale: float, seed: int | tuple[int, ...]
) -> UInt8[np.ndarray, "examples pixels"]:
    """Draws each pixel on the host, with its grey level as probability of a 1.

    Args:
      images: between 0 and scale.
      scale: the value of full intensity.
      seed: the same seed gives the same pixels on every machine.

    Returns:
      bytes 0 and 1.
    """
    random = np.random.RandomState(seed)  # its streams are frozen, unlike those of default_rng
    result = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), 4096):  # keeps the float64 draws small
        rows = images[start : start + 4096]
        result[start : start + 4096] = random.random_sample(rows.shape) < rows / scale
    return result


def shrink(images: UInt8[np.ndarray, "examples ..."], size: int) -> UInt8[np.ndarray, "..."]:
    """Downscales images by averaging over areas, to the nearest byte.

    Each new pixel is the mean of the area that it covers, old pixels counting by the share of them
    that lies inside, so that 28 → 16 neither drops nor repeats a pixel.

    Args:
      images: bytes (examples, rows, columns[, channels]).
      size: rows and columns of the result.

    Returns:
      bytes (examples, size, size[, channels]).

    Raises:
      ValueError: if size is not positive or exceeds the rows or columns.
    """
    rows, columns = images.shape[1:3]
    if not 1 <= size <= min(rows, columns):
        raise ValueError(
            f"image_size={size}, but the images have {rows}×{columns} pixels: choose from 1 to "
            f"{min(rows, columns)} (images are only shrunk, never enlarged)"
        )
    # Whole-number weights make the sums exact, and so the bytes the same on every machine.
    down, across = _overlaps(rows, size), _overlaps(columns, size)
    result = np.empty((len(images), size, size, *images.shape[3:]), np.uint8)
    for start in range(0, len(images), 1024):  # keeps the float64 copies small
        sums = images[start : start + 1024].astype(np.float64)
        for weights in (
            down,
            across,
        ):  # the axis summed over is always the second, the new one last
            sums = np.tensordot(sums, weights, axes=(1, 1))
        means = np.moveaxis(sums, (-2, -1), (1, 2)) / (rows * columns)
        result[start : start + 1024] = np.rint(means)
    return result


def _overlaps(old: int, new: int) -> Float[np.ndarray, "new old"]:
    """Overlaps of new pixels with old ones, in a unit that makes the image old × new units long."""
    i, j = np.arange(new)[:, None], np.arange(old)[None, :]
    overlap = np.minimum((i + 1) * old, (j + 1) * new) - np.maximum(i * old, j * new)
    return np.maximum(overlap, 0).astype(np.float64)
