"""What a model has learnt: its weights as images, how they grew, and what its hidden units do."""

import math
from collections.abc import Sequence
from numbers import Real

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from dbn_jax.figures.checks import (
    AnyArray,
    check_choice,
    check_count,
    check_image_shape,
    check_labels,
    finite_values,
    grey_levels,
)
from dbn_jax.figures.grid import FRAME_GREY, PAGE, Grid
from dbn_jax.figures.pages import Label, Placed, picture, text_width
from dbn_jax.typing import Num

_HEADER, _BETWEEN = 22, 18  # pixels above and between the panels of a development
_APART = 8  # pixels between their labels, at least


def receptive_fields(
    weights: Num[AnyArray, "visible hidden"],
    *,
    image_shape: Sequence[int],
    title: str,
    subtitle: str | None = None,
    max_units: int = 100,
    columns: int | None = None,
    scale: str = "common",
    limit: Real | None = None,
    zoom: int | None = None,
) -> Figure:
    """The weights of each hidden unit as an image: red excites, blue inhibits, white is zero.

    With three channels a weight shifts its channel away from mid-grey, which is zero.

    Args:
      weights: (V, H), or any other V-dimensional features as columns.
      max_units: the first so many hidden units are shown.
      columns: images in a row.
      scale: "common" compares units; "unit" gives each its own scale and compares shapes.
      limit: the weight that has the full colour, on the common scale; by default the 99.8th
        percentile of the absolute weights, so that a few outliers do not pale the rest.
      image_shape: (rows, columns), or (rows, columns, 3) for colour.
      title: what is shown.
      subtitle: how it was made.
      zoom: pixels for the side of an image pixel; by default what fills a page.

    Raises:
      ValueError: for another scale, and a limit that is not positive or is given for the scale
        "unit".
    """
    check_choice("scale", scale, ("common", "unit"))
    fields, num_units = _weight_images(weights, image_shape, max_units)
    if limit is not None and (scale != "common" or not 0 < limit < math.inf):
        raise ValueError(f'limit={limit}: a positive number, and only with scale="common"')
    if scale == "common":
        limits = limit if limit is not None else _robust_limit(fields)
        low, high = ("≤ −", "≥ ") if np.abs(fields).max() > limits else ("−", "+")
        ends = f"{low}{limits:.2g}", f"{high}{limits:.2g}"
    else:
        limits = np.abs(fields).max(axis=tuple(range(1, fields.ndim)), keepdims=True)
        limits = np.where(limits > 0, limits, 1.0)
        ends = ("−max", "+max")
    tiles = _diverging(fields, limits)
    grid = Grid.of(tiles, columns, zoom)
    placed, labels = [Placed(0, 0, grid.draw(tiles))], []
    note = _part(len(tiles), num_units, "unit")
    note += ", one scale for all" if scale == "common" else ", each on its own scale"
    if fields.ndim == 3:
        bar, labels = _colour_bar(grid.width + 16, min(160, max(64, grid.height)), ends)
        placed.append(bar)
    else:
        note += f": grey is zero, a dark channel {ends[0]}, a bright one {ends[1]}"
    return picture(placed, labels, title, _joined(subtitle, note))


def development(
    snapshots: Num[AnyArray, "snapshots visible hidden"],
    *,
    image_shape: Sequence[int],
    labels: Sequence[str],
    title: str,
    subtitle: str | None = None,
    max_units: int = 50,
    scale: str = "snapshot",
) -> Figure:
    """How the weight images grow from their random start: one panel a snapshot, in reading order.

    Args:
      snapshots: (T, V, H) weights at T times.
      labels: the time of each snapshot, such as "update 40".
      max_units: the first so many hidden units are shown, in the same place of every panel.
      scale: "snapshot" gives each panel its own scale, which stands in its label, so that the small
        random start is seen; "common" shows the growth of the weights instead.
      image_shape: (rows, columns), or (rows, columns, 3) for colour.
      title: what is shown.
      subtitle: how it was made.

    Raises:
      ValueError: for another scale, and a number of labels other than T.
    """
    check_choice("scale", scale, ("snapshot", "common"))
    if len(snapshots) == 0:
        raise ValueError("snapshots are empty: give at least one (V, H) array of weights")
    check_labels("labels", labels, len(snapshots), "snapshots")
    panels = [_weight_images(weights, image_shape, max_units)[0] for weights in snapshots]
    limits = [_robust_limit(fields) for fields in panels]
    if scale == "common":
        limits = [max(limits)] * len(panels)
        note = f"one scale for all: full colour is ±{limits[0]:.2g}"
    else:
        note = "full colour is the weight in brackets"
        labels = [f"{text}  (±{limit:.2g})" for text, limit in zip(labels, limits, strict=True)]
    tiles = [_diverging(*pair) for pair in zip(panels, limits, strict=True)]
    widest = math.ceil(max(map(text_width, labels)))
    across, grid = _panel_grid(tiles[0], len(tiles), widest)
    pitch = max(grid.width + _BETWEEN, widest + _APART)
    placed, texts = [], []
    for index, (panel, text) in enumerate(zip(tiles, labels, strict=True)):
        x = index % across * pitch
        y = index // across * (grid.height + _HEADER + _BETWEEN)
        placed.append(Placed(x, y, grid.draw(panel)))
        texts.append(Label(x, y - 5, text, "left", "bottom"))
    return picture(placed, texts, title, _joined(subtitle, note))


