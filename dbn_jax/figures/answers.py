"""What a classifier answers: which classes it confuses; whether it is as right as it is sure."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from dbn_jax.figures.checks import AnyArray, check_labels, finite_values
from dbn_jax.figures.pages import (
    BLUE,
    FAINT,
    INK,
    Label,
    Panels,
    Placed,
    picture,
    style,
    text_width,
)
from dbn_jax.typing import Num

_SPACE = 8  # pixels between the cells and what is written beside them
_DARKEST = 105  # grey levels taken off the paper; black text must stay readable on it


def confusion_matrix(
    counts: Num[AnyArray, "_ _"],
    *,
    title: str,
    subtitle: str | None = None,
    names: Sequence[str] | None = None,
) -> Figure:
    """How often examples of each class, in rows, were taken for each class, in columns.

    Errors are shaded by their number; the diagonal is left white, so that rare confusions show.
    At the right of each row stands its share of errors.

    Args:
      counts: (L, L) whole numbers.
      title: what is shown.
      subtitle: how it was made.
      names: of the classes; by default their numbers.

    Raises:
      ValueError: for counts that are not square, not finite or negative, or names of another
        number.
    """
    counts = np.asarray(counts)
    size = len(counts)
    if counts.shape != (size, size) or not size:
        raise ValueError(f"counts has shape {counts.shape}: expected (classes, classes)")
    if finite_values(counts, "counts").min() < 0:
        raise ValueError(f"counts go down to {counts.min()}: expected numbers of examples")
    names = [str(label) for label in range(size)] if names is None else names
    check_labels("names", names, size, "classes")
    errors = counts * (1 - np.eye(size, dtype=counts.dtype))
    shades = 255 - _DARKEST * errors / max(errors.max(), 1)
    side = max(34, 2 * _SPACE + math.ceil(text_width(f"{counts.max():,}")))
    cells = shades.round().astype(np.uint8).repeat(side, axis=0).repeat(side, axis=1)
    for line in range(1, size):  # between the cells
        cells[line * side, :] = cells[:, line * side] = 225
    middle = [(i + 0.5) * side for i in range(size)]
    labels = [
        Label(-_SPACE, -_SPACE, "true ↓  answer →", "right", "bottom", FAINT),
        Label(size * side + _SPACE, -_SPACE, "wrong", "left", "bottom", FAINT),
    ]
    # Names that would touch stand upright above their columns.
    rotation = 90 if max(map(text_width, names)) + 4 > side else 0
    for name, place, row, wrong in zip(names, middle, counts, errors, strict=True):
        labels.append(Label(-_SPACE, place, name, "right", "center"))
        labels.append(Label(place, -_SPACE, name, "center", "bottom", rotation=rotation))
        if row.sum():
            share = f"{wrong.sum() / row.sum():.1%}"
            labels.append(Label(size * side + _SPACE, place, share, "left", "center"))
    for (i, y), (j, x) in itertools.product(enumerate(middle), repeat=2):
        if counts[i, j]:
            colour = FAINT if i == j else INK
            labels.append(Label(x, y, f"{counts[i, j]:,}", "center", "center", colour))
    framed = np.pad(cells, 1, constant_values=150)
    return picture([Placed(-1, -1, framed[:, :, None].repeat(3, axis=2))], labels, title, subtitle)


def reliability(
    confidence: Num[AnyArray, " _"],
    share_right: Num[AnyArray, " _"],
    counts: Num[AnyArray, " _"],
    *,
    title: str,
    subtitle: str | None = None,
) -> Figure:
    """Whether a classifier is as often right as it is sure, and how many answers are how sure.

    Bars are Wilson's 95% intervals for the share that is right: where one reaches the dashed line,
    the classifier may be as good as it says.

    Args:
      confidence: (B,) the mean probability of the answers in each bin.
      share_right: (B,) the share of them that is right.
      counts: (B,) how many they are, at least 1.
      title: what is shown.
      subtitle: how it was made.

    Raises:
      ValueError: for arrays of different lengths, counts below 1, and confidences or shares that
        are not between 0 and 1.
    """
    x, p, n = (np.asarray(values, np.float64) for values in (confidence, share_right, counts))
    if not len(x) == len(p) == len(n):
        raise ValueError(
            f"confidence, share_right and counts have different lengths: {len(x)}, {len(p)} and "
            f"{len(n)}"
        )
    for name, values in (("confidence", x), ("share_right", p), ("counts", n)):
        finite_values(values, name)
    if n.min() < 1:
        raise ValueError(f"counts must be at least 1, and are {counts}")
    for name, values in (("confidence", x), ("share_right", p)):
        # Rounding, of float32 as well, may leave the range.
        if values.min() < -1e-4 or values.max() > 1 + 1e-4:
            raise ValueError(f"{name} must be between 0 and 1, and is {values}")
    x, p = x.clip(0, 1), p.clip(0, 1)
    z = 1.96
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    with style():
        panels = Panels(2, title, subtitle)
        shares, sizes = panels.axes
        shares.plot((0, 1), (0, 1), color=FAINT, linestyle=(0, (5, 3)), linewidth=0.9)
        bars = np.stack([p - middle + half, middle + half - p]).clip(0)  # rounding at 0 and 1
        shares.errorbar(x, p, bars, fmt="o", color=BLUE, markersize=4, elinewidth=1)
        shares.set_title("share that is right")
        shares.set_ylim(-0.02, 1.02)
        shares.yaxis.set_major_formatter(PercentFormatter(1))
        sizes.vlines(x, 0.5, n, color=BLUE, linewidth=5)
        sizes.set_title("answers")
        sizes.set_yscale("log")
        sizes.set_ylim(0.5, 2 * n.max())
        sizes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        for axes in panels.axes:
            axes.set_xlim(-0.02, 1.02)
            axes.xaxis.set_major_formatter(PercentFormatter(1))
            axes.set_xlabel("confidence: the probability of the answer")
        return panels.arrange()
