"""Sheets of images: data, reconstructions, samples and Markov chains."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from dbn_jax.figures.checks import (
    AnyArray,
    check_count,
    check_equal_lengths,
    check_known,
    check_labels,
    grey_levels,
)
from dbn_jax.figures.grid import PAGE, Grid
from dbn_jax.figures.pages import FAINT, FONT_PIXELS, sheet, text_width, thinned
from dbn_jax.typing import Num, Real

_SPACE = 8  # pixels between an image and what is written beside it
_BETWEEN = 12  # pixels between bands of rows


def image_sheet(
    images: Num[AnyArray, "images ..."],
    *,
    image_shape: Sequence[int],
    title: str,
    subtitle: str | None = None,
    columns: int | None = None,
    value_range: tuple[Real, Real] = (0.0, 1.0),
    zoom: int | None = None,
) -> Figure:
    """Images in reading order; by default in a grid nearly full and no taller than wide."""
    tiles = grey_levels(images, image_shape, value_range, "images")
    with sheet(title, subtitle) as page:
        page.image(0, 0, Grid.of(tiles, columns, zoom).draw(tiles))
    return page.figure


def captioned_sheet(
    images: Num[AnyArray, "images ..."],
    captions: Sequence[str],
    *,
    image_shape: Sequence[int],
    title: str,
    subtitle: str | None = None,
    columns: int = 12,
    value_range: tuple[Real, Real] = (0.0, 1.0),
    zoom: int | None = None,
) -> Figure:
    """Images in reading order, each with a text of its own below it: what it was taken for."""
    tiles = grey_levels(images, image_shape, value_range, "images")
    check_labels("captions", captions, len(tiles), "images")
    columns = min(check_count("columns", columns), len(tiles))
    # A grid of one row, of which single images are taken.
    grid = Grid.of(tiles[:columns], columns, zoom)._replace(columns=1)
    widest = max(math.ceil(text_width(text)) for text in captions)
    across = max(grid.width, widest) + 2 * _SPACE
    down = grid.height + FONT_PIXELS["label"] + 2 * _SPACE
    with sheet(title, subtitle) as page:
        for index, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
            x, y = index % columns * across, index // columns * down
            page.image(x + (across - grid.width) // 2, y, grid.draw(tile[None]))
            page.text(x + across / 2, y + grid.height + 3, caption, "center", "top")
    return page.figure


def image_rows(
    rows: Mapping[str, Num[AnyArray, "images ..."]],
    *,
    image_shape: Sequence[int],
    title: str,
    subtitle: str | None = None,
    notes: Mapping[str, str] | None = None,
    columns: int = 12,
    value_range: tuple[Real, Real] = (0.0, 1.0),
    zoom: int | None = None,
) -> Figure:
    """Named rows of images one under another, so that each column compares versions of one image.

    The names stand at the left, a row's note, such as its error, at the right. More than `columns`
    images continue in a further band of rows.
    """
    notes = notes or {}
    num_images = check_equal_lengths(rows, "rows", "images")
    check_known("notes", notes, rows, "rows")
    tiles = {
        name: grey_levels(images, image_shape, value_range, f'"{name}" images')
        for name, images in rows.items()
    }
    columns = min(check_count("columns", columns), num_images)
    num_bands = math.ceil(num_images / columns)
    room = (PAGE[0], (PAGE[1] - _BETWEEN * (num_bands - 1)) // num_bands)
    first_band = np.concatenate([images[:columns] for images in tiles.values()])
    grid = Grid.of(first_band, columns, zoom, room)
    with sheet(title, subtitle) as page:
        for band in range(num_bands):
            top = band * (grid.height + _BETWEEN)
            for row, (name, images) in enumerate(tiles.items()):
                part = images[band * columns : (band + 1) * columns]
                page.image(0, top + row * grid.pitch[0], grid._replace(rows=1).draw(part))
                middle = top + grid.centre(row, 0)[0]
                page.text(-_SPACE, middle, name, "right", "center")
                if name in notes:
                    page.text(grid.width + _SPACE, middle, notes[name], "left", "center")
    return page.figure


def chains(
    frames: Num[AnyArray, "times chains ..."],
    *,
    image_shape: Sequence[int],
    steps: Sequence[int] | AnyArray,
    title: str,
    subtitle: str | None = None,
    row_labels: Sequence[str] | None = None,
    time_name: str = "Gibbs step",
    value_range: tuple[Real, Real] = (0.0, 1.0),
    zoom: int | None = None,
) -> Figure:
    """Markov chains: each row a chain, time runs to the right, its steps on top.

    Where the steps' numbers would touch, every second one stands, or every third, ….
    """
    num_times, num_chains = frames.shape[:2]
    check_labels("steps", steps, num_times, "times")
    if row_labels is None:
        row_labels = [f"chain {chain + 1}" for chain in range(num_chains)]
    check_labels("row_labels", row_labels, num_chains, "chains")
    by_chain = np.swapaxes(np.asarray(frames), 0, 1)
    flat = by_chain.reshape(num_times * num_chains, *by_chain.shape[2:])
    tiles = grey_levels(flat, image_shape, value_range, "frames")
    grid = Grid.of(tiles, num_times, zoom)
    with sheet(title, subtitle) as page:
        page.image(0, 0, grid.draw(tiles))
        page.text(-_SPACE, -5, time_name, "right", "bottom", color=FAINT)
        for row, text in enumerate(row_labels):
            page.text(-_SPACE, grid.centre(row, 0)[0], text, "right", "center")
        for column, text in thinned([f"{int(step):,}" for step in steps], grid.pitch[1]):
            page.text(grid.centre(0, column)[1], -5, text, "center", "bottom")
    return page.figure