def _panel_grid(panel: np.ndarray, count: int, widest: int) -> tuple[int, Grid]:
    """Returns the panels in a row, and the grid of each, that show the largest images.

    Panels whose widest label takes so many pixels must fit the page beside each other.

    Of two such, the one with fewer empty places.
    """
    choices = {}
    for across in range(1, count + 1):
        down = math.ceil(count / across)
        room = PAGE[0] // across - _BETWEEN, 760 // down - _HEADER - _BETWEEN
        grid = Grid.of(panel, None, None, room)
        fits = max(grid.width, widest + _APART - _BETWEEN) <= room[0] and grid.height <= room[1]
        choices[fits, grid.zoom, -(across * down), across] = grid
    best = max(choices)
    return best[-1], choices[best]


def hidden_activities(
    probabilities: Num[AnyArray, "cases hidden"],
    *,
    title: str,
    subtitle: str | None = None,
    max_cases: int = 200,
    max_units: int = 800,
    value_range: tuple[Real, Real] = (0.0, 1.0),
) -> Figure:
    """Hidden probabilities as a grey image: one row a case, one column a unit, white is on.

    Black columns are units never used, white ones are always on, and black rows are cases that no
    unit codes (Hinton, "A practical guide to training RBMs", 2010, section 16).

    Args:
      probabilities: (N, H) of N cases, preferably in random order.
      max_cases: the first so many cases are shown.
      max_units: the first so many units are shown.
      title: what is shown.
      subtitle: how it was made.
      value_range: the values shown as black and as white.
    """
    num_cases, num_units = probabilities.shape
    levels = grey_levels(probabilities, (1, num_units), value_range, "probabilities")[:, 0]
    # Dead and saturated within 1 % of the range, which 8 bits resolve.
    off = int((levels.max(axis=0) < 2.55).sum())
    on = int((levels.min(axis=0) > 252.45).sum())
    shown = levels[: check_count("max_cases", max_cases), : check_count("max_units", max_units)]
    down, across = np.clip((PAGE[1] // 2, PAGE[0]) // np.array(shown.shape), 1, 6)
    sheet = shown.repeat(down, axis=0).repeat(across, axis=1)
    cases = _part(len(shown), num_cases, "case")
    units = _part(shown.shape[1], num_units, "hidden unit")
    labels = [
        Label(0, len(sheet) + 6, f"{units} →", "left", "top"),
        Label(-6, 0, f"← {cases}", "right", "top", rotation=90),
    ]
    note = f"white is on; {_count(off, 'unit')} off in every case, {on} on in every case"
    pixels = np.repeat(sheet[..., None], 3, axis=2)
    return picture([Placed(0, 0, pixels)], labels, title, _joined(subtitle, note))


def _weight_images(
    weights: Num[AnyArray, "visible hidden"], image_shape: Sequence[int], max_units: int
) -> tuple[np.ndarray, int]:
    """Returns the first units' weights as images, and the number of all units."""
    shape = check_image_shape(image_shape)
    if len(weights) != math.prod(shape):
        raise ValueError(
            f"weights of shape {weights.shape} do not fit image_shape={shape}: expected "
            f"({math.prod(shape)}, hidden units)"
        )
    shown = finite_values(weights, "weights").T[: check_count("max_units", max_units)]
    return shown.reshape(-1, *shape), weights.shape[1]


def _robust_limit(fields: np.ndarray) -> float:
    return float(np.percentile(np.abs(fields), 99.8)) or float(np.abs(fields).max()) or 1.0


def _diverging(fields: np.ndarray, limit: Real | np.ndarray) -> np.ndarray:
    """Returns the colours, uint8 (..., 3), of weights on a scale from −limit to limit."""
    position = (np.clip(fields / limit, -1.0, 1.0) + 1.0) / 2.0
    if fields.ndim == 4:  # (units, rows, columns, 3): grey is zero
        return np.round(255 * position).astype(np.uint8)
    return matplotlib.colormaps["RdBu_r"](position, bytes=True)[..., :3]


def _colour_bar(x: int, height: int, ends: tuple[str, str]) -> tuple[Placed, list[Label]]:
    colours = _diverging(np.linspace(1, -1, height - 2)[None, :, None], 1.0)[0]
    pixels = np.full((height, 14, 3), FRAME_GREY, np.uint8)
    pixels[1:-1, 1:-1] = colours
    places = ((0, ends[1], "top"), (height / 2, "0", "center"), (height, ends[0], "bottom"))
    return Placed(x, 0, pixels), [Label(x + 19, y, text, "left", va) for y, text, va in places]


def _part(shown: int, count: int, what: str) -> str:
    """Returns such as "12 units" or "first 12 of 1,000 units"."""
    whole = _count(count, what)
    return whole if shown == count else f"first {shown} of {whole}"


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _joined(*parts: str | None) -> str:
    return "; ".join(part for part in parts if part)
