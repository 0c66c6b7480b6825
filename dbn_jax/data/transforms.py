"""Operations on arrays of images: shrinking, and the ways from grey levels to binary pixels."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import scipy.fft

from dbn_jax import random
from dbn_jax.typing import AnyArray, Array, Float, Key, Num, UInt8

BINARISATIONS = ("none", "stochastic", "fixed", "threshold")


@dataclasses.dataclass(frozen=True)
class Transform:
    """Pure function (key, batch as stored) -> float32 batch, to be used inside a compiled step.

    `data.binarise` describes the modes; the scale is the value of full intensity. Equal settings
    compare and hash equal, so that as a static argument it compiles once.
    """

    mode: str = "none"
    scale: float = 255.0

    def __post_init__(self):
        if self.mode not in ("none", "stochastic", "threshold"):
            raise ValueError(
                f"the mode {self.mode!r} of a transform is not one of none, stochastic, threshold; "
                "'fixed' changes the data set: call dbn_jax.data.binarise(dataset, 'fixed')"
            )
        if not self.scale > 0:
            raise ValueError(f"scale={self.scale}, but the value of full intensity is positive")

    def __call__(
        self, key: Key[Array, ""] | None, batch: Num[AnyArray, "*batch pixels"]
    ) -> Float[Array, "*batch pixels"]:
        """Transforms a batch; only the mode "stochastic" uses the key."""
        if jnp.issubdtype(batch.dtype, jnp.floating) and self.scale != 1:
            raise TypeError(
                f"the images are {batch.dtype} numbers, grey levels in [0, 1], but scale="
                f"{self.scale:g}: make the transform with scale=1.0"
            )
        grey = batch.astype(jnp.float32) / jnp.float32(self.scale)
        if self.mode == "stochastic":
            if key is None:
                raise ValueError("stochastic binarisation needs a key, and got None")
            return random.bernoulli(key, grey)
        if self.mode == "threshold":
            return (grey > 0.5).astype(jnp.float32)
        return grey


def sample_once(
    images: Num[np.ndarray, "examples pixels"], *, scale: float, seed: int | tuple[int, ...]
) -> UInt8[np.ndarray, "examples pixels"]:
    """Draws each pixel on the host, 1 with probability images / scale; alike on every machine."""
    random = np.random.RandomState(seed)  # its streams are frozen, unlike those of default_rng
    result = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), 4096):  # keeps the float64 draws small
        rows = images[start : start + 4096]
        result[start : start + 4096] = random.random_sample(rows.shape) < rows / scale
    return result


def shrink(
    images: Num[np.ndarray, "examples ..."], size: int | tuple[int, int], scale: float = 255.0
) -> UInt8[np.ndarray, "..."]:
    """Downscales images of full intensity `scale` by averaging over areas, to the nearest byte.

    Each new pixel is the mean of the area that it covers, old pixels counting by the share of them
    that lies inside, so that 28 → 16 neither drops nor repeats a pixel. The last axis may be that
    of the channels. The size is one number for rows and columns, or both.
    """
    rows, columns = images.shape[1:3]
    new = (size, size) if isinstance(size, int) else size
    if not (1 <= new[0] <= rows and 1 <= new[1] <= columns):
        most = min(rows, columns) if isinstance(size, int) else f"{rows},{columns}"
        raise ValueError(
            f"image_size={size if isinstance(size, int) else ','.join(map(str, new))}, but the "
            f"images have {rows}×{columns} pixels and are only shrunk: choose from 1 to {most}"
        )
    # Whole-number weights make the sums exact, and so the bytes the same on every machine.
    down, across = _overlaps(rows, new[0]), _overlaps(columns, new[1])
    result = np.empty((len(images), *new, *images.shape[3:]), np.uint8)
    for start in range(0, len(images), 1024):  # keeps the float64 copies small
        block = images[start : start + 1024].astype(np.float64)
        sums = np.einsum("ri,nij...,cj->nrc...", down, block, across, optimize=True)
        result[start : start + 1024] = np.rint(sums * (255 / scale) / (rows * columns))
    return result


def whiten_waves(
    images: Num[np.ndarray, "examples rows columns ..."], cutoff: float = 0.4
) -> Float[np.ndarray, "examples rows columns ..."]:
    """Makes waves of all frequencies equally strong in natural images, but for the finest ones.

    Amplitudes of natural images fall as 1/f with the frequency f, in cycles per pixel; they are
    multiplied by f·exp(−(f/cutoff)⁴), which ends before the noise of single pixels. Images go on
    beyond their borders as in a mirror: the waves are those of the cosine transform. Each image
    loses its mean. The last axis may be that of the channels, which are whitened each by itself.

    Reference: Olshausen, Field, "Sparse coding with an overcomplete basis set: a strategy employed
    by V1?" (1997), section 5.1, whose cutoff is 200 cycles in 512 pixels.
    """
    rows, columns = images.shape[1:3]
    halves = np.arange(rows)[:, None] / (2 * rows), np.arange(columns)[None] / (2 * columns)
    f = np.hypot(*halves)
    gain = f * np.exp(-((f / cutoff) ** 4))
    gain = gain.reshape(rows, columns, *(1 for _ in images.shape[3:]))
    waves = scipy.fft.dctn(images.astype(np.float64), axes=(1, 2), norm="ortho")
    return np.asarray(scipy.fft.idctn(gain * waves, axes=(1, 2), norm="ortho"))


def _overlaps(old: int, new: int) -> Float[np.ndarray, "new old"]:
    """Overlaps of new pixels with old ones, in a unit that makes the image old × new units long."""
    i, j = np.arange(new)[:, None], np.arange(old)[None, :]
    overlap = np.minimum((i + 1) * old, (j + 1) * new) - np.maximum(i * old, j * new)
    return np.maximum(overlap, 0).astype(np.float64)
