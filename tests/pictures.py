"""Reads pictures back: their pixels, the tiles of their sheets, their texts."""

import io
import itertools

import numpy as np
import PIL.Image
from matplotlib.text import Text

MARGIN = 14
# For pictures of which only the rest matters.
SQUARE = {"image_shape": (2, 2), "title": "t"}


def pixels(figure):
    """The picture as a notebook shows it, two device pixels for each of the page."""
    data, _ = figure._repr_png_()
    return np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB"))


def sheet_tiles(page, shape, zoom, rows, columns, device=2):
    """Cuts the tiles out of a page whose sheet ends at the lower right margin."""
    gap = 2 if zoom > 1 else 1
    height, width = (side * zoom for side in shape[:2])
    tiles = []
    for row, column in itertools.product(range(rows), range(columns)):
        bottom = page.shape[0] - device * (MARGIN + 1 + (rows - 1 - row) * (height + 2 + gap))
        right = page.shape[1] - device * (MARGIN + 1 + (columns - 1 - column) * (width + 2 + gap))
        tiles.append(page[bottom - device * height : bottom, right - device * width : right])
    return tiles


def enlarged(image, factor):
    image = image.reshape(*image.shape[:2], -1)
    return np.broadcast_to(
        image.repeat(factor, axis=0).repeat(factor, axis=1),
        (image.shape[0] * factor, image.shape[1] * factor, 3),
    )


def find(page, panel):
    """The corners at which a panel stands on the page, by its own pixels."""
    height, width = panel.shape[:2]
    corners = []
    for y in range(page.shape[0] - height + 1):
        for x in np.flatnonzero((page[y] == panel[0, 0]).all(axis=-1)):
            if np.array_equal(page[y : y + height, x : x + width], panel):
                corners.append((y, int(x)))
    return corners


def shown_texts(figure):
    """The texts that are drawn: ticks beyond the ends of their axes are not."""
    figure.draw_without_rendering()
    hidden = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in axis.get_major_ticks() + axis.get_minor_ticks():
            if not axis.get_visible() or not low <= tick.get_loc() <= high:
                hidden |= {tick.label1, tick.label2}
    found = figure.findobj(Text)
    return [t for t in found if t.get_text() and t.get_visible() and t not in hidden]


def words(figure):
    return " | ".join(text.get_text() for text in shown_texts(figure))


def assert_readable(figure):
    """All text lies on the paper and none on another."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown_texts(figure)]
    page = figure.bbox
    for text, box in boxes:
        assert page.x0 <= box.x0 <= box.x1 <= page.x1, text
        assert page.y0 <= box.y0 <= box.y1 <= page.y1, text
    for (text, a), (other, b) in itertools.combinations(boxes, 2):
        wide = min(a.x1, b.x1) - max(a.x0, b.x0)
        high = min(a.y1, b.y1) - max(a.y0, b.y0)
        # Boxes include the room for accents and tails; a tenth of a line may be shared.
        assert wide <= 0 or high <= 0.1 * min(a.height, b.height), (text, other)
