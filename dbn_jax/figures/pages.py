"""Pages: images and texts at given pixels, or axes in a grid; a title above them."""

import contextlib
import functools
import io
import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib.style
import numpy as np
import PIL.Image
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.image import BboxImage
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import Affine2D, Bbox, TransformedBbox

from dbn_jax.typing import Real

# A power of two: whole pixels are exact binary fractions of an inch, so that no rounding can move
# an image by a device pixel.
PIXELS_PER_INCH = 128
DEVICE_PIXELS = 2  # across each pixel of the page

_MARGIN = 14
FONT_PIXELS = {"name": 30, "title": 17, "panel": 14, "subtitle": 13, "label": 12}
INK, FAINT, GRID = "#1a1a1a", "#5c5c5c", "#dddddd"
BLUE = "#0072B2"
PALETTE = (BLUE, "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")


class Picture(Figure):
    """A figure that a notebook shows sharp and at its own size, with or without pyplot."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        width, height = (round(side * PIXELS_PER_INCH) for side in self.get_size_inches())
        return png(self, DEVICE_PIXELS), {"width": width, "height": height}

    def _ipython_display_(self) -> None:
        # Asked before anything else. Once pyplot is active, as it is on Colab, IPython would draw
        # figures itself, at another size, and pass over those without axes.
        from IPython.display import display

        data, metadata = self._repr_png_()
        bundle = {"image/png": data, "text/plain": repr(self)}
        display(bundle, raw=True, metadata={"image/png": metadata})


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Matplotlib's defaults and ours, whatever the caller has set; all is put back afterwards."""
    to_points = 72 / PIXELS_PER_INCH
    settings = {
        "figure.dpi": PIXELS_PER_INCH * DEVICE_PIXELS,
        "font.size": FONT_PIXELS["label"] * to_points,  # also of axis labels and tick labels
        "axes.titlesize": FONT_PIXELS["panel"] * to_points,
        "axes.titlelocation": "left",
        "axes.formatter.useoffset": False,  # a tick says its value, not what to add to another
        "axes.labelcolor": FAINT,
        "axes.xmargin": 0.02,
        "axes.edgecolor": FAINT,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
        "lines.linewidth": 1.2,
        "lines.markersize": 2.5,
        "legend.frameon": False,
        "legend.borderaxespad": 0,
    }
    with matplotlib.style.context(["default", settings]):
        yield


class Page:
    """A picture in the making. Positions are pixels, x to the right, y down, of any sign."""

    def __init__(self, layout: ConstrainedLayoutEngine | None = None):
        self.figure = Picture(layout=layout)
        FigureCanvasAgg(self.figure)
        self._shift = Affine2D()  # of all that is on the page, once its size is known
        scale = Affine2D().scale(1 / PIXELS_PER_INCH, -1 / PIXELS_PER_INCH)
        self.pixels = scale + self._shift + self.figure.dpi_scale_trans
        self.boxes: list[Bbox] = []  # of the contents

    def image(self, x: int, y: int, pixels: np.ndarray) -> None:
        """Puts the upper left corner of an image, uint8 (height, width, 3), at (x, y)."""
        height, width, _ = pixels.shape
        self.boxes.append(Bbox.from_bounds(x, y, width, height))
        place = TransformedBbox(self.boxes[-1], self.pixels)
        image = BboxImage(place, interpolation="nearest", origin="upper")
        image.set_data(pixels)
        self.figure.add_artist(image)

    def text(
        self, x: Real, y: Real, text: str, ha: str, va: str, kind: str = "label", **look
    ) -> Bbox:
        """Writes a text, and returns its box."""
        look = {"color": INK, "transform": self.pixels, **_font(kind), **look}
        artist = self.figure.text(x, y, text, ha=ha, va=va, **look)
        self.boxes.append(artist.get_window_extent().transformed(self.pixels.inverted()))
        return self.boxes[-1]

    def lines(self, ends: np.ndarray, colours: Sequence[str], width: Real) -> None:
        """Draws lines with round tips between pairs of points, (lines, 2, 2), over one another."""
        self.boxes.append(Bbox.null())
        self.boxes[-1].update_from_data_xy(ends.reshape(-1, 2))
        self.boxes[-1] = self.boxes[-1].padded(width / 2)
        self.figure.add_artist(lines(ends, colours, width, transform=self.pixels))

    def room(self, x: Real, y: Real, width: Real, height: Real) -> None:
        """Leaves room for what is drawn later."""
        self.boxes.append(Bbox.from_bounds(x, y, width, height))

    def place(self, x: int, y: int) -> tuple[int, int]:
        """Where a position is in the raster of a finished page, (columns, rows)."""
        across, up = (self.pixels - self.figure.dpi_scale_trans).transform((x, y)) * PIXELS_PER_INCH
        return round(across), round(self.figure.get_figheight() * PIXELS_PER_INCH - up)

    def finish(self, title: str, subtitle: str | None) -> None:
        """Writes the heading above the contents, and cuts the paper to a margin round all."""
        contents = Bbox.union(self.boxes)
        left, top = math.floor(contents.xmin), math.floor(contents.ymin) - 6
        line = max(contents.xmax - left, 480)
        for text, kind, colour in ((subtitle, "subtitle", FAINT), (title, "title", INK)):
            if text:
                text = _wrapped(text, kind, line)
                top = self.text(left, top - 6, text, "left", "bottom", kind, color=colour).ymin
                top = math.floor(top)
        whole = Bbox.union(self.boxes)
        width = math.ceil(whole.xmax - left) + 2 * _MARGIN
        height = math.ceil(whole.ymax - top) + 2 * _MARGIN
        self._shift.translate(*np.array([_MARGIN - left, height - _MARGIN + top]) / PIXELS_PER_INCH)
        self.figure.set_size_inches(width / PIXELS_PER_INCH, height / PIXELS_PER_INCH)


