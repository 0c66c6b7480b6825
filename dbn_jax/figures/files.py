"""Pictures and animations as files that appear whole or not at all; missing folders are made."""

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
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
    num_colours: int = 64,
) -> None:
    """Writes frames as a GIF that loops for ever; the last stays a second longer.

    All frames share one palette, so that colours do not flicker. Equal frames in succession are
    stored once, with the sum of their times, of which GIF has 655 seconds at most.

    Args:
      frames: figures, or uint8 arrays (rows, columns[, 3]); figures are drawn at one device pixel
        for each pixel of the page, and smaller frames get white paper at the right and below.
      frames_per_second: at most 50; GIF counts hundredths of a second, so that the rate is rounded.
      num_colours: 2 to 256; fewer make a smaller file.
    """
    if not 0 < frames_per_second <= 50:
        raise ValueError(f"frames_per_second={frames_per_second}: GIF has at most 50")
    if not 2 <= num_colours <= 256:
        raise ValueError(f"num_colours={num_colours}: GIF has 2 to 256")
    images = _drawn(frames)
    durations = [10 * round(100 / frames_per_second)] * len(images)
    durations[-1] += 1000
    palette = _common_palette(images, num_colours)
    indexed = [_indexed(image, palette) for image in images]
    _check_times(indexed, durations)
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


def _common_palette(images: Sequence[PIL.Image.Image], num_colours: int) -> np.ndarray:
    """The palette for all, (colours, 3): their own colours if few enough, else medians."""
    colours: set[tuple[int, int, int]] = set()
    for image in images:
        found = image.getcolors(num_colours)
        colours.update(colour for _, colour in found or ())
        if found is None or len(colours) > num_colours:
            break
    else:
        return np.array(sorted(colours), np.uint8)
    ends = np.array([[0, 0, 0], [255, 255, 255]], np.uint8)  # medians would tint the paper
    if num_colours == 2:
        return ends
    # Some of the frames, the first and the last among them.
    places = np.linspace(0, len(images) - 1, min(len(images), 32)).astype(int)
    strip = PIL.Image.fromarray(np.concatenate([np.asarray(images[place]) for place in places]))
    reduced = strip.quantize(num_colours - 2, method=PIL.Image.Quantize.MEDIANCUT)
    medians = np.array(reduced.getpalette()[: 3 * (num_colours - 2)], np.uint8).reshape(-1, 3)
    return np.concatenate([ends, medians])


def _indexed(image: PIL.Image.Image, palette: np.ndarray) -> PIL.Image.Image:
    """The image in the nearest colours of the palette.

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


def _check_times(images: Sequence[PIL.Image.Image], durations: Sequence[int]) -> None:
    """Pillow stores equal frames in succession once, with the sum of their milliseconds."""
    timed = zip(images, durations, strict=True)
    for _, run in itertools.groupby(timed, key=lambda pair: pair[0].tobytes()):
        stays = sum(duration for _, duration in run) / 1000
        if stays > 655:  # 16 bits count hundredths of a second
            raise ValueError(
                f"a picture stays for {stays:g} s, and GIF has 655 s at most: show it for less"
            )
