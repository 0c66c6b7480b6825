"""Pictures and animations as files that appear whole or not at all; missing folders are made."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import IO

import numpy as np
import PIL.Image
import PIL.ImageOps
from matplotlib.figure import Figure

from dbn_jax import files
from dbn_jax.figures.pages import DEVICE_PIXELS, png, raster
from dbn_jax.typing import Real


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Writes a figure as PNG, to a path that ends in .png."""
    with _replacing(path, ".png") as file:
        file.write(png(figure, DEVICE_PIXELS))


def animate(
    frames: Iterable[Figure | np.ndarray],
    path: str | os.PathLike,
    *,
    frames_per_second: Real = 8.0,
) -> None:
    """Writes frames as a lossless WebP that loops for ever; the last stays a second longer.

    Browsers, notebooks and READMEs show it. Equal frames in succession are stored once, with the
    sum of their times.

    Args:
      frames: figures, or uint8 arrays (rows, columns[, 3]); figures are drawn at one device pixel
        for each pixel of the page, and smaller frames get white paper at the right and below.
      frames_per_second: at most 50: frames that are shorter, browsers may show for longer.
    """
    if not 0.001 <= frames_per_second <= 50:
        raise ValueError(f"frames_per_second={frames_per_second}: choose from 0.001 to 50")
    first, *others = _drawn(frames)
    durations = [round(1000 / frames_per_second)] * (1 + len(others))
    durations[-1] += 1000
    with _replacing(path, ".webp") as file:
        first.save(
            file,
            format="WEBP",
            save_all=True,
            append_images=others,
            duration=durations,
            loop=0,
            lossless=True,
            method=4,  # Pillow's default, 0, makes files five times as large
            minimize_size=True,
        )


@contextlib.contextmanager
def _replacing(path: str | os.PathLike, ending: str) -> Iterator[IO[bytes]]:
    """`files.replacing` for a path with the ending."""
    path = files.path(path)
    if path.suffix.lower() != ending:
        raise ValueError(f"{path}: this writes {ending} files: name it {path.stem}{ending}")
    with files.replacing(path) as file:
        yield file


def _drawn(frames: Iterable[Figure | np.ndarray]) -> list[PIL.Image.Image]:
    """The frames as images of one size."""
    images = [_frame(frame) for frame in frames]
    if not images:
        raise ValueError("no frames: an animation needs at least one")
    width, height = map(max, zip(*(image.size for image in images), strict=True))
    borders = [(0, 0, width - image.width, height - image.height) for image in images]
    return [PIL.ImageOps.expand(*pair, "white") for pair in zip(images, borders, strict=True)]


def _frame(frame: Figure | np.ndarray) -> PIL.Image.Image:
    if isinstance(frame, Figure):
        return PIL.Image.fromarray(raster(frame))
    if frame.dtype != np.uint8 or frame.ndim not in (2, 3) or frame.shape[2:] not in ((), (3,)):
        raise ValueError(
            f"a frame of type {frame.dtype} and shape {frame.shape}: expected a figure or uint8 "
            "(rows, columns) or (rows, columns, 3)"
        )
    return PIL.Image.fromarray(frame).convert("RGB")
