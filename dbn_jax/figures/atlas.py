"""One map of very many points: their density in the colours of their classes, images, and names."""

from collections.abc import Sequence

import numpy as np
import scipy.ndimage
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from dbn_jax.figures import pages
from dbn_jax.figures.checks import AnyArray, check_labels, finite_values, grey_levels
from dbn_jax.figures.maps import class_colours, class_names
from dbn_jax.typing import Int, Num

_SIDE = 1400  # pixels of the map
_MARGIN = 50
_BLUR = 2.0  # pixels, so that single points are seen
_APART = 4  # pixels between images, at least
_SLACK = 7  # pixels by which an image may miss its node of the lattice, at most
_FULL = 0.6  # share of the most crowded places that has a class's full colour
_CROWDED = 0.5  # of these, where images stand
_EMPTY = 0.02  # of these, where names may stand
_ROOM = 8  # pixels round a name


def atlas(
    positions: Num[AnyArray, "_ 2"],
    labels: Int[AnyArray, " _"],
    *,
    title: str,
    subtitle: str | None = None,
    names: Sequence[str] | None = None,
    thumbnails: Num[AnyArray, "images ..."] | None = None,
    image_shape: Sequence[int] = (28, 28),
) -> Figure:
    """A map whose points are too many for dots.

    The more points lie at a place, the fuller its colour, the mean of their classes'. On crowded
    places, at equal distances, stand images of points there (grey levels, 1 where there is ink), in
    white on the colour of their class. Beside the crowd of each class stands its name, where there
    are no points.
    """
    positions = finite_values(positions, "positions")
    labels = np.asarray(labels)
    check_labels("labels", labels, len(positions), "points")
    names = class_names(names, labels)
    colours = np.array([to_rgb(colour) for colour in class_colours(names)])
    places = _pixels(positions)
    crowd, picture = _density(places, colours[labels])
    free = crowd < _EMPTY
    if thumbnails is not None:
        tiles = grey_levels(thumbnails, image_shape, (0, 1), "thumbnails")
        check_labels("thumbnails", tiles, len(labels), "points")
        for index, row, column in _spread(places, crowd, tiles.shape[1:]):
            ink = tiles[index, :, :, None] / 255
            window = slice(row, row + len(ink)), slice(column, column + ink.shape[1])
            picture[window] = ink + (1 - ink) * colours[labels[index]]
            free[window] = False
    with pages.sheet(title, subtitle) as page:
        page.image(0, 0, np.round(255 * picture).astype(np.uint8))
        for label in map(int, np.unique(labels)):
            size = round(pages.text_width(names[label], "name")), pages.FONT_PIXELS["name"]
            x, y = _free_place(free, np.median(places[labels == label], axis=0), *size)
            page.text(x, y, names[label], "center", "center", "name", color=colours[label])
    return page.figure


def _pixels(positions):
    """Positions in whole pixels from the upper left corner, (points, 2): column, row."""
    low, high = positions.min(axis=0), positions.max(axis=0)
    extent = np.max(high - low) or 1.0  # of points that all lie at one place
    scale = (_SIDE - 2 * _MARGIN) / extent
    across, up = ((positions - (low + high) / 2) * scale + _SIDE / 2).T
    return np.stack([across, _SIDE - up], axis=1).astype(int)


def _density(places, colours):
    """Points a pixel, and what is seen of them: white where there are none."""
    totals = np.zeros((_SIDE, _SIDE, 4))
    np.add.at(
        totals, (places[:, 1], places[:, 0]), np.append(colours, np.ones((len(colours), 1)), 1)
    )
    totals = scipy.ndimage.gaussian_filter(totals, (_BLUR, _BLUR, 0))
    crowd = totals[:, :, 3]
    mean = totals[:, :, :3] / np.maximum(crowd, 1e-9)[:, :, None]
    full = _FULL * np.quantile(crowd[places[:, 1], places[:, 0]], 0.9)
    share = np.minimum(np.sqrt(crowd / full), 1)[:, :, None]
    return crowd / full, 1 - share * (1 - mean)


def _spread(places, crowd, shape):
    """(number, row, column) of points on crowded places, near the nodes of a square lattice."""
    pitch = max(shape) + _APART + 2 * _SLACK
    nodes = np.round(places / pitch) * pitch
    off = np.abs(places - nodes).max(axis=1)
    lattice = nodes.astype(int)
    crowded = np.flatnonzero((off <= _SLACK) & (crowd[places[:, 1], places[:, 0]] > _CROWDED))
    order = crowded[np.lexsort((off[crowded], lattice[crowded, 0], lattice[crowded, 1]))]
    first = np.unique(lattice[order], axis=0, return_index=True)[1]
    size = np.array(shape)
    for index in order[first]:
        row, column = np.clip(places[index, ::-1] - size // 2, 0, _SIDE - size)
        yield index, row, column


def _free_place(free, near, width, height):
    """The middle of a box without points, the nearest to a place; it is then taken.

    If there is none, the place itself.
    """
    size = height + _ROOM, width + _ROOM
    is_free = scipy.ndimage.minimum_filter(free, size, mode="constant", cval=False)
    if not is_free.any():
        return round(near[0]), round(near[1])
    rows, columns = np.nonzero(is_free)
    nearest = np.argmin((columns - near[0]) ** 2 + (rows - near[1]) ** 2)
    x, y = columns[nearest], rows[nearest]
    free[max(y - size[0], 0) : y + size[0], max(x - size[1], 0) : x + size[1]] = False
    return int(x), int(y)
