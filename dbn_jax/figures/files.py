"""Pictures and animations as files that appear whole or not at all."""

import contextlib
import io
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from numbers import Real
from pathlib import Path
from typing import IO

import numpy as np
import PIL.Image
from matplotlib.figure import Figure

from dbn_jax.figures.pages import DEVICE_PIXELS, png


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Writes a figure as PNG: the whole file appears at once, or the old one stays.

    Args:
      figure: what to draw.
      path: ends in .png; missing folders are made.

    Raises:
      ValueError: for another ending.
    """
    with _replacing(path, ".png") as file:
        file.write(png(figure, DEVICE_PIXELS))


def animate(
    frames: Iterable[Figure | np.ndarray],
    path: str | os.PathLike,
    *,
    frames_per_second: Real = 8.0,
    pause: Real = 1.0,
    num_colours: int = 64,
) -> None:
    """Writes frames as a GIF that loops for ever.

    All frames share one palette, so that colours do not flicker. Equal frames in succession are
    stored once, with the sum of their times.

    Args:
      frames: figures, or uint8 arrays (rows, columns[, 3]); figures are drawn at one device pixel
        for each pixel of the page, and smaller frames get white paper at the right and below.
      path: ends in .gif; missing folders are made.
      frames_per_second: at most 50; GIF counts hundredths of a second, so that the rate is rounded.
      pause: seconds for which the last frame stays longer.
      num_colours: 2 to 256; fewer make a smaller file.

    Raises:
      ValueError: for no frame, an array of another type or shape, a rate, a pause or a number of
        colours out of range, and a path with another ending.
    """
    if not 0 < frames_per_second <= 50:
        raise ValueError(f"frames_per_second={frames_per_second}: must be above 0, at most 50")
    if not 0 <= pause < 600:
        raise ValueError(f"pause={pause}: must be 0 to 600 seconds")
    if not 2 <= num_colours <= 256:
        raise ValueError(f"num_colours={num_colours}: GIF has 2 to 256")
    images = [_frame(frame) for frame in frames]
    if not images:
        raise ValueError("no frames: an animation needs at least one")
    width, height = map(max, zip(*(image.size for image in images), strict=True))
    images = [_padded(image, width, height) for image in images]
    palette = _common_palette(images, num_colours)
    indexed = [_indexed(image, palette) for image in images]
    durations = [10 * round(100 / frames_per_second)] * len(indexed)
    durations[-1] += 10 * round(100 * pause)
    with _replacing(path, ".gif") as file:
        indexed[0].save(
            file,
            format="GIF",
            save_all=True,
            append_images=indexed[1:],
            duration=durations,
            loop=0,
            optimize=False,  # it would give every frame a palette of its own
        )


@contextlib.contextmanager
def _replacing(path: str | os.PathLike, ending: str) -> Iterator[IO[bytes]]:
    """Opens a file beside `path` that takes its place if the block ends well, else goes."""
    path = Path(path)
    if path.suffix.lower() != ending:
        raise ValueError(f"{path}: this writes {ending} files: name it {path.stem}{ending}")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            yield file
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _frame(frame: Figure | np.ndarray) -> PIL.Image.Image:
    if isinstance(frame, Figure):
        return PIL.Image.open(io.BytesIO(png(frame, 1))).convert("RGB")
    if frame.dtype != np.uint8 or frame.ndim not in (2, 3) or frame.shape[2:] not in ((), (3,)):
        raise ValueError(
            f"a frame of type {frame.dtype} and shape {frame.shape}: expected a figure or uint8 "
            "(rows, columns) or (rows, columns, 3)"
        )
    return PIL.Image.fromarray(frame).convert("RGB")


def _padded(image: PIL.Image.Image, width: int, height: int) -> PIL.Image.Image:
    page = PIL.Image.new("RGB", (width, height), "white")
    page.paste(image)
    return page


def _common_palette(images: Sequence[PIL.Image.Image], num_colours: int) -> np.ndarray:
    """Returns the palette for all, (colours, 3): their own colours if few enough, else medians."""
    some = images[:: math.ceil(len(images) / 32)]
    width, height = some[0].size
    strip = PIL.Image.new("RGB", (width, height * len(some)))
    for index, image in enumerate(some):
        strip.paste(image, (0, index * height))
    found = strip.getcolors(num_colours)
    if found is not None:
        return np.array([colour for _, colour in found], np.uint8)
    ends = np.array([[0, 0, 0], [255, 255, 255]], np.uint8)  # medians would tint the paper
    if num_colours == 2:
        return ends
    reduced = strip.quantize(num_colours - 2, method=PIL.Image.Quantize.MEDIANCUT)
    medians = np.array(reduced.getpalette()[: 3 * (num_colours - 2)], np.uint8).reshape(-1, 3)
    return np.concatenate([ends, medians])


def _indexed(image: PIL.Image.Image, palette: np.ndarray) -> PIL.Image.Image:
    """Returns the image in the nearest colours of the palette.

    Pillow's own `quantize` compares colours at 6 bits, which would turn white paper grey.
    """
    pixels = np.asarray(image).astype(np.int32)
    packed = (pixels[..., 0] << 16) + (pixels[..., 1] << 8) + pixels[..., 2]
    colours, places = np.unique(packed, return_inverse=True)
    colours = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1)
    table = palette.astype(np.int32)
    distances = (table**2).sum(axis=1) - 2 * colours @ table.T  # less a constant of each colour
    indices = distances.argmin(axis=1).astype(np.uint8)[places.reshape(packed.shape)]
    indexed = PIL.Image.fromarray(indices)
    indexed.putpalette(palette.tobytes())
    return indexed
