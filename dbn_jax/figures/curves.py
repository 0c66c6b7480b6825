"""Numbers as lines and bars: learning curves, histograms, and the file that curves come from."""

import csv
import itertools
import math
import os
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dbn_jax.figures.checks import AnyArray, check_count, finite_values
from dbn_jax.figures.pages import BLUE, DEVICE_PIXELS, FONT_PIXELS, INK, Panels, style
from dbn_jax.typing import Num

_Values = Sequence[Real] | AnyArray

PALETTE = (BLUE, "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES = ("solid", (0, (5, 2)), (0, (1.5, 1.5)))
_GRID = "#dddddd"


def learning_curves(
    curves: Mapping[str, Mapping[str, tuple[_Values, _Values]]],
    *,
    title: str,
    x_label: str,
    subtitle: str | None = None,
    log_x: bool = False,
    log_y: Sequence[str] = (),
) -> Figure:
    """Quantities over time: one panel for each quantity, its lines labelled where they end.

    A line of the same name has the same colour in all panels. The label of a line that is named
    like its panel, and is alone in it, is left out. A line that ends in infinity stops where it
    leaves the numbers, and its label says so; a number between infinities is a point.

    Args:
      curves: panel to line name to (x, y), such as {"reconstruction error": {"train": (epochs,
        errors)}}. NaNs in y, as `read_metrics` gives for empty cells, are left out.
      x_label: the quantity and unit of all x axes.
      log_x: whether the x axes are logarithmic.
      log_y: the panels whose y axis is logarithmic.
      title: what is shown.
      subtitle: how it was made.

    Raises:
      ValueError: for no panel or an empty one, a line with nothing to draw, x and y of different
        lengths, an unknown panel in `log_y`, or numbers that a logarithmic axis cannot show.
    """
    empty = [panel for panel, lines in curves.items() if not lines]
    if not curves or empty:
        raise ValueError(
            f"nothing to draw: {f'no line in panels {empty}' if empty else 'no panel'}"
        )
    unknown = set(log_y) - set(curves)
    if unknown:
        raise ValueError(f"log_y names {sorted(unknown)}, but the panels are {list(curves)}")
    names = dict.fromkeys(name for lines in curves.values() for name in lines)
    looks = dict(zip(names, itertools.cycle(itertools.product(_DASHES, PALETTE))))
    with style():
        panels = Panels(len(curves), title, subtitle)
        for axes, (panel, lines) in zip(panels.axes, curves.items(), strict=True):
            points = {
                name: _points(x, y, f'line "{name}" of panel "{panel}"', log_x, panel in log_y)
                for name, (x, y) in lines.items()
            }
            axes.grid(axis="y", color=_GRID, linewidth=0.6)
            axes.set_xscale("log" if log_x else "linear")
            axes.set_yscale("log" if panel in log_y else "linear")
            ends = []
            for name, (x, y) in points.items():
                dash, colour = looks[name]
                finite = np.isfinite(y)
                marked = None if len(x) <= 12 else np.flatnonzero(_alone(finite)).tolist()
                axes.plot(x, y, color=colour, linestyle=dash, marker="o", markevery=marked)
                label = name if finite[-1] else f"{name} (infinite at the end)"
                if list(lines) != [panel] or not finite[-1]:
                    ends.append(_End(y[finite][-1], label, colour, dash))
            if not log_x and all((x == np.round(x)).all() for x, _ in points.values()):
                axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
            axes.set_xlabel(x_label)
            axes.set_title(panel)
            _label_ends(axes, ends)
        return panels.arrange()


def _points(
    x: _Values, y: _Values, what: str, log_x: bool, log_y: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the points of a line that are there, or says why there are none."""
    x, y = (np.asarray(values, dtype=np.float64) for values in (x, y))
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"{what}: x has shape {x.shape} and y {y.shape}: expected equal lengths")
    x, y = x[~np.isnan(y)], y[~np.isnan(y)]
    if not np.isfinite(x).all() or not np.isfinite(y).any():
        raise ValueError(f"{what}: nothing to draw: x must be finite, and y somewhere a number")
    for name, values, logarithmic in (("x", x, log_x), ("y", y, log_y)):
        if logarithmic and (values <= 0).any():
            raise ValueError(
                f"{what}: {name} goes down to {values.min():g}, which a logarithmic axis cannot "
                f"show: draw it without log_{name}"
            )
    return x, y


def _alone(finite: np.ndarray) -> np.ndarray:
    """Returns which points have no finite neighbour, to which a line could be drawn."""
    before, after = np.pad(finite, 1)[:-2], np.pad(finite, 1)[2:]
    return finite & ~before & ~after


class _End(NamedTuple):
    """Where a line ends, and how its label looks."""

    y: Real
    text: str
    colour: str
    dash: object


def _label_ends(axes: Axes, ends: Sequence[_End]) -> None:
    """Writes each line's name at the right of the axes, at its last value, none over another."""
    axes.autoscale_view()
    ends = sorted(ends, key=lambda end: end.y)
    bottom, top = axes.get_window_extent().intervaly
    heights = [axes.transData.transform((1, end.y))[1] for end in ends]
    heights = [(height - bottom) / (top - bottom) for height in heights]
    line = 1.25 * FONT_PIXELS["label"] * DEVICE_PIXELS / (top - bottom)
    outside = {"transform": axes.transAxes, "clip_on": False}
    for end, height, place in zip(ends, heights, _spread(heights, line), strict=True):
        style = {"color": end.colour, "linestyle": end.dash, "linewidth": 0.9}
        axes.plot((1.01, 1.05), (height, place), **style, **outside)
        axes.text(1.06, place, end.text, va="center_baseline", color=end.colour, **outside)


def _spread(heights: Sequence[Real], distance: Real) -> list[float]:
    """Returns ascending heights moved as little as possible (least squares) to that distance.

    Less the distance, the heights must not decrease: an isotonic regression, solved by pooling.
    """
    blocks: list[list[float]] = []
    for index, height in enumerate(heights):
        blocks.append([height - index * distance])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    levels = [float(np.mean(block)) for block in blocks for _ in block]
    return [level + index * distance for index, level in enumerate(levels)]


def histograms(
    arrays: Mapping[str, Num[AnyArray, "..."]],
    *,
    title: str,
    subtitle: str | None = None,
    num_bins: int = 60,
) -> Figure:
    """How weights, biases and their updates are distributed: one panel an array.

    Updates should be about a thousandth of the weights (Hinton, "A practical guide to training
    RBMs", 2010, section 7): the standard deviation in each panel lets one compare.

    Args:
      arrays: name to array, of any shape.
      num_bins: bars in a panel, from the smallest value to the largest.
      title: what is shown.
      subtitle: how it was made.
    """
    if not arrays:
        raise ValueError("arrays is empty: give at least one name with its array")
    with style():
        panels = Panels(len(arrays), title, subtitle)
        for axes, (name, values) in zip(panels.axes, arrays.items(), strict=True):
            values = finite_values(values, f'"{name}"').ravel()
            scale = _scale(values)
            values = values / scale
            counts, edges = _count(values, check_count("num_bins", num_bins))
            axes.stairs(counts, edges, fill=True, color=PALETTE[0])
            axes.set_ylim(0, 1.05 * counts.max())
            if edges[0] < 0 < edges[-1]:
                axes.axvline(0, color=INK, linewidth=0.6)
            axes.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
            axes.xaxis.set_major_formatter(lambda value, _, scale=scale: _number(value, scale))
            axes.yaxis.set_visible(False)  # the shape matters; the title counts the values
            axes.spines.left.set_visible(False)
            axes.set_title(f"{name} ({values.size:,})")
            mean, deviation = _number(values.mean(), scale), _number(values.std(), scale)
            axes.set_xlabel(f"mean {mean}, s.d. {deviation}")
        return panels.arrange()


def _scale(values: np.ndarray) -> float:
    """Returns 1, or a power of ten by which values must be divided lest their squares overflow."""
    largest = float(np.abs(values).max())
    if largest == 0 or 1e-100 <= largest <= 1e100:
        return 1.0
    return 10.0 ** max(-300, math.floor(math.log10(largest)))


def _count(values: np.ndarray, num_bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the counts of the values in the bins, and the edges of these."""
    try:
        return np.histogram(values, num_bins)
    except ValueError:  # so close to each other that there are no numbers for edges between them
        reach = np.abs(values).max() / 2
        return np.histogram(values, num_bins, (values.min() - reach, values.max() + reach))


def _number(value: Real, scale: Real) -> str:
    return f"{float(value) * scale:.2g}".replace("-", "−")


def read_metrics(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the metrics.csv of a run.

    Args:
      path: a CSV file: a header of names, then rows of numbers, where a cell may be empty.

    Returns:
      Column name to float64 array, one entry a row, NaN for an empty cell.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for a file without header, a column named twice, a row of another length, and a
        cell that is not a number; the line is named.
    """
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        if not header or len(set(header)) < len(header):
            raise ValueError(f"{path}, line 1: expected a header of distinct names, got {header}")
        rows = [_numbers(row, header, f"{path}, line {reader.line_num}") for row in reader]
    columns = np.array(rows, dtype=np.float64).reshape(len(rows), len(header)).T
    return dict(zip(header, columns, strict=True))


def _numbers(row: Sequence[str], header: Sequence[str], where: str) -> list[float]:
    if len(row) != len(header):
        raise ValueError(f"{where}: {len(row)} cells, but the header names {len(header)} columns")
    numbers = []
    for name, cell in zip(header, row, strict=True):
        try:
            numbers.append(float(cell) if cell.strip() else math.nan)
        except ValueError:
            raise ValueError(f'{where}, column "{name}": {cell!r} is not a number') from None
    return numbers
