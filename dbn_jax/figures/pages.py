"""Pages: images, labels or axes at given pixels, a title above, just enough paper round them."""

import bisect
import contextlib
import functools
import io
import math
from collections.abc import Iterator, Sequence
from numbers import Real
from typing import NamedTuple

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import BboxImage
from matplotlib.text import Text
from matplotlib.transforms import Bbox, TransformedBbox

# A power of two: whole pixels are exact binary fractions of an inch, so that no rounding can move
# an image by a device pixel.
_PIXELS_PER_INCH = 128
DEVICE_PIXELS = 2  # across each pixel of the page

_MARGIN = 14
FONT_PIXELS = {"title": 17, "panel": 14, "subtitle": 13, "label": 12}
INK, FAINT, BLUE = "#1a1a1a", "#5c5c5c", "#0072B2"


class Picture(Figure):
    """A figure that a notebook shows sharp and at its own size, with or without pyplot."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        width, height = (round(side * _PIXELS_PER_INCH) for side in self.get_size_inches())
        return png(self, DEVICE_PIXELS), {"width": width, "height": height}

    def _ipython_display_(self) -> None:
        # Asked before anything else. Once pyplot is active, as it is on Colab, IPython would draw
        # figures itself, at another size, and pass over those without axes.
        from IPython.display import display

        png_bytes, metadata = self._repr_png_()
        display(
            {"image/png": png_bytes, "text/plain": repr(self)},
            raw=True,
            metadata={"image/png": metadata},
        )


class Placed(NamedTuple):
    """An image, uint8 (height, width, 3), with its upper left corner at (x, y); y points down."""

    x: int
    y: int
    pixels: np.ndarray


class Label(NamedTuple):
    """A text at (x, y)."""

    x: Real
    y: Real
    text: str
    ha: str
    va: str
    colour: str = INK
    rotation: Real = 0


def picture(
    images: Sequence[Placed], labels: Sequence[Label], title: str, subtitle: str | None
) -> Figure:
    """Returns a figure of images and labels, which may lie at negative coordinates."""
    with style():
        figure = _blank()
        boxes = [(x, x + p.shape[1], y, y + p.shape[0]) for x, y, p in images]
        texts = []
        for x, y, text, ha, va, colour, rotation in labels:
            settings = {"ha": ha, "va": va, "color": colour, "rotation": rotation}
            texts.append(_add_text(figure, text, "label", **settings))
            left, right, upper, lower = text_extent(texts[-1])
            boxes.append((x + left, x + right, y + upper, y + lower))
        lefts, rights, uppers, lowers = zip(*boxes, strict=True)
        left, upper = math.floor(min(lefts)), math.floor(min(uppers))
        size = max(rights) - left, max(lowers) - upper
        _, page_height, top = _finish(figure, title, subtitle, *size)
        for x, y, pixels in images:
            height, width, _ = pixels.shape
            corner = (_MARGIN + x - left, page_height - (top + y - upper) - height)
            box = Bbox.from_bounds(*(side / _PIXELS_PER_INCH for side in (*corner, width, height)))
            place = TransformedBbox(box, figure.dpi_scale_trans)
            image = BboxImage(place, interpolation="nearest", origin="upper")
            image.set_data(pixels)
            figure.add_artist(image)
        for label, text in zip(labels, texts, strict=True):
            x, y = _MARGIN + label.x - left, page_height - (top + label.y - upper)
            text.set_position((x / _PIXELS_PER_INCH, y / _PIXELS_PER_INCH))
        return figure


class Panels:
    """Axes of one size in a grid, with room for whatever stands round each."""

    def __init__(
        self, count: int, title: str, subtitle: str | None, size: tuple[int, int] | None = None
    ):
        self.title, self.subtitle = title, subtitle
        self.columns = {1: 1, 2: 2, 4: 2}.get(count, 3)
        usual = {1: (560, 320), 2: (340, 240)}.get(self.columns, (230, 160))
        self.size = usual if size is None else size  # width and height of the axes, in pixels
        self.figure = _blank()
        # At their final size already: ticks and labels depend on it.
        width, height = (inches * _PIXELS_PER_INCH for inches in self.figure.get_size_inches())
        place = (0.3, 0.3, self.size[0] / width, self.size[1] / height)
        self.axes: list[Axes] = [
            self.figure.add_axes(place, label=str(index)) for index in range(count)
        ]

    def arrange(self) -> Figure:
        """Moves the axes apart by what their labels need, and returns the page."""
        outer = np.zeros((len(self.axes), 4))
        for index, axes in enumerate(self.axes):
            box, inner = axes.get_tightbbox(), axes.get_window_extent()
            sides = (inner.x0 - box.x0, box.x1 - inner.x1, box.y1 - inner.y1, inner.y0 - box.y0)
            outer[index] = sides
        rows = math.ceil(len(self.axes) / self.columns)
        padded = np.zeros((rows * self.columns, 4))
        padded[: len(outer)] = np.ceil(outer / DEVICE_PIXELS)
        padded = padded.reshape(rows, self.columns, 4)
        left, right = padded.max(axis=0)[:, :2].T
        upper, lower = padded.max(axis=1)[:, 2:].T
        # The upper left corners of the axes.
        (width, height), between = self.size, 20
        xs = left + np.cumsum([0, *(left + width + right + between)])[:-1]
        ys = upper + np.cumsum([0, *(upper + height + lower + between)])[:-1]
        size = xs[-1] + width + right[-1], ys[-1] + height + lower[-1]
        page_width, page_height, top = _finish(self.figure, self.title, self.subtitle, *size)
        for index, axes in enumerate(self.axes):
            x = _MARGIN + xs[index % self.columns]
            y = page_height - (top + ys[index // self.columns] + height)
            place = np.array([x, y, width, height])
            axes.set_position(place / [page_width, page_height, page_width, page_height])
        return self.figure


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Matplotlib's defaults and ours, whatever the caller has set; all is put back afterwards."""
    to_points = 72 / _PIXELS_PER_INCH
    settings = {
        "font.size": FONT_PIXELS["label"] * to_points,  # also of axis labels and tick labels
        "axes.titlesize": FONT_PIXELS["panel"] * to_points,
        "axes.titlelocation": "left",
        "axes.titlepad": 8 * to_points,
        "axes.formatter.useoffset": False,  # a tick says its value, not what to add to another
        "axes.labelcolor": FAINT,
        "axes.labelpad": 3 * to_points,
        "axes.xmargin": 0.02,
        "axes.edgecolor": FAINT,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
        "xtick.major.size": 3 * to_points,
        "ytick.major.size": 3 * to_points,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "lines.linewidth": 1.2,
        "lines.markersize": 2.5,
    }
    with matplotlib.style.context(["default", settings]):
        yield


