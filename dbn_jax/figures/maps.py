"""Maps: points in two dimensions, coloured by class, with names of classes or as small images."""

from collections.abc import Mapping, Sequence

import matplotlib.colors
import matplotlib.patheffects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from dbn_jax.figures import pages
from dbn_jax.figures.checks import check_labels, finite_values, grey_levels
from dbn_jax.typing import AnyArray, Int, Num, Real

# What still looks alike to somebody is told apart by the names on the map.
_PALETTE = (*pages.PALETTE, "#8F8F00", "#999999", "#661100")
_THUMBNAIL = 28  # pixels of the side that small thumbnails are enlarged to, at most
_NAME = 24  # pixels that the name of a class keeps free, down, and across at least
_APART = 2  # pixels between thumbnails
_SIDES = {1: 860, 2: 440, 4: 440}  # of a map, in pixels, by their number
_MARGIN = 0.04  # of the map, round the points


def map_of_points(
    maps: Mapping[str, Num[AnyArray, "_ 2"]],
    labels: Int[AnyArray, " _"],
    *,
    title: str,
    subtitle: str | None = None,
    names: Sequence[str] | None = None,
    thumbnails: Num[AnyArray, "images ..."] | None = None,
    image_shape: Sequence[int] | None = None,
) -> Figure:
    """Maps of the same points, name to positions: a dot for each in the colour of its class.

    Over the dots stand the numbers of the classes of some points, or their names, as many as fit;
    or instead the images of some points (grey levels, 1 where there is ink), in the colour of their
    class on white, where they do not overlap; dots that they would cut are left out. Both are
    chosen in the order of the points.
    """
    maps = {name: finite_values(xy, f'maps["{name}"]') for name, xy in maps.items()}
    labels = np.asarray(labels)
    _check_labels(maps, labels)
    tiles = None
    if thumbnails is not None:
        if image_shape is None or len(image_shape) != 2:
            raise ValueError(f"thumbnails with image_shape={image_shape}: expected (rows, columns)")
        tiles = grey_levels(thumbnails, image_shape, (0, 1), "thumbnails")
        check_labels("thumbnails", tiles, len(labels), "points")
    names = class_names(names, labels)
    colours = np.array(class_colours(names))[labels]
    side = _SIDES.get(len(maps), 290)
    with pages.style():
        figure, grid = pages.panels(list(maps), title, subtitle, (side + 20, side + 40))
        dots = []
        for axes, positions in zip(grid, maps.values(), strict=True):
            axes.set_xticks([])  # the units of a map mean nothing
            axes.set_yticks([])
            axes.spines[:].set_visible(True)
            axes.margins(_MARGIN)
            axes.set_aspect("equal", adjustable="datalim")
            size = np.clip(30_000 / len(labels) * (side / 860) ** 2, 1.5, 30)  # square points
            dots.append(axes.scatter(*positions.T, s=size, c=colours, linewidths=0))
        figure.draw_without_rendering()  # the layout says how large a pixel is on the map
        for axes, positions, drawn in zip(grid, maps.values(), dots, strict=True):
            pixel = pages.DEVICE_PIXELS / axes.transData.get_matrix()[0, 0]
            if tiles is None:
                _draw_names(axes, positions, [names[int(label)] for label in labels], pixel)
            else:
                _draw_tiles(axes, drawn, positions, tiles, colours, pixel)
    return figure


def class_names(names: Sequence[str] | None, labels: np.ndarray) -> Sequence[str]:
    """Names of the classes, by default their numbers."""
    if labels.min() < 0:
        raise ValueError(f"labels go down to {labels.min()}: classes count from 0")
    if names is None:
        return list(map(str, range(labels.max() + 1)))
    if len(names) <= labels.max():
        raise ValueError(f"names has {len(names)} entries, and labels go up to {labels.max()}")
    return names


def class_colours(names: Sequence[str]) -> list[str]:
    """A colour for each class."""
    return [_PALETTE[label % len(_PALETTE)] for label in range(len(names))]


def _apart(positions: np.ndarray, box: np.ndarray) -> list[int]:
    """Chooses points, in order, of which boxes of that size do not overlap."""
    chosen: list[int] = []
    for index, place in enumerate(positions):
        if (np.abs(positions[chosen] - place) >= box).any(axis=1).all():
            chosen.append(index)
    return chosen


def _draw_names(axes: Axes, positions: np.ndarray, names: Sequence[str], pixel: Real) -> None:
    halo = [matplotlib.patheffects.withStroke(linewidth=2, foreground="white")]
    look = {"ha": "center", "va": "center", "path_effects": halo, "in_layout": False}
    widest = max(map(pages.text_width, set(names)))
    for index in _apart(positions, pixel * np.array([max(_NAME, widest + 8), _NAME])):
        x, y = positions[index]
        axes.text(x, y, names[index], **look)


def _draw_tiles(
    axes: Axes,
    dots: PathCollection,
    positions: np.ndarray,
    tiles: np.ndarray,
    colours: np.ndarray,
    pixel: Real,
) -> None:
    zoom = max(1, _THUMBNAIL // max(tiles.shape[1:]))
    box = zoom * np.array(tiles.shape[:0:-1])
    chosen = _apart(positions, pixel * (box + _APART))
    radius = np.sqrt(dots.get_sizes()[0]) / 2 * pages.PIXELS_PER_INCH / 72
    reach = pixel * (box / 2 + radius)
    is_cut = np.array(
        [(np.abs(positions[chosen] - place) < reach).all(axis=1).any() for place in positions]
    )
    dots.set(offsets=positions[~is_cut], facecolors=colours[~is_cut], alpha=0.3)
    in_points = zoom * 72 / pages.PIXELS_PER_INCH
    for index in chosen:
        ink = tiles[index, :, :, None] / 255
        image = ink * matplotlib.colors.to_rgb(colours[index]) + (1 - ink)
        made = OffsetImage(image, zoom=in_points, interpolation="nearest")
        axes.add_artist(AnnotationBbox(made, positions[index], frameon=False, pad=0))


def _check_labels(maps: Mapping[str, np.ndarray], labels: np.ndarray) -> None:
    if not maps:
        raise ValueError("maps is empty: give at least one name with its positions")
    for name, positions in maps.items():
        check_labels("labels", labels, len(positions), f'points in maps["{name}"]')