@contextlib.contextmanager
def sheet(title: str, *notes: str | None) -> Iterator[Page]:
    """A page of images and texts; the notes are its subtitle."""
    with style():
        page = Page()
        yield page
        page.finish(title, "; ".join(note for note in notes if note))


def panels(
    names: Sequence[str],
    title: str,
    subtitle: str | None,
    size: tuple[Real, Real] | None = None,
    legend: Sequence[Artist] = (),
) -> tuple[Figure, list[Axes]]:
    """A figure and its axes in a grid, under their names; to be called, and drawn, within `style`.

    The size is the pixels across and down for one of the axes and all that stands round them. The
    legend, labelled artists, stands at the right.
    """
    columns = {1: 1, 2: 2, 4: 2}.get(len(names), 3)
    rows = math.ceil(len(names) / columns)
    width, height = size or {1: (640, 380), 2: (410, 310)}.get(columns, (310, 230))
    layout = ConstrainedLayoutEngine()
    page = Page(layout)
    figure = page.figure
    whole = Bbox.from_bounds(0, 0, columns * width, rows * height)
    page.boxes.append(whole)
    explained = figure.legend(handles=legend, loc="upper left")
    if legend:
        room = explained.get_window_extent()
        across, down = room.width / DEVICE_PIXELS, room.height / DEVICE_PIXELS
        page.boxes.append(Bbox.from_bounds(whole.x1, 0, across, down))
    page.finish(title, subtitle)
    place = whole.transformed(page.pixels - figure.transFigure)
    rect = place.xmin, place.ymin, place.xmax - place.xmin, place.ymax - place.ymin
    layout.set(rect=rect, w_pad=0, h_pad=0, wspace=0.06, hspace=0.06)
    explained.set_bbox_to_anchor((place.xmax, place.ymax), figure.transFigure)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for spare in grid[len(names) :]:
        spare.remove()
    for axes, name in zip(grid, names, strict=False):
        axes.set_title(_wrapped(name, "panel", width - 60), parse_math=False)
    return figure, list(grid[: len(names)])


def lines(
    ends: np.ndarray, colours: Sequence[str], widths: Real | Sequence[Real], **look
) -> LineCollection:
    """Lines with round tips, some pixels wide, between pairs of points, (lines, 2, 2)."""
    thick = np.atleast_1d(widths) * 72 / PIXELS_PER_INCH
    return LineCollection(list(ends), colors=colours, linewidths=thick, capstyle="round", **look)


def raster(figure: Figure) -> np.ndarray:
    """A figure as uint8 (rows, columns, 3), one device pixel for each pixel of the page."""
    return np.array(PIL.Image.open(io.BytesIO(png(figure, 1))).convert("RGB"))


def png(figure: Figure, scale: int) -> bytes:
    """A PNG file with `scale` device pixels for each pixel of the page."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="png", dpi=PIXELS_PER_INCH * scale)
    return buffer.getvalue()


def _font(kind: str) -> dict[str, Any]:
    size = FONT_PIXELS[kind] * 72 / PIXELS_PER_INCH
    weight = "bold" if kind in ("name", "title") else "normal"
    return {"fontsize": size, "weight": weight, "parse_math": False}


@functools.cache  # an animation has the same texts in all frames
def text_width(text: str, kind: str = "label") -> float:
    """The pixels that a text takes."""
    with style():
        # Of a small page: its pixels would take longer to clear than the text to measure.
        figure = Figure(figsize=(1, 1))
        FigureCanvasAgg(figure)
        return figure.text(0, 0, text, **_font(kind)).get_window_extent().width / DEVICE_PIXELS


def _wrapped(text: str, kind: str, width: Real) -> str:
    """Breaks a text into lines of about that many pixels."""
    return textwrap.fill(text, max(1, int(len(text) * width / max(1, text_width(text, kind)))))


def counted(shown: int, total: int, things: str) -> str:
    """Says how many of all are shown: "all 50 units", "100 of 2,000 units"."""
    return f"all {total:,} {things}" if shown == total else f"{shown:,} of {total:,} {things}"


def thinned(texts: Sequence[str], pitch: Real) -> list[tuple[int, str]]:
    """Every text with its number, or every second, or third, …: so many that none touch."""
    stride = math.ceil((max(map(text_width, texts)) + 6) / pitch)
    return list(enumerate(texts))[::stride]
