"""What a classifier answers: which classes it confuses; whether it is as right as it is sure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from dbn_jax.figures import pages
from dbn_jax.figures.checks import check_labels, finite_values
from dbn_jax.figures.pages import BLUE, FAINT, GRID, INK
from dbn_jax.typing import AnyArray, Num


def confusion_matrix(
    counts: Num[AnyArray, "_ _"],
    *,
    title: str,
    subtitle: str | None = None,
    names: Sequence[str] | None = None,
) -> Figure:
    """How often examples of each class, in rows, were taken for each class, in columns.

    Errors are shaded by their number; the diagonal is left white, so that rare confusions show.
    At the right of each row stands its share of errors. Counts are whole numbers. The classes have
    numbers from 0, or names.
    """
    counts = np.asarray(counts)
    size = len(counts)
    if counts.shape != (size, size) or not size:
        raise ValueError(f"counts has shape {counts.shape}: expected (classes, classes)")
    if finite_values(counts, "counts").min() < 0:
        raise ValueError(f"counts go down to {counts.min()}: expected numbers of examples")
    names = list(map(str, range(size))) if names is None else names
    check_labels("names", names, size, "classes")
    errors = counts * (1 - np.eye(size, dtype=counts.dtype))
    middle = np.arange(size) + 0.5
    cell = max(34, pages.text_width(f"{counts.max():,}") + 16)
    widest = max(map(pages.text_width, names))
    upright = widest > cell - 6  # names that would touch
    room = max(100, widest + 8) + 60, widest + 10 if upright else 22
    with pages.style():
        figure, (axes,) = pages.panels(
            [""], title, subtitle, (size * cell + room[0], size * cell + room[1])
        )
        # Half of the scale: black text must stay readable on the darkest.
        darkest = 2 * max(errors.max(), 1)
        axes.pcolormesh(errors, cmap="Greys", vmin=0, vmax=darkest, edgecolors=GRID, linewidth=0.6)
        axes.set_aspect("equal")
        axes.invert_yaxis()
        axes.spines[:].set_visible(True)
        axes.xaxis.tick_top()
        axes.set_xticks(middle, names, rotation=90 if upright else 0)
        axes.set_yticks(middle, names)
        axes.tick_params(length=0, labelcolor=INK)
        axes.text(-0.1, -0.1, "true ↓  answer →", ha="right", va="bottom", color=FAINT)
        axes.text(size + 0.2, -0.1, "wrong", va="bottom", color=FAINT)
        for i in np.flatnonzero(counts.sum(axis=1)):
            share = f"{errors[i].sum() / counts[i].sum():.1%}"
            axes.text(size + 0.2, float(middle[i]), share, va="center", color=INK)
        for i, j in np.argwhere(counts):
            look: dict[str, Any] = {
                "ha": "center",
                "va": "center",
                "color": FAINT if i == j else INK,
            }
            axes.text(float(middle[j]), float(middle[i]), f"{counts[i, j]:,}", **look)
    return figure


def reliability(
    confidence: Num[AnyArray, " _"],
    share_right: Num[AnyArray, " _"],
    counts: Num[AnyArray, " _"],
    *,
    title: str,
    subtitle: str | None = None,
) -> Figure:
    """Whether a classifier is as often right as it is sure, and how many answers are how sure.

    Of the answers in each bin: their mean probability, the share of them that is right, and how
    many they are, at least 1. Bars are Wilson's 95% intervals for the share that is right: where
    one reaches the dashed line, the classifier may be as good as it says.
    """
    x = _check_shares(confidence, "confidence")
    p = _check_shares(share_right, "share_right")
    n = finite_values(counts, "counts")
    check_labels("share_right", p, len(x), "bins of confidence")
    check_labels("counts", n, len(x), "bins of confidence")
    if n.min() < 1:
        raise ValueError(f"counts must be at least 1, and are {counts}")
    z = 1.96
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    bars = np.stack([p - middle + half, middle + half - p]).clip(0)  # rounding at 0 and 1
    with pages.style():
        figure, (right, sizes) = pages.panels(["share that is right", "answers"], title, subtitle)
        right.plot((0, 1), (0, 1), color=FAINT, linestyle=(0, (5, 3)), linewidth=0.9)
        right.errorbar(x, p, bars, fmt="o", color=BLUE, markersize=4, elinewidth=1, clip_on=False)
        right.set_ylim(0, 1)
        right.yaxis.set_major_formatter(PercentFormatter(1))
        sizes.vlines(x, 0.5, n, color=BLUE, linewidth=5, clip_on=False)
        sizes.set_yscale("log")
        sizes.set_ylim(0.5, 2 * n.max())
        sizes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        for axes in (right, sizes):
            axes.set_xlim(0, 1)
            axes.xaxis.set_major_formatter(PercentFormatter(1))
            axes.set_xlabel("confidence: the probability of the answer")
    return figure


def _check_shares(values: Num[AnyArray, " _"], name: str) -> np.ndarray:
    """The values, which rounding, of float32 as well, may have taken out of [0, 1]."""
    shares = finite_values(values, name)
    if shares.min() < -1e-4 or shares.max() > 1 + 1e-4:
        raise ValueError(f"{name} must be between 0 and 1, and is {values}")
    return shares.clip(0, 1)
