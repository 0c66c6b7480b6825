"""A net at work: the states of its hidden layers (brain) beside the image they stand for (mind).

Layers, name to states or probabilities from the first to the last, are rasters with a unit in each
cell, black off and white on; a grey cell at the end is no unit. All are equally wide, so that a
layer's height tells its size. `zoom` is the pixels for the side of a unit.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from dbn_jax.figures.checks import check_labels, grey_levels
from dbn_jax.figures.grid import FRAME_GREY, PAGE, columns_for, framed
from dbn_jax.figures.pages import FAINT, INK, Page, sheet, text_width, thinned
from dbn_jax.typing import AnyArray, Num, Real

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

    Label units, name to probability, stand above the last layer; the one whose name is `clamped`
    gets a coloured frame.
    """
    if clamped is not None and clamped not in (labels or {}):
        raise ValueError(f'clamped="{clamped}", but the labels are {list(labels or {})}')
    tile = grey_levels(np.asarray(image)[None], image_shape, (0, 1), "image")[0]
    rasters = _rasters({name: np.asarray(h)[None] for name, h in layers.items()}, zoom)
    with sheet(title, subtitle) as page:
        y = _draw_labels(page, labels, clamped) if labels else 0
        for name, (panel,) in rasters.items():
            page.image(0, y, panel)
            page.text(0, y - 5, name, "left", "bottom", color=FAINT)
            y += len(panel) + _BETWEEN
        x = math.ceil(max(box.xmax for box in page.boxes)) + _BETWEEN
        page.image(x, 0, framed(tile, max(1, min(y - _BETWEEN, 340) // len(tile))))
        page.text(x, -5, image_name, "left", "bottom", color=FAINT)
    return page.figure


def moments(
    images: Num[AnyArray, "times ..."],
    layers: Mapping[str, Num[AnyArray, "times units"]],
    *,
    image_shape: Sequence[int],
    times: Sequence[str],
    title: str,
    subtitle: str | None = None,
    notes: Sequence[str] | None = None,
    zoom: int | None = None,
) -> Figure:
    """A net over time: a column for each moment, the image above, its hidden layers below it.

    Its time stands above the column, such as the number of Gibbs steps, and its note under the
    image, such as what the label units say; where they would touch, every second, or third, ….
    """
    tiles = grey_levels(images, image_shape, (0, 1), "images")
    for name, given in (("times", times), ("notes", notes), *layers.items()):
        check_labels(name, given, len(tiles), "images")
    room = PAGE[0] // len(tiles)
    rasters = _rasters(layers, zoom, room - _SPACE)
    pitch = max(room, *(panels.shape[2] + _SPACE for panels in rasters.values()))
    tile_zoom = max(1, min(100, pitch - _SPACE) // max(tiles.shape[1:3]))
    frames = np.stack([framed(tile, tile_zoom) for tile in tiles])
    left = min(-_SPACE, (pitch - text_width(times[0])) / 2 - 6)  # of a long first time
    with sheet(title, subtitle) as page:
        page.text(left, -5, "Gibbs step", "right", "bottom", color=FAINT)
        for column, text in thinned(times, pitch):
            page.text((column + 0.5) * pitch, -5, text, "center", "bottom")
        y = 0
        for name, panels in {"mind": frames, **rasters}.items():
            page.text(-_SPACE, y + panels.shape[1] / 2, name, "right", "center")
            for column, panel in enumerate(panels):
                page.image(round((column + 0.5) * pitch - panel.shape[1] / 2), y, panel)
            y += panels.shape[1] + _SPACE
            if panels is frames and notes is not None:
                for column, text in thinned(notes, pitch):
                    page.text((column + 0.5) * pitch, y - 3, text, "center", "top")
                y += _HEADER
            y += _SPACE
    return page.figure


def _rasters(
    layers: Mapping[str, Num[AnyArray, "times units"]], zoom: int | None, room: int = 0
) -> dict[str, np.ndarray]:
    """The framed rasters of all layers, the last first, uint8 (times, height, width, 3)."""
    if not layers:
        raise ValueError("layers is empty: give at least one name with its states")
    columns = columns_for(max(states.shape[1] for states in layers.values()))
    zoom = zoom or max(1, min(8, (room - 2) // columns))
    rasters = {}
    for name, states in reversed(list(layers.items())):
        times, units = states.shape
        cells = np.full((times, math.ceil(units / columns) * columns), FRAME_GREY, np.uint8)
        levels = grey_levels(states, (1, units), (0, 1), f'layers["{name}"]')
        cells[:, :units] = levels.reshape(times, units)
        tiles = cells.reshape(times, -1, columns)
        rasters[name] = np.stack([framed(tile, zoom) for tile in tiles])
    return rasters


def _draw_labels(page: Page, labels: Mapping[str, Real], clamped: str | None) -> int:
    """Draws the label units as grey cells, their names below; returns where the layers begin."""
    page.text(0, -5, "label units, white: probable", "left", "bottom", color=FAINT)
    side = max(20, *(math.ceil(text_width(name)) for name in labels))
    levels = grey_levels(np.array([[*labels.values()]]), (1, len(labels)), (0, 1), "labels")
    for index, (name, level) in enumerate(zip(labels, levels.ravel(), strict=True)):
        marked = name == clamped
        frame = 3 if marked else 1
        cell = np.full((side, side, 3), _MARK if marked else FRAME_GREY, np.uint8)
        cell[frame:-frame, frame:-frame] = level
        x = index * (side + 4)
        page.image(x, 0, cell)
        colour = "#{:02x}{:02x}{:02x}".format(*_MARK) if marked else INK
        page.text(x + side / 2, side + 4, name, "center", "top", color=colour)
    return side + _HEADER + _BETWEEN
