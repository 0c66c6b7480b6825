"""What a model has learnt: its weights as images, how they grew, and what its hidden units do."""

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from dbn_jax.figures.checks import (
    AnyArray,
    as_images,
    check_count,
    check_labels,
    finite_values,
    grey_levels,
)
from dbn_jax.figures.grid import FRAME_GREY, PAGE, Grid, columns_for, framed
from dbn_jax.figures.pages import FAINT, Page, counted, sheet, text_width, thinned
from dbn_jax.typing import Num, Real

_HEADER, _BETWEEN = 22, 18  # pixels above and between the panels of a development
_APART = 8  # pixels between their labels, at least
_ORDERED = "units in an order that brings strong weights near the diagonal"
_MOST = (200, 800)  # cases and units whose activities are shown


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

    With three channels a weight shifts its channel away from mid-grey, which is zero. Weights may
    be any other V-dimensional features, as columns; the first `max_units` are shown.

    Args:
      scale: "common" compares units; "unit" gives each its own scale and compares shapes.
      limit: the weight that has the full colour, on the common scale; by default the 99.8th
        percentile of the absolute weights, so that a few outliers do not pale the rest.
    """
    if scale not in ("common", "unit"):
        raise ValueError(f'scale="{scale}": expected "common" or "unit"')
    if limit is not None and (scale != "common" or not 0 < limit < math.inf):
        raise ValueError(f'limit={limit}: a positive number, and only with scale="common"')
    shown = weights.T[: check_count("max_units", max_units)]
    fields = as_images(shown, image_shape, "transposed weights")
    if scale == "common":
        limits = limit if limit is not None else _robust_limit(fields)
        ends = _ends(limits, np.abs(fields).max())
        scaled = "one scale for all"
    else:
        limits = np.abs(fields).max(axis=tuple(range(1, fields.ndim)), keepdims=True)
        limits = np.where(limits > 0, limits, 1.0)
        ends = ("−max", "+max")
        scaled = "each on its own scale"
    if fields.ndim == 4:
        scaled += f": grey is zero, a dark channel {ends[0]}, a bright one {ends[1]}"
    tiles = _diverging(fields, limits)
    grid = Grid.of(tiles, columns, zoom)
    note = f"{counted(len(tiles), weights.shape[1], 'units')}, {scaled}"
    with sheet(title, subtitle, note) as page:
        page.image(0, 0, grid.draw(tiles))
        if fields.ndim == 3:
            _draw_scale(page, grid.width + 16, min(160, max(64, grid.height)), ends)
    return page.figure


def development(
    snapshots: Num[AnyArray, "snapshots visible hidden"],
    *,
    image_shape: Sequence[int],
    labels: Sequence[str],
    title: str,
    subtitle: str | None = None,
) -> Figure:
    """How weight images grow from their random start: one panel a snapshot, in reading order.

    Each panel has its own scale, which stands in its label, so that the small start is seen.

    Its label is the time of a snapshot, such as "update 40". A hidden unit has the same place in
    every panel.
    """
    if len(snapshots) == 0:
        raise ValueError("snapshots are empty: give at least one (V, H) array of weights")
    check_labels("labels", labels, len(snapshots), "snapshots")
    panels = [as_images(weights.T, image_shape, "transposed weights") for weights in snapshots]
    limits = [_robust_limit(fields) for fields in panels]
    texts = [f"{text}  (±{limit:.2g})" for text, limit in zip(labels, limits, strict=True)]
    across = columns_for(len(panels))
    down = math.ceil(len(panels) / across)
    room = PAGE[0] // across - _BETWEEN, 760 // down - _HEADER - _BETWEEN
    grid = Grid.of(panels[0], None, None, room)
    pitch = max(grid.width + _BETWEEN, math.ceil(max(map(text_width, texts))) + _APART)
    with sheet(title, subtitle, "full colour is the weight in brackets") as page:
        for index, (fields, limit, text) in enumerate(zip(panels, limits, texts, strict=True)):
            x = index % across * pitch
            y = index // across * (grid.height + _HEADER + _BETWEEN)
            page.image(x, y, grid.draw(_diverging(fields, limit)))
            page.text(x, y - 5, text, "left", "bottom")
    return page.figure


def motion_fields(
    weights: Num[AnyArray, "delays visible units"],
    *,
    image_shape: Sequence[int],
    title: str,
    subtitle: str | None = None,
    delays: Sequence[int] | None = None,
    max_units: int = 36,
    columns: int | None = None,
    zoom: int | None = None,
) -> Figure:
    """The weights of each unit to the last frames as images in a row, the oldest first.

    Red excites, blue inhibits, white is zero. Each unit has its own scale, one for all its frames.
    The first `max_units` are shown, `columns` of them side by side.

    Args:
      delays: how many frames ago the frame is that each array of weights reads; by default 1, 2, ….
    """
    order, _, num_units = weights.shape
    delays = list(range(1, order + 1)) if delays is None else list(delays)
    check_labels("delays", delays, order, "arrays of weights")
    oldest_first = np.argsort(delays)[::-1]
    shown = np.asarray(weights)[oldest_first, :, : check_count("max_units", max_units)]
    num_shown = shown.shape[2]
    flat = shown.transpose(2, 0, 1).reshape(num_shown * order, -1)
    fields = as_images(flat, image_shape, "weights to the frames")
    limits = np.abs(fields).reshape(num_shown, -1).max(axis=1).repeat(order)
    tiles = _diverging(fields, np.where(limits > 0, limits, 1.0)[:, None, None])
    if columns is None:
        columns = max(1, round(math.sqrt(1.5 * num_shown / order)))
    columns = min(check_count("columns", columns), num_shown)
    rows = math.ceil(num_shown / columns)
    room = PAGE[0] // columns - _BETWEEN, PAGE[1] // rows - _APART
    grid = Grid.of(tiles[:order], order, zoom, room)
    names = [f"t − {delays[k]}" if delays[k] else "t" for k in oldest_first]
    note = f"{counted(num_shown, num_units, 'units')}, each on its own scale"
    with sheet(title, subtitle, note) as page:
        for unit in range(num_shown):
            x = unit % columns * (grid.width + _BETWEEN)
            y = unit // columns * (grid.height + _APART)
            page.image(x, y, grid.draw(tiles[unit * order : (unit + 1) * order]))
            if y == 0:
                for k, name in thinned(names, grid.pitch[1]):
                    page.text(x + grid.centre(0, k)[1], -5, name, "center", "bottom", color=FAINT)
    return page.figure


def recurrent_weights(
    weights: Num[AnyArray, "before after"],
    *,
    title: str,
    subtitle: str | None = None,
    limit: Real | None = None,
) -> Figure:
    """The weights from all units at t − 1 (rows) to the same units at t (columns), by colour.

    Rows and columns have the same order, in which units with strong weights between them are
    neighbours: that of the second eigenvector of the normalised Laplacian of the squared weights
    (Shi and Malik, "Normalized cuts and image segmentation", 2000). A chain in which each unit
    drives the next is then a line beside the diagonal, a group a square.

    Args:
      limit: the weight that has the full colour; by default the 99.8th percentile.
    """
    weights = finite_values(weights, "weights")
    if weights.ndim != 2 or weights.shape[0] != weights.shape[1]:
        raise ValueError(f"weights of shape {weights.shape}: expected (units, units)")
    if limit is not None and not 0 < limit < math.inf:
        raise ValueError(f"limit={limit}: expected a positive number")
    order = _seriation(weights)
    limit = _robust_limit(weights) if limit is None else limit
    tile = framed(_diverging(weights[np.ix_(order, order)], limit), max(1, 560 // len(weights)))
    with sheet(title, subtitle, _ORDERED) as page:
        page.image(0, 0, tile)
        page.text(0, -5, "to units at t →", "left", "bottom")
        page.text(-6, 0, "← from units at t − 1", "right", "top", rotation=90)
        ends = _ends(limit, np.abs(weights).max())
        _draw_scale(page, tile.shape[1] + 16, min(160, len(tile)), ends)
    return page.figure


def hidden_activities(
    probabilities: Num[AnyArray, "cases hidden"],
    *,
    title: str,
    subtitle: str | None = None,
    value_range: tuple[Real, Real] = (0.0, 1.0),
) -> Figure:
    """Hidden probabilities as a grey image: one row a case, one column a unit, white is on.

    Black columns are units never used, white ones are always on, and black rows are cases that no
    unit codes (Hinton, "A practical guide to training RBMs", 2010, section 16). Cases should be in
    random order: the first 200 are shown, of 800 units.
    """
    num_cases, num_units = probabilities.shape
    levels = grey_levels(probabilities, (1, num_units), value_range, "probabilities")[:, 0]
    # Dead and saturated within 1 % of the range, which 8 bits resolve.
    off = int((levels.max(axis=0) < 2.55).sum())
    on = int((levels.min(axis=0) > 252.45).sum())
    shown = levels[: _MOST[0], : _MOST[1]]
    down, across = np.clip((PAGE[1] // 2, PAGE[0]) // np.array(shown.shape), 1, 6)
    enlarged = shown.repeat(down, axis=0).repeat(across, axis=1)
    note = f"white is on; units off in every case: {off}; on in every case: {on}"
    with sheet(title, subtitle, note) as page:
        page.image(0, 0, np.repeat(enlarged[..., None], 3, axis=2))
        units = f"{counted(shown.shape[1], num_units, 'hidden units')} →"
        page.text(0, len(enlarged) + 6, units, "left", "top")
        cases = f"← {counted(len(shown), num_cases, 'cases')}"
        page.text(-6, 0, cases, "right", "top", rotation=90)
    return page.figure


def _robust_limit(fields: np.ndarray) -> float:
    return float(np.percentile(np.abs(fields), 99.8)) or float(np.abs(fields).max()) or 1.0


def _diverging(fields: np.ndarray, limit: Real | np.ndarray) -> np.ndarray:
    """The colours, uint8 (..., 3), of weights on a scale from −limit to limit."""
    position = (np.clip(fields / limit, -1.0, 1.0) + 1.0) / 2.0
    if fields.ndim == 4:  # (units, rows, columns, 3): grey is zero
        return np.round(255 * position).astype(np.uint8)
    return matplotlib.colormaps["RdBu_r"](position, bytes=True)[..., :3]


def _ends(limit: Real, strongest: Real) -> tuple[str, str]:
    """What stands at both ends of a scale, beyond which the strongest weight may be."""
    low, high = ("≤ −", "≥ ") if strongest > limit else ("−", "+")
    return f"{low}{limit:.2g}", f"{high}{limit:.2g}"


def _seriation(weights: np.ndarray) -> np.ndarray:
    """The order of units; of it and its reverse, the one with more weight above the diagonal."""
    strengths = weights**2 + weights.T**2
    np.fill_diagonal(strengths, 0)
    total = strengths.sum() or 1.0
    roots = np.sqrt(
        strengths.sum(axis=0) + 1e-9 * total
    )  # units without weights have a degree, too
    second = np.linalg.eigh(strengths / np.outer(roots, roots))[1][:, -2]
    order = np.argsort(second / roots, kind="stable")
    squares = weights[np.ix_(order, order)] ** 2
    return order if np.triu(squares).sum() >= np.tril(squares).sum() else order[::-1]


def _draw_scale(page: Page, x: int, height: int, ends: tuple[str, str]) -> None:
    pixels = np.full((height, 14, 3), FRAME_GREY, np.uint8)
    pixels[1:-1, 1:-1] = _diverging(np.linspace(1, -1, height - 2)[None, :, None], 1.0)[0]
    page.image(x, 0, pixels)
    page.text(x + 19, 0, ends[1], "left", "top")
    page.text(x + 19, height / 2, "0", "left", "center")
    page.text(x + 19, height, ends[0], "left", "bottom")
