"""Maps: points in two dimensions, coloured by class, with digits for names or as small images."""

from collections.abc import Iterator, Mapping, Sequence

import matplotlib.patheffects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import BboxImage

from dbn_jax.figures.checks import AnyArray, check_labels, finite_values, grey_levels
from dbn_jax.figures.pages import BLUE, FAINT, FONT_PIXELS, INK, Panels, style, text_width
from dbn_jax.typing import Int, Num

# Okabe and Ito's colours, olive for their yellow, which is too pale for small things on white, and
# two more; what still looks alike to somebody is told apart by the names on the map.
_PALETTE = (
    BLUE, "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#8F8F00", "#999999",
    "#661100",
)  # fmt: skip
_THUMBNAIL = 28  # pixels of the side that small thumbnails are enlarged to, at most
_BEHIND = 0.3  # opacity of the dots behind thumbnails
_SIDES = {1: 860, 2: 440, 4: 440}  # of a map, in pixels, by their number
_MARGIN = 0.03  # of the map's side, round the points
_SPACE = 12  # pixels between two names


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
    """Maps of the same points, side by side: a dot for each point in the colour of its class.

    Over the dots stand the names of the classes of some points, as many as fit; or instead the
    images of some points, in the colour of their class on white, where they do not overlap. Both
    are chosen in the order of the points.

    Args:
      maps: what stands above each map, to its (N, 2) positions.
      labels: (N,) class of each point, from 0.
      title: what is shown.
      subtitle: how it was made.
      names: of the classes; by default their numbers.
      thumbnails: (N, D) grey levels, 1 where there is ink.
      image_shape: (rows, columns) of a thumbnail.

    Raises:
      ValueError: there is no map; positions are not finite, or of another number than the labels;
        thumbnails without `image_shape`.
    """
    if not maps:
        raise ValueError("maps is empty: give at least one name with its positions")
    maps = {name: finite_values(xy, f'maps["{name}"]') for name, xy in maps.items()}
    for name, positions in maps.items():
        check_labels("labels", labels, len(positions), f'points in maps["{name}"]')
    labels = np.asarray(labels)
    tiles = None
    if thumbnails is not None:
        if image_shape is None or len(image_shape) != 2:
            raise ValueError(f"thumbnails with image_shape={image_shape}: expected (rows, columns)")
        tiles = grey_levels(thumbnails, image_shape, (0, 1), "thumbnails")
        check_labels("thumbnails", tiles, len(labels), "points")
        zoom = max(1, _THUMBNAIL // max(tiles.shape[1:]))
        tiles = tiles.repeat(zoom, axis=1).repeat(zoom, axis=2)
    if labels.min() < 0:
        raise ValueError(f"labels go down to {labels.min()}; classes count from 0")
    names = [str(label) for label in range(labels.max() + 1)] if names is None else names
    if len(names) <= labels.max():
        raise ValueError(f"names has {len(names)} entries, but labels go up to {labels.max()}")
    colours = np.array([_PALETTE[label % len(_PALETTE)] for label in labels])
    with style():
        side = _SIDES.get(len(maps), 290)
        panels = Panels(len(maps), title, subtitle, (side, side))
        for axes, (name, positions) in zip(panels.axes, maps.items(), strict=True):
            axes.set_title(name)
            places = _prepare(axes, positions, side)
            size = np.clip(30_000 / len(labels) * (side / 860) ** 2, 1.5, 30)  # square points
            opacity = 1 if tiles is None else _BEHIND
            axes.scatter(*positions.T, s=size, c=colours, linewidths=0, alpha=opacity)
            if tiles is None:
                _write_names(axes, places, [names[label] for label in labels], side)
            else:
                _draw_tiles(axes, places, tiles, colours, side)
        return panels.arrange()


def _prepare(axes: Axes, positions: np.ndarray, side: int) -> np.ndarray:
    """Sets limits with equal units across and up; returns the pixels (N, 2) across and down."""
    low, high = positions.min(axis=0), positions.max(axis=0)
    reach = max(*(high - low), 1e-9) * (0.5 + _MARGIN)
    corner = (low + high) / 2 - reach
    axes.set_xlim(corner[0], corner[0] + 2 * reach)
    axes.set_ylim(corner[1], corner[1] + 2 * reach)
    # The units of a map mean nothing.
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(FAINT)
    across, up = ((positions - corner) / (2 * reach) * side).T
    return np.stack([across, side - up], axis=1)


def _free_places(
    places: np.ndarray, size: tuple[int, int], side: int
) -> Iterator[tuple[int, int, int]]:
    """Chooses, in order, points whose boxes of that size (across, down) do not touch any before.

    Yields:
      The number of the point, and the upper left corner of its box, across and down.
    """
    taken = np.zeros((side, side), bool)
    width, height = size
    corners = np.round(places - np.array(size) / 2).astype(int)
    for index, (x, y) in enumerate(corners):
        inside = 0 <= x <= side - width and 0 <= y <= side - height
        if inside and not taken[y : y + height, x : x + width].any():
            taken[y : y + height, x : x + width] = True
            yield index, x, y


def _write_names(axes: Axes, places: np.ndarray, names: Sequence[str], side: int) -> None:
    widest = max(text_width(name) for name in set(names))
    size = round(widest) + _SPACE, FONT_PIXELS["label"] + _SPACE
    halo = [matplotlib.patheffects.withStroke(linewidth=2, foreground="white")]
    for index, x, y in _free_places(places, size, side):
        axes.text(
            (x + size[0] / 2) / side,
            1 - (y + size[1] / 2) / side,
            names[index],
            transform=axes.transAxes,
            ha="center",
            va="center",
            color=INK,
            path_effects=halo,
        )


def _draw_tiles(
    axes: Axes, places: np.ndarray, tiles: np.ndarray, colours: np.ndarray, side: int
) -> None:
    """Draws images as one raster over the axes, a pixel of the page for each of theirs."""
    height, width = tiles.shape[1:]
    raster = np.zeros((side, side, 4), np.uint8)
    for index, x, y in _free_places(places, (width, height), side):
        ink = tiles[index][:, :, None] / 255
        rgb = np.array([int(colours[index][k : k + 2], 16) for k in (1, 3, 5)])
        box = raster[y : y + height, x : x + width]
        box[..., :3] = np.round(ink * rgb + (1 - ink) * 255)
        box[..., 3] = 255
    image = BboxImage(axes.bbox, interpolation="nearest", origin="upper", zorder=3)
    image.set_data(raster)
    axes.add_artist(image)
