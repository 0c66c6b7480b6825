"""Maps: points in two dimensions, coloured by class, with digits for names or as small images."""

from collections.abc import Mapping, Sequence
from numbers import Real

import matplotlib.colors
import matplotlib.patheffects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from dbn_jax.figures import pages
from dbn_jax.figures.checks import AnyArray, check_labels, finite_values, grey_levels
from dbn_jax.typing import Int, Num

# What still looks alike to somebody is told apart by the names on the map.
_PALETTE = (*pages.PALETTE, "#8F8F00", "#999999", "#661100")
_THUMBNAIL = 28  # pixels of the side that small thumbnails are enlarged to, at most
_NAME = 24  # pixels of a square that the name of a class keeps free
_SIDES = {1: 860, 2: 440, 4: 440}  # of a map, in pixels, by their number
_MARGIN = 0.04  # of the map, round the points


def map_of_points(
    maps: Mapping[str, Num[AnyArray, "_ 2"]],
    labels: Int[AnyArray, " _"],
    *,
    title: str,
    subtitle: str | None = None,
    thumbnails: Num[AnyArray, "images ..."] | None = None,
    image_shape: Sequence[int] | None = None,
) -> Figure:
    """Maps of the same points, name to positions: a dot for each in the colour of its class.

    Over the dots stand the numbers of the classes of some points, as many as fit; or instead the
    images of some points (grey levels, 1 where there is ink), in the colour of their class on
    white, where they do not overlap. Both are chosen in the order of the points.
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
    colours = np.array([_PALETTE[label % len(_PALETTE)] for label in labels])
    side = _SIDES.get(len(maps), 290)
    with pages.style():
        grid = pages.panels(list(maps), title, subtitle, (side + 20, side + 40))
        for axes, positions in zip(grid, maps.values(), strict=True):
            axes.set_xticks([])  # the units of a map mean nothing
            axes.set_yticks([])
            axes.spines[:].set_visible(True)
            axes.margins(_MARGIN)
            axes.set_aspect("equal", adjustable="datalim")
            size = np.clip(30_000 / len(labels) * (side / 860) ** 2, 1.5, 30)  # square points
            opacity = 1 if tiles is None else 0.3
            axes.scatter(*positions.T, s=size, c=colours, linewidths=0, alpha=opacity)
            reach = np.ptp(positions, axis=0).max() or 1.0
            pixel = reach * (1 + 2 * _MARGIN) / side
            if tiles is None:
                halo = [matplotlib.patheffects.withStroke(linewidth=2, foreground="white")]
                look = {"ha": "center", "va": "center", "path_effects": halo}
                for index in _apart(positions, pixel * _NAME):
                    axes.text(*positions[index], str(labels[index]), **look)
            else:
                zoom = max(1, _THUMBNAIL // max(image_shape))
                for index in _apart(positions, pixel * zoom * max(image_shape)):
                    _draw_tile(axes, positions[index], tiles[index], colours[index], zoom)
    return axes.figure


def _apart(positions: np.ndarray, side: Real) -> list[int]:
    """Chooses points, in order, of which squares of that side do not overlap."""
    chosen: list[int] = []
    for index, place in enumerate(positions):
        if (np.abs(positions[chosen] - place).max(axis=1) >= side).all():
            chosen.append(index)
    return chosen


def _draw_tile(axes: Axes, place: np.ndarray, tile: np.ndarray, colour: str, zoom: int) -> None:
    ink = tile[:, :, None] / 255
    image = ink * matplotlib.colors.to_rgb(colour) + (1 - ink)
    in_points = zoom * 72 / pages.PIXELS_PER_INCH
    made = OffsetImage(image, zoom=in_points, interpolation="nearest")
    axes.add_artist(AnnotationBbox(made, place, frameon=False, pad=0))


def _check_labels(maps: Mapping[str, np.ndarray], labels: np.ndarray) -> None:
    if not maps:
        raise ValueError("maps is empty: give at least one name with its positions")
    for name, positions in maps.items():
        check_labels("labels", labels, len(positions), f'points in maps["{name}"]')
    if labels.min() < 0:
        raise ValueError(f"labels go down to {labels.min()}: classes count from 0")
