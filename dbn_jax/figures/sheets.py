"""Sheets of images: data, reconstructions, samples and Markov chains."""

import math
from collections.abc import Mapping, Sequence
from numbers import Real

import numpy as np
from matplotlib.figure import Figure

from dbn_jax.figures.checks import AnyArray, check_count, check_labels, grey_levels
from dbn_jax.figures.grid import PAGE, Grid
from dbn_jax.figures.pages import FAINT, FONT_PIXELS, Label, Placed, picture, text_width
from dbn_jax.typing import Num

_SPACE = 8  # pixels between an image and what is written beside it


def image_sheet(
    images: Num[AnyArray, "images ..."],
    *,
    image_shape: Sequence[int],
    title: str,
    subtitle: str | None = None,
    columns: int | None = None,
    row_labels: Sequence[str] | None = None,
    value_range: tuple[Real, Real] = (0.0, 1.0),
    zoom: int | None = None,
) -> Figure:
    """Images in a grid, row by row: data, samples, reconstructions.

    Args:
      images: shown in reading order.
      columns: images in a row; by default a grid that is nearly full and no taller than wide.
      row_labels: a text at the left of each row of the grid.
      image_shape: (rows, columns), or (rows, columns, 3) for colour.
      title: what is shown.
      subtitle: how it was made.
      value_range: the values shown as black and as white.
      zoom: pixels for the side of an image pixel; by default what fills a page.

    Raises:
      ValueError: for a number of labels other than the number of rows.
    """
    tiles = grey_levels(images, image_shape, value_range, "images")
    grid = Grid.of(tiles, columns, zoom)
    check_labels("row_labels", row_labels, grid.rows, "rows of images")
    labels = [_row_label(grid, row, text) for row, text in enumerate(row_labels or ())]
    return picture([Placed(0, 0, grid.draw(tiles))], labels, title, subtitle)


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
    """Images in reading order, each with a text of its own below it, such as what it was taken for.

    Args:
      images: (N, D).
      captions: a text for each image.
      image_shape: (rows, columns), or (rows, columns, 3) for colour.
      title: what is shown.
      subtitle: how it was made.
      columns: images in a row.
      value_range: the values shown as black and as white.
      zoom: pixels for the side of an image pixel; by default what fills a page's width.

    Raises:
      ValueError: for a number of captions other than that of images.
    """
    tiles = grey_levels(images, image_shape, value_range, "images")
    check_labels("captions", captions, len(tiles), "images")
    columns = min(check_count("columns", columns), len(tiles))
    # A grid of one row, of which single images are taken.
    grid = Grid.of(tiles[:columns], columns, zoom)._replace(columns=1)
    widest = max(math.ceil(text_width(text)) for text in captions)
    across = max(grid.width, widest) + 2 * _SPACE
    down = grid.height + FONT_PIXELS["label"] + 2 * _SPACE
    placed, labels = [], []
    for index, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        x, y = index % columns * across, index // columns * down
        placed.append(Placed(x + (across - grid.width) // 2, y, grid.draw(tile[None])))
        labels.append(Label(x + across / 2, y + grid.height + 3, caption, "center", "top"))
    return picture(placed, labels, title, subtitle)


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

    Args:
      rows: name to (N, D) images, the same N for all; the names stand at the left. More than
        `columns` images continue in a further band of rows.
      notes: name to a text at the right of that row, such as its error.
      columns: images in a row.
      image_shape: (rows, columns), or (rows, columns, 3) for colour.
      title: what is shown.
      subtitle: how it was made.
      value_range: the values shown as black and as white.
      zoom: pixels for the side of an image pixel; by default what fills a page.

    Raises:
      ValueError: for rows of different lengths, and a note for an unknown row.
    """
    if not rows:
        raise ValueError("rows is empty: give at least one name with its images")
    unknown = set(notes or ()) - set(rows)
    if unknown:
        raise ValueError(f"notes for {sorted(unknown)}, but the rows are {list(rows)}")
    tiles = {
        name: grey_levels(images, image_shape, value_range, f'"{name}" images')
        for name, images in rows.items()
    }
    counts = {name: len(images) for name, images in tiles.items()}
    num_images = next(iter(counts.values()))
    if set(counts.values()) != {num_images}:
        raise ValueError(f"the rows have different numbers of images: {counts}")
    columns = min(check_count("columns", columns), num_images)
    num_bands = math.ceil(num_images / columns)
    between = 12
    room = (PAGE[0], (PAGE[1] - between * (num_bands - 1)) // num_bands)
    first_band = np.concatenate([images[:columns] for images in tiles.values()])
    grid = Grid.of(first_band, columns, zoom, room)
    placed, labels = [], []
    for band in range(num_bands):
        y = band * (grid.height + between)
        for row, (name, images) in enumerate(tiles.items()):
            part = images[band * columns : (band + 1) * columns]
            placed.append(Placed(0, y + row * grid.pitch[0], grid._replace(rows=1).draw(part)))
            label = _row_label(grid, row, name, y)
            labels.append(label)
            if notes and name in notes:
                labels.append(Label(grid.width + _SPACE, label.y, notes[name], "left", "center"))
    return picture(placed, labels, title, subtitle)


def reconstructions(
    data: Num[AnyArray, "images ..."],
    reconstruction: Num[AnyArray, "images ..."],
    *,
    image_shape: Sequence[int],
    title: str,
    subtitle: str | None = None,
    columns: int = 12,
    value_range: tuple[Real, Real] = (0.0, 1.0),
    zoom: int | None = None,
) -> Figure:
    """Pairs of rows: data above their reconstructions. The two-row case of `image_rows`.

    Args:
      data: (N, D) images.
      reconstruction: (N, D) what the model makes of them.
      columns: images in a row.
      image_shape: (rows, columns), or (rows, columns, 3) for colour.
      title: what is shown.
      subtitle: how it was made.
      value_range: the values shown as black and as white.
      zoom: pixels for the side of an image pixel; by default what fills a page.
    """
    return image_rows(
        {"data": data, "reconstruction": reconstruction},
        image_shape=image_shape,
        title=title,
        subtitle=subtitle,
        columns=columns,
        value_range=value_range,
        zoom=zoom,
    )


def chains(
    frames: Num[AnyArray, "times chains ..."],
    *,
    image_shape: Sequence[int],
    steps: Sequence[int] | AnyArray,
    title: str,
    subtitle: str | None = None,
    row_labels: Sequence[str] | None = None,
    value_range: tuple[Real, Real] = (0.0, 1.0),
    zoom: int | None = None,
) -> Figure:
    """Markov chains: each row a chain, time runs to the right, the Gibbs step on top.

    Args:
      frames: (T, C, D) images of C chains at T times.
      steps: the number of Gibbs steps before each of the T times.
      row_labels: a text for each chain; by default "chain 1", "chain 2", ….
      image_shape: (rows, columns), or (rows, columns, 3) for colour.
      title: what is shown.
      subtitle: how it was made.
      value_range: the values shown as black and as white.
      zoom: pixels for the side of an image pixel; by default what fills a page.

    Raises:
      ValueError: for numbers of steps and labels other than T and C.
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
    labels = [_row_label(grid, row, text) for row, text in enumerate(row_labels)]
    labels.append(Label(-_SPACE, -5, "Gibbs step", "right", "bottom", colour=FAINT))
    # Where numbers would touch, every second one stands, or every third, ….
    numbers = [f"{int(step):,}" for step in steps]
    stride = math.ceil((text_width(max(numbers, key=len)) + 6) / grid.pitch[1])
    for column in range(0, num_times, stride):
        x = grid.centre(0, column)[1]
        labels.append(Label(x, -5, numbers[column], "center", "bottom"))
    return picture([Placed(0, 0, grid.draw(tiles))], labels, title, subtitle)


def _row_label(grid: Grid, row: int, text: str, top: int = 0) -> Label:
    """Returns a label at the left of a row of the grid, whose top is at y = `top`."""
    return Label(-_SPACE, top + grid.centre(row, 0)[0], text, "right", "center")