def _blank(inches: Real = 8) -> Picture:
    figure = Picture(
        figsize=(inches, inches), dpi=_PIXELS_PER_INCH * DEVICE_PIXELS, facecolor="white"
    )
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure, scale: int) -> bytes:
    """Returns a PNG file with `scale` device pixels for each pixel of the page."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="png", dpi=_PIXELS_PER_INCH * scale, facecolor="white")
    return buffer.getvalue()


def _finish(
    figure: Figure, title: str, subtitle: str | None, width: Real, height: Real
) -> tuple[int, int, int]:
    """Sizes the page for contents of that many pixels and writes the title above them.

    Returns:
      The whole pixels of page width, page height and title, margins included.
    """
    line = max(width, 480)
    heading = [_wrapped(figure, title, "title", line, color=INK, weight="bold")]
    if subtitle:
        heading.append(_wrapped(figure, subtitle, "subtitle", line, color=FAINT))
    extents = [text_extent(text) for text in heading]
    page_width = math.ceil(max(width, *(right for _, right, _, _ in extents))) + 2 * _MARGIN
    top, tops = _MARGIN, []
    for _, _, upper, lower in extents:
        tops.append(top - upper)
        top += math.ceil(lower - upper) + 6
    top += 6
    page_height = top + math.ceil(height) + _MARGIN
    figure.set_size_inches(page_width / _PIXELS_PER_INCH, page_height / _PIXELS_PER_INCH)
    for text, y in zip(heading, tops, strict=True):
        text.set_position((_MARGIN / _PIXELS_PER_INCH, (page_height - y) / _PIXELS_PER_INCH))
    return page_width, page_height, top


def _wrapped(figure: Figure, text: str, kind: str, width: Real, **settings) -> Text:
    """Adds a text broken into lines of at most that many pixels."""
    artist = _add_text(figure, "", kind, va="top", **settings)

    def extent(num_words):
        artist.set_text(" ".join(words[:num_words]))
        return text_extent(artist)[1]

    words, lines = text.split(), []
    while words:
        # As many words as fit, but one at least.
        count = bisect.bisect_right(range(1, len(words) + 1), width, key=extent) or 1
        lines.append(" ".join(words[:count]))
        words = words[count:]
    artist.set_text("\n".join(lines))
    return artist


def _add_text(figure: Figure, text: str, kind: str, **settings) -> Text:
    """Adds a text whose position is in inches from the lower left corner."""
    size = FONT_PIXELS[kind] * 72 / _PIXELS_PER_INCH
    settings |= {"transform": figure.dpi_scale_trans, "parse_math": False}
    return figure.text(0, 0, text, fontsize=size, **settings)


@functools.cache  # an animation has the same texts in all frames
def text_width(text: str) -> float:
    """Returns the pixels that a label takes."""
    with style():
        # Of a small page: its pixels would take longer to clear than the text to measure.
        left, right, *_ = text_extent(_add_text(_blank(1), text, "label"))
    return right - left


def text_extent(text: Text) -> tuple[float, float, float, float]:
    """Left, right, top and bottom of a text in pixels from its anchor; y points down."""
    box = text.get_window_extent()
    x, y = text.get_transform().transform(text.get_position())
    edges = box.x0 - x, box.x1 - x, y - box.y1, y - box.y0
    return tuple(edge / DEVICE_PIXELS for edge in edges)
