"""Numbers as lines, bars and histograms."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dbn_jax.figures import pages
from dbn_jax.figures.checks import check_filled, check_labels, finite_values
from dbn_jax.figures.pages import FAINT, GRID, INK, PALETTE
from dbn_jax.typing import AnyArray, Num, Real

_Values = Sequence[Real] | AnyArray

_DASHES = ("solid", (0, (5, 2)), (0, (1.5, 1.5)))
_FEW = 12  # points of a line that are marked
_BAR = 19  # pixels of a bar, wide enough for the number above it
_ROOM = 0.35  # of the bars' height, for the numbers


def learning_curves(
    curves: Mapping[str, Mapping[str, tuple[_Values, ...]]],
    *,
    title: str,
    x_label: str,
    subtitle: str | None = None,
    log_x: bool = False,
    log_y: Sequence[str] = (),
    shares: Sequence[str] = (),
) -> Figure:
    """Quantities over time: one panel for each quantity.

    A line of the same name looks the same in all panels. One that is named like its panel, and is
    alone in it, needs no legend. A line that ends in infinity stops where it leaves the numbers,
    and the panel's name says so; a number between infinities is a point. The axis of quantities
    between 0 and 1, such as probabilities, does not go beyond these.

    Args:
      curves: panel to line name to (x, y), such as {"reconstruction error": {"train": (epochs,
        errors)}}. NaNs in y, as for empty cells of a table, are left out. A third array are
        standard errors of y, drawn as a band of one to each side.
      log_y: the panels whose y axis is logarithmic.
      shares: the panels whose y axis is in percent, such as error rates; 1 is 100 %.
    """
    check_filled(curves, "line")
    for what, panels in (("log_y", log_y), ("shares", shares)):
        if unknown := set(panels) - set(curves):
            raise ValueError(f"{what} names {sorted(unknown)}, but the panels are {list(curves)}")
    drawn = {
        panel: {
            name: _points(f'line "{name}" of panel "{panel}"', log_x, panel in log_y, *line)
            for name, line in lines.items()
        }
        for panel, lines in curves.items()
    }
    looks = dict(zip(_names(curves), itertools.cycle(itertools.product(_DASHES, PALETTE))))
    with pages.style():
        legend = [
            Line2D([], [], linestyle=looks[name][0], color=looks[name][1], label=name)
            for name in _in_legend(curves)
        ]
        headings = [_heading(panel, lines) for panel, lines in drawn.items()]
        figure, grid = pages.panels(headings, title, subtitle, legend=legend)
        for axes, (panel, lines) in zip(grid, drawn.items(), strict=True):
            axes.grid(axis="y", color=GRID, linewidth=0.6)
            axes.set_xscale("log" if log_x else "linear")
            axes.set_yscale("log" if panel in log_y else "linear")
            axes.set_xlabel(x_label)
            for name, (x, y, error) in lines.items():
                dash, colour = looks[name]
                if error.any():
                    axes.fill_between(x, y - error, y + error, color=colour, alpha=0.2, lw=0)
                (line,) = axes.plot(x, y, color=colour, linestyle=dash, clip_on=False)
                line.set(marker="o", markevery=_marked(y))
            if all((x == np.round(x)).all() for x, _, _ in lines.values()):
                axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
                if not log_x:
                    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
            if panel in shares:
                axes.yaxis.set_major_formatter(PercentFormatter(1))
            found = np.concatenate([y[np.isfinite(y)] for _, y, _ in lines.values()])
            if panel not in log_y and found.min() >= 0 and found.max() <= 1:
                low, high = axes.get_ylim()
                axes.set_ylim(max(low, 0), min(high, 1))
    return figure


def bars(
    panels: Mapping[str, Mapping[str, Num[AnyArray, " _"] | Sequence[Real]]],
    names: Sequence[str],
    *,
    title: str,
    subtitle: str | None = None,
    y_label: str | None = None,
) -> Figure:
    """Bars in groups: a group for each name, in it a bar of each series, its number above it.

    A series of the same name has the same colour in all panels, which are panel to series to
    values. All panels have the same scale, and the axis ends where the bars do.
    """
    check_filled(panels, "series")
    drawn = {panel: {} for panel in panels}
    for panel, series in panels.items():
        for name, values in series.items():
            what = f'series "{name}" of panel "{panel}"'
            drawn[panel][name] = finite_values(np.asarray(values), what)
            check_labels("names", names, len(values), f"values in {what}")
    colours = dict(zip(_names(drawn), PALETTE, strict=False))
    if missing := _names(drawn)[len(PALETTE) :]:
        raise ValueError(f"no colours are left for series {missing}: draw {len(PALETTE)} at most")
    most = max(len(series) for series in drawn.values())
    group = max(_BAR * (most + 1), *(pages.text_width(name) + 10 for name in names))
    width = max(group * len(names), *(pages.text_width(panel, "panel") for panel in drawn))
    with pages.style():
        legend = [Patch(color=colours[name], label=name) for name in _in_legend(drawn)]
        figure, grid = pages.panels(list(drawn), title, subtitle, (width + 70, 300), legend)
        every = [0, *(v for series in drawn.values() for values in series.values() for v in values)]
        low, high = min(every), max(every)
        for axes, series in zip(grid, drawn.values(), strict=True):
            axes.sharey(grid[0])
            axes.margins(y=_ROOM)
            for k, (name, values) in enumerate(series.items()):
                places = np.arange(len(names)) + (k - (len(series) - 1) / 2) / (most + 1)
                made = axes.bar(places, values, 0.85 / (most + 1), color=colours[name])
                axes.bar_label(made, [_number(v, 3) for v in values], rotation=90, padding=2)
            axes.axhline(0, color=FAINT, linewidth=0.6)
            axes.spines.bottom.set_visible(False)
            axes.spines.left.set_bounds(low, high)
            axes.set_xticks(range(len(names)), names)
            axes.tick_params("x", length=0)
            place = axes.get_subplotspec()
            if y_label is not None and place is not None and place.is_first_col():
                axes.set_ylabel(y_label)
        slack = 0.01 * (high - low)
        grid[0].set_yticks([t for t in grid[0].get_yticks() if low - slack <= t <= high + slack])
    return figure


def histograms(
    arrays: Mapping[str, Num[AnyArray, "..."]], *, title: str, subtitle: str | None = None
) -> Figure:
    """How weights, biases and their updates are distributed: one panel an array.

    Updates should be about a thousandth of the weights (Hinton, "A practical guide to training
    RBMs", 2010, section 7): the standard deviation in each panel lets one compare.
    """
    if not arrays:
        raise ValueError("arrays is empty: give at least one name with its array")
    drawn = {name: finite_values(array, f'"{name}"').ravel() for name, array in arrays.items()}
    with pages.style():
        headings = [f"{name} ({x.size:,})" for name, x in drawn.items()]
        figure, grid = pages.panels(headings, title, subtitle)
        for axes, x in zip(grid, drawn.values(), strict=True):
            # Bins need room between their edges, which equal values do not have.
            reach = np.abs(x).max()
            pad = 0 if np.ptp(x) > 1e-9 * reach else reach / 2 or 0.5
            counts, edges = np.histogram(x, 60, (x.min() - pad, x.max() + pad))
            axes.stairs(counts, edges, fill=True, color=PALETTE[0])
            axes.set_ylim(0, 1.05 * counts.max())
            if edges[0] < 0 < edges[-1]:
                axes.axvline(0, color=INK, linewidth=0.6)
            axes.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
            axes.xaxis.set_major_formatter(lambda value, _: _number(value, 2))
            axes.yaxis.set_visible(False)  # the shape matters; the title counts the values
            axes.spines.left.set_visible(False)
            axes.set_xlabel(f"mean {_number(x.mean(), 2)}, s.d. {_number(x.std(), 2)}")
    return figure


def _points(
    what: str, log_x: bool, log_y: bool, x: _Values, y: _Values, error: _Values | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The points of a line that are there, and their errors; a ValueError says why none are."""
    x, y = (np.asarray(values, dtype=np.float64) for values in (x, y))
    error = np.zeros(y.shape) if error is None else np.asarray(error, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"{what}: x has shape {x.shape} and y {y.shape}: expected equal lengths")
    if error.shape != y.shape or not (error[~np.isnan(y)] >= 0).all():
        raise ValueError(
            f"{what}: expected a standard error of 0 or more for each of {len(y)} points"
        )
    x, y, error = (values[~np.isnan(y)] for values in (x, y, error))
    if not np.isfinite(x).all() or not np.isfinite(y).any():
        raise ValueError(f"{what}: nothing to draw: x must be finite, and y somewhere a number")
    for name, values, logarithmic in (("x", x, log_x), ("y", y, log_y)):
        if logarithmic and (values <= 0).any():
            raise ValueError(
                f"{what}: {name} goes down to {values.min():g}, which a logarithmic axis cannot "
                f"show: draw it without log_{name}"
            )
    return x, y, error


def _names(panels: Mapping[str, Mapping[str, object]]) -> list[str]:
    """The names in all panels, each once."""
    return list(dict.fromkeys(name for series in panels.values() for name in series))


def _in_legend(panels: Mapping[str, Mapping[str, object]]) -> list[str]:
    """The names but for one that is alone in a panel of its own name."""
    return _names({panel: series for panel, series in panels.items() if [*series] != [panel]})


def _heading(panel: str, lines: Mapping[str, tuple[np.ndarray, ...]]) -> str:
    diverged = ", ".join(name for name, (_, y, _) in lines.items() if not np.isfinite(y[-1]))
    return f"{panel} ({diverged}: infinite at the end)" if diverged else panel


def _marked(y: np.ndarray) -> list[int]:
    """Which points are marked: a few, or those that no line leads to."""
    finite = np.isfinite(y)
    before, after = np.pad(finite, 1)[:-2], np.pad(finite, 1)[2:]
    return np.flatnonzero(finite if len(y) <= _FEW else finite & ~before & ~after).tolist()


def _number(value: Real, digits: int) -> str:
    """That many significant digits, powers of ten only where they are needed."""
    return f"{value:.{digits}g}".replace("-", "−")
