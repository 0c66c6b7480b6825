"""A net at work: the states of its hidden layers (brain) beside the image they stand for (mind)."""

import math
from collections.abc import Mapping, Sequence
from numbers import Real

import numpy as np
from matplotlib.figure import Figure

from dbn_jax.figures.checks import AnyArray, check_labels, grey_levels
from dbn_jax.figures.grid import FRAME_GREY, PAGE, Grid, columns_for
from dbn_jax.figures.pages import FAINT, INK, Label, Placed, picture, text_width
from dbn_jax.typing import Num

_SPACE = 8  # pixels between an image and what is written beside it
_BETWEEN = 28  # pixels between panels
_HEADER = 20  # pixels above a panel for its name
_MARK = (213, 94, 0)  # Okabe and Ito's vermilion, for the unit that is clamped


def moment(
    image: Num[AnyArray, "..."],
    layers: Mapping[str, Num[AnyArray, " units"]],
    *,
    image_shape: Sequence[int],
    title: str,
    subtitle: str | None = None,
    image_name: str = "mind",
    labels: Mapping[str, Real] | None = None,
    clamped: str | None = None,
    zoom: int = 4,
) -> Figure:
    """One moment of a net: its hidden layers, the last on top, and the image beside them.

    Layers are rasters with a unit in each cell, black off and white on; a grey cell at the end is
    no unit. All are equally wide, so that a layer's height tells its size.

    Args:
      image: (D,) grey levels.
      layers: name to (H,) states or probabilities, first layer first.
      image_shape: (rows, columns), or (rows, columns, 3) for colour.
      title: what is shown.
      subtitle: how it was made.
      image_name: what stands above the image.
      labels: name to probability of each label unit; they stand above the last layer.
      clamped: name of the label unit that is clamped; it gets a coloured frame.
      zoom: pixels for the side of a unit.

    Raises:
      ValueError: no layer is given, or an unknown label is clamped.
    """
    if not layers:
        raise ValueError("layers is empty: give at least one name with its states")
    if clamped is not None and clamped not in (labels or {}):
        raise ValueError(f'clamped="{clamped}", but the labels are {list(labels or {})}')
    columns = columns_for(max(len(states) for states in layers.values()))
    placed, texts, y, width = [], [], 0, 0
    if labels:
        pixels, names = _label_row(labels, clamped)
        heading = "label units, white: probable"
        texts.append(Label(0, -5, heading, "left", "bottom", colour=FAINT))
        texts += names
        placed.append(Placed(0, 0, pixels))
        width = max(pixels.shape[1], math.ceil(text_width(heading)))
        y = pixels.shape[0] + _HEADER + _BETWEEN
    for name, states in reversed(layers.items()):
        panel = _raster(np.asarray(states)[None], name, columns, zoom)[0]
        placed.append(Placed(0, y, panel))
        texts.append(Label(0, y - 5, name, "left", "bottom", colour=FAINT))
        width = max(width, panel.shape[1], math.ceil(text_width(name)))
        y += panel.shape[0] + _BETWEEN
    tile = grey_levels(np.asarray(image)[None], image_shape, (0, 1), "image")
    tile_zoom = max(1, min(y - _BETWEEN, 340) // tile.shape[1])
    x = width + _BETWEEN
    placed.append(Placed(x, 0, Grid.of(tile, 1, tile_zoom).draw(tile)))
    texts.append(Label(x, -5, image_name, "left", "bottom", colour=FAINT))
    return picture(placed, texts, title, subtitle)


def moments(
    images: Num[AnyArray, "times ..."],
    layers: Mapping[str, Num[AnyArray, "times units"]],
    *,
    image_shape: Sequence[int],
    times: Sequence[str],
    title: str,
    subtitle: str | None = None,
    image_name: str = "mind",
    notes: Sequence[str] | None = None,
    zoom: int | None = None,
) -> Figure:
    """A net over time: a column for each moment, the image above, its hidden layers below it.

    Args:
      images: (T, D) grey levels.
      layers: name to (T, H) states or probabilities, first layer first; drawn as in `moment`.
      image_shape: (rows, columns), or (rows, columns, 3) for colour.
      times: what stands above each column, such as the number of Gibbs steps; where times or notes
        would touch, every second one stands, or every third, ….
      title: what is shown.
      subtitle: how it was made.
      image_name: what stands at the left of the images.
      notes: a text under each image, such as what the label units say.
      zoom: pixels for the side of a unit; by default what fills a page.

    Raises:
      ValueError: for numbers of times, notes or states other than T; no layer is given.
    """
    if not layers:
        raise ValueError("layers is empty: give at least one name with its states")
    tiles = grey_levels(images, image_shape, (0, 1), "images")
    check_labels("times", times, len(tiles), "images")
    check_labels("notes", notes, len(tiles), "images")
    for name, states in layers.items():
        check_labels(f'layers["{name}"]', states, len(tiles), "images")
    columns = columns_for(max(states.shape[1] for states in layers.values()))
    room = PAGE[0] // len(tiles)
    if zoom is None:
        zoom = max(1, min(8, (room - _SPACE - 2) // columns))
    rasters = {name: _raster(states, name, columns, zoom) for name, states in layers.items()}
    pitch = max(room, *(panels.shape[2] + _SPACE for panels in rasters.values()))
    tile_zoom = max(1, min(100, pitch - _SPACE) // max(tiles.shape[1:3]))
    frames = np.stack([Grid.of(tile[None], 1, tile_zoom).draw(tile[None]) for tile in tiles])
    left = min(-_SPACE, (pitch - text_width(times[0])) / 2 - 6)  # of a long first time
    placed, texts = [], [Label(left, -5, "Gibbs step", "right", "bottom", colour=FAINT)]

    def centred(column, panels):
        return round((column + 0.5) * pitch - panels.shape[2] / 2)

    y = 0
    for name, panels in {image_name: frames, **dict(reversed(rasters.items()))}.items():
        for column, panel in enumerate(panels):
            placed.append(Placed(centred(column, panels), y, panel))
        texts.append(Label(-_SPACE, y + panels.shape[1] / 2, name, "right", "center"))
        y += panels.shape[1] + _SPACE
        if panels is frames and notes is not None:
            texts += [
                Label((column + 0.5) * pitch, y - 3, notes[column], "center", "top")
                for column in _free_columns(notes, pitch)
            ]
            y += _HEADER
        y += _SPACE
    texts += [
        Label((column + 0.5) * pitch, -5, times[column], "center", "bottom")
        for column in _free_columns(times, pitch)
    ]
    return picture(placed, texts, title, subtitle)


def _free_columns(texts: Sequence[str], pitch: int) -> range:
    """Returns every column, or every second, or third, …: so many that no text touches another."""
    widths = [text_width(text) for text in texts]
    for stride in range(1, len(texts) + 1):
        pairs = zip(widths[::stride], widths[stride::stride], strict=False)
        if all((one + other) / 2 + 6 <= stride * pitch for one, other in pairs):
            break
    return range(0, len(texts), stride)


def _raster(states: Num[AnyArray, "times units"], name: str, columns: int, zoom: int) -> np.ndarray:
    """Returns the units of each moment as a framed raster, uint8 (times, height, width, 3)."""
    times, units = np.shape(states)
    levels = grey_levels(states, (1, units), (0, 1), f'layers["{name}"]')[:, 0]
    rows = math.ceil(units / columns)
    cells = np.full((times, rows * columns), FRAME_GREY, np.uint8)
    cells[:, :units] = levels
    tiles = cells.reshape(times, rows, columns)
    return np.stack([Grid.of(tile[None], 1, zoom).draw(tile[None]) for tile in tiles])


def _label_row(labels: Mapping[str, Real], clamped: str | None) -> tuple[np.ndarray, list[Label]]:
    """Returns the label units as grey cells, and their names below."""
    side = max(20, *(math.ceil(text_width(name)) for name in labels))
    levels = grey_levels(np.array([[*labels.values()]]), (1, len(labels)), (0, 1), "labels")
    pixels = np.full((side, len(labels) * (side + 4) - 4, 3), 255, np.uint8)
    texts = []
    for index, (name, level) in enumerate(zip(labels, levels.ravel(), strict=True)):
        x = index * (side + 4)
        cell = pixels[:, x : x + side]
        cell[:] = _MARK if name == clamped else FRAME_GREY
        frame = 3 if name == clamped else 1
        cell[frame:-frame, frame:-frame] = level
        colour = "#{:02x}{:02x}{:02x}".format(*_MARK) if name == clamped else INK
        texts.append(Label(x + side / 2, side + 4, name, "center", "top", colour))
    return pixels, texts
