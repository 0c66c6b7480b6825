"""Numbers side by side: grouped bars, such as the probabilities of a few states."""

import itertools
import math
from collections.abc import Mapping, Sequence
from numbers import Real

import numpy as np
from matplotlib.figure import Figure

from dbn_jax.figures.checks import AnyArray, check_labels, finite_values
from dbn_jax.figures.curves import PALETTE
from dbn_jax.figures.pages import FAINT, INK, Panels, style, text_width
from dbn_jax.typing import Num

_BAR = 19  # pixels of a bar, wide enough for the number above it
_HEIGHT = 220
_HATCHES = (None, "////", "....", "++++")  # once the colours are used up
_ROOM = 0.4  # of the height, for the numbers


def bars(
    panels: Mapping[str, Mapping[str, Num[AnyArray, " _"] | Sequence[Real]]],
    names: Sequence[str],
    *,
    title: str,
    subtitle: str | None = None,
    y_label: str | None = None,
    share_y: bool = True,
) -> Figure:
    """Bars in groups: a group for each name, in it a bar of each series, its number above it.

    A series of the same name has the same colour in all panels; after seven series the colours come
    again, hatched.

    Args:
      panels: panel to series to (N,) values; small ones can be read though not seen.
      names: N, what stands below the groups.
      title: what is shown.
      subtitle: how it was made.
      y_label: the quantity and its unit.
      share_y: whether all panels have the same scale.

    Raises:
      ValueError: for no panel or an empty one, more than 28 series, values that are not finite, or
        of another number than the names.
    """
    empty = [panel for panel, series in panels.items() if not series]
    if not panels or empty:
        raise ValueError(
            f"nothing to draw: {f'no series in panels {empty}' if empty else 'no panel'}"
        )
    drawn = {
        panel: {
            name: finite_values(np.asarray(values), f'series "{name}" of panel "{panel}"')
            for name, values in series.items()
        }
        for panel, series in panels.items()
    }
    for panel, series in drawn.items():
        for name, values in series.items():
            check_labels("names", names, len(values), f'values of "{name}" in panel "{panel}"')
    every = dict.fromkeys(name for series in drawn.values() for name in series)
    looks = list(itertools.product(_HATCHES, PALETTE))
    if len(every) > len(looks):
        raise ValueError(f"{len(every)} series: only {len(looks)} can be told apart")
    looks = dict(zip(every, looks, strict=False))
    most = max(len(series) for series in drawn.values())
    group = max(_BAR * (most + 1), *(math.ceil(text_width(name)) + 10 for name in names))
    size = (group * len(names), _HEIGHT)
    shared = [values for series in drawn.values() for values in series.values()]
    with style():
        page = Panels(len(drawn), title, subtitle, size)
        # One legend serves panels that are alike, at the end of the first row.
        alike = len({tuple(series) for series in drawn.values()}) == 1
        last = min(page.columns, len(drawn)) - 1
        for i, (axes, (panel, series)) in enumerate(zip(page.axes, drawn.items(), strict=True)):
            low, high = _limits(shared if share_y else list(series.values()))
            axes.set_ylim(low, high)
            axes.set_xlim(0, size[0])
            middles = (np.arange(len(names)) + 0.5) * group
            for k, (name, values) in enumerate(series.items()):
                places = middles + (k - (len(series) - 1) / 2) * _BAR
                hatch, colour = looks[name]
                # The hatching is in the colour of an edge that is not drawn.
                look = {"color": colour, "hatch": hatch}
                if hatch:
                    look |= {"edgecolor": "white", "linewidth": 0}
                axes.bar(places, values, _BAR - 3, label=name, **look)
                for place, value in zip(places, values, strict=True):
                    up = value >= 0
                    axes.annotate(
                        number(value),
                        (place, value),
                        (0, 3 if up else -3),
                        textcoords="offset pixels",
                        rotation=90,
                        ha="center",
                        va="bottom" if up else "top",
                        color=INK,
                    )
            axes.axhline(0, color=FAINT, linewidth=0.6)
            axes.set_xticks(middles, names)
            axes.tick_params("x", length=0)
            axes.set_title(panel)
            if y_label is not None and i % page.columns == 0:
                axes.set_ylabel(y_label)
            if list(series) != [panel] and (i == last or not alike):
                axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
        return page.arrange()


def _limits(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """The y axis: from 0 or below to 0 or above, with room for the numbers."""
    low = min(0.0, *(float(v.min()) for v in values))
    high = max(0.0, *(float(v.max()) for v in values))
    room = _ROOM * max(high - low, 1e-9)
    return (low - room if low < 0 else 0.0), (high + room if high > 0 or low == 0 else 0.0)


def number(value: Real) -> str:
    """Three significant digits, powers of ten only where they are needed."""
    return f"{value:.3g}".replace("-", "−")
