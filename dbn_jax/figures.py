"""Every picture of the project: sheets of images, weights, curves, histograms, animations.

Arrays go in, a matplotlib `Figure` comes out; nothing here knows a model, and pyplot and the global
settings of matplotlib stay untouched. Pages are laid out in pixels and drawn at two device pixels
for each, so that an image pixel is always a whole number of equal device pixels, never blurred.
Greys show intensities, blue to red through white shows signed weights, Okabe and Ito's palette
(2008, safe for colour-blind readers) tells lines apart.

Images that do not fit `image_shape`, are not finite or lie outside `value_range` are ValueErrors
that say which, and so is an empty array.
"""

import contextlib
import csv
import io
import itertools
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from numbers import Real
from pathlib import Path
from typing import IO, Literal, NamedTuple

import numpy as np

try:
    import matplotlib
    import matplotlib.style
    import PIL.Image
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.image import BboxImage
    from matplotlib.text import Text
    from matplotlib.ticker import MaxNLocator
    from matplotlib.transforms import Bbox, TransformedBbox
except ImportError as error:
    raise ImportError(
        f"dbn_jax.figures needs matplotlib and pillow ({error}): pip install 'dbn_jax[experiments]'"
    ) from error

from dbn_jax.shapes import Array, Num

AnyArray = np.ndarray | Array
_Values = Sequence[Real] | AnyArray

# A power of two: whole pixels are exact binary fractions of an inch, so that no rounding can move
# an image by a device pixel.
_PIXELS_PER_INCH = 128
_DEVICE_PIXELS = 2

_PAGE = (900, 640)  # the largest sheet, in pixels, that the automatic enlargement aims at
_MARGIN = 14
_SPACE = 8  # between an image and what is written beside it
_INK, _FAINT, _GRID = "#1a1a1a", "#5c5c5c", "#dddddd"
_SIZES = {"title": 17, "panel": 14, "subtitle": 13, "label": 12}  # font sizes in pixels
_FRAME_GREY = 150  # round each image: differs from black and from white paper
_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES = ("solid", (0, (5, 2)), (0, (1.5, 1.5)))
_WEIGHT_COLOURS = "RdBu_r"


class Picture(Figure):
    """A figure that a notebook shows sharp and at its own size, with or without pyplot."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        width, height = (round(side * _PIXELS_PER_INCH) for side in self.get_size_inches())
        return _png(self, _DEVICE_PIXELS), {"width": width, "height": height}


def image_sheet(
    images: Num[AnyArray, "images ..."],
    *,
    image_shape: Sequence[int],
    title: str,
    subtitle: str | None = None,
    columns: int | None = None,
    row_labels: Sequence[str] | None = None,
    value_range: tuple[Real, Real] = (0.0, 1.0),
    zoom: int | None = None,
) -> Figure:
    """Images in a grid, row by row: data, samples, reconstructions.

    Args:
      images: shown in reading order.
      columns: images in a row; by default a grid that is nearly full and no taller than wide.
      row_labels: a text at the left of each row of the grid.
      image_shape: (rows, columns), or (rows, columns, 3) for colour.
      title: what is shown.
      subtitle: how it was made.
      value_range: the values shown as black and as white.
      zoom: pixels for the side of an image pixel; by default what fills a page.

    Raises:
      ValueError: for a number of labels other than the number of rows.
    """
    tiles = _to_bytes(images, image_shape, value_range, "images")
    grid = _Grid.of(tiles, columns, zoom)
    _check_labels("row_labels", row_labels, grid.rows, "rows of images")
    labels = [_beside_row(grid, row, text) for row, text in enumerate(row_labels or ())]
    return _page([_Placed(0, 0, grid.draw(tiles))], labels, title, subtitle)


def receptive_fields(
    weights: Num[AnyArray, "visible hidden"],
    *,
    image_shape: Sequence[int],
    title: str,
    subtitle: str | None = None,
    max_units: int = 100,
    columns: int | None = None,
    scale: Literal["common", "unit"] = "common",
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
      ValueError: for a limit that is not positive or is given for the scale "unit".
    """
    fields, num_units = _weight_images(weights, image_shape, max_units)
    if limit is not None and (scale != "common" or not 0 < limit < math.inf):
        raise ValueError(f'limit={limit}: a positive number, and only with scale="common"')
    if scale == "common":
        limits = limit if limit is not None else _robust_limit(fields)
        clipped = np.abs(fields).max() > limits
        ends = ("≤ −", "≥ ") if clipped else ("−", "+")
        ends = tuple(f"{end}{limits:.2g}" for end in ends)
    else:
        limits = np.abs(fields).max(axis=tuple(range(1, fields.ndim)), keepdims=True)
        limits = np.where(limits > 0, limits, 1.0)
        ends = ("−max", "+max")
    tiles = _diverging(fields, limits)
    grid = _Grid.of(tiles, columns, zoom)
    placed, labels = [_Placed(0, 0, grid.draw(tiles))], []
    note = _part(len(tiles), num_units, "unit")
    note += ", one scale for all" if scale == "common" else ", each on its own scale"
    if fields.ndim == 3:
        bar, labels = _colour_bar(grid.width + 16, min(160, max(64, grid.height)), ends)
        placed.append(bar)
    else:
        note += f": grey is zero, a dark channel {ends[0]}, a bright one {ends[1]}"
    return _page(placed, labels, title, _joined(subtitle, note))


def development(
    snapshots: Num[AnyArray, "snapshots visible hidden"],
    *,
    image_shape: Sequence[int],
    labels: Sequence[str],
    title: str,
    subtitle: str | None = None,
    max_units: int = 50,
    scale: Literal["snapshot", "common"] = "snapshot",
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
      ValueError: for a number of labels other than T.
    """
    if len(snapshots) == 0:
        raise ValueError("snapshots are empty: give at least one (V, H) array of weights")
    _check_labels("labels", labels, len(snapshots), "snapshots")
    panels = [_weight_images(weights, image_shape, max_units)[0] for weights in snapshots]
    limits = [_robust_limit(fields) for fields in panels]
    if scale == "common":
        limits = [max(limits)] * len(panels)
        note = f"one scale for all: full colour is ±{limits[0]:.2g}"
    else:
        note = "full colour is the weight in brackets"
        labels = [f"{text}  (±{limit:.2g})" for text, limit in zip(labels, limits, strict=True)]
    tiles = [_diverging(*pair) for pair in zip(panels, limits, strict=True)]
    header, between = 22, 18
    # The arrangement whose images are largest; of two such, the one with fewer empty places.
    choices = []
    for across in range(1, len(tiles) + 1):
        down = math.ceil(len(tiles) / across)
        page = (_PAGE[0] // across - between, 760 // down - header - between)
        grid = _Grid.of(tiles[0], None, None, page)
        fits = grid.width <= page[0] and grid.height <= page[1]
        choices.append(((fits, grid.zoom, -(across * down), across), grid))
    (_, _, _, across), grid = max(choices, key=lambda choice: choice[0])
    placed, texts = [], []
    for index, (panel, text) in enumerate(zip(tiles, labels, strict=True)):
        x = index % across * (grid.width + between)
        y = index // across * (grid.height + header + between)
        placed.append(_Placed(x, y, grid.draw(panel)))
        texts.append(_Label(x, y - 5, text, "left", "bottom"))
    return _page(placed, texts, title, _joined(subtitle, note))


def image_rows(
    rows: Mapping[str, Num[AnyArray, "images ..."]],
    *,
    image_shape: Sequence[int],
    title: str,
    subtitle: str | None = None,
    notes: Mapping[str, str] | None = None,
    columns: int = 12,
    value_range: tuple[Real, Real] = (0.0, 1.0),
    zoom: int | None = None,
) -> Figure:
    """Named rows of images one under another, so that each column compares versions of one image.

    Args:
      rows: name to (N, D) images, the same N for all; the names stand at the left. More than
        `columns` images continue in a further band of rows.
      notes: name to a text at the right of that row, such as its error.
      columns: images in a row.
      image_shape: (rows, columns), or (rows, columns, 3) for colour.
      title: what is shown.
      subtitle: how it was made.
      value_range: the values shown as black and as white.
      zoom: pixels for the side of an image pixel; by default what fills a page.

    Raises:
      ValueError: for rows of different lengths, and a note for an unknown row.
    """
    if not rows:
        raise ValueError("rows is empty: give at least one name with its images")
    unknown = set(notes or ()) - set(rows)
    if unknown:
        raise ValueError(f"notes for {sorted(unknown)}, but the rows are {list(rows)}")
    tiles = {
        name: _to_bytes(images, image_shape, value_range, f'"{name}" images')
        for name, images in rows.items()
    }
    counts = {name: len(images) for name, images in tiles.items()}
    num_images = next(iter(counts.values()))
    if set(counts.values()) != {num_images}:
        raise ValueError(f"the rows have different numbers of images: {counts}")
    columns = min(_check_count("columns", columns), num_images)
    num_bands = math.ceil(num_images / columns)
    between = 12
    page = (_PAGE[0], (_PAGE[1] - between * (num_bands - 1)) // num_bands)
    first_band = np.concatenate([images[:columns] for images in tiles.values()])
    grid = _Grid.of(first_band, columns, zoom, page)
    placed, labels = [], []
    for band in range(num_bands):
        y = band * (grid.height + between)
        for row, (name, images) in enumerate(tiles.items()):
            part = images[band * columns : (band + 1) * columns]
            placed.append(_Placed(0, y + row * grid.pitch[0], grid._replace(rows=1).draw(part)))
            centre = y + grid.centre(row, 0)[0]
            labels.append(_Label(-_SPACE, centre, name, "right", "center"))
            if notes and name in notes:
                labels.append(_Label(grid.width + _SPACE, centre, notes[name], "left", "center"))
    return _page(placed, labels, title, subtitle)


def reconstructions(
    data: Num[AnyArray, "images ..."],
    reconstruction: Num[AnyArray, "images ..."],
    *,
    image_shape: Sequence[int],
    title: str,
    subtitle: str | None = None,
    columns: int = 12,
    value_range: tuple[Real, Real] = (0.0, 1.0),
    zoom: int | None = None,
) -> Figure:
    """Pairs of rows: data above their reconstructions. The two-row case of `image_rows`.

    Args:
      data: (N, D) images.
      reconstruction: (N, D) what the model makes of them.
      columns: images in a row.
      image_shape: (rows, columns), or (rows, columns, 3) for colour.
      title: what is shown.
      subtitle: how it was made.
      value_range: the values shown as black and as white.
      zoom: pixels for the side of an image pixel; by default what fills a page.
    """
    return image_rows(
        {"data": data, "reconstruction": reconstruction},
        image_shape=image_shape,
        title=title,
        subtitle=subtitle,
        columns=columns,
        value_range=value_range,
        zoom=zoom,
    )


def chains(
    frames: Num[AnyArray, "times chains ..."],
    *,
    image_shape: Sequence[int],
    steps: Sequence[int] | AnyArray,
    title: str,
    subtitle: str | None = None,
    row_labels: Sequence[str] | None = None,
    value_range: tuple[Real, Real] = (0.0, 1.0),
    zoom: int | None = None,
) -> Figure:
    """Markov chains: each row a chain, time runs to the right, the Gibbs step on top.

    Args:
      frames: (T, C, D) images of C chains at T times.
      steps: the number of Gibbs steps before each of the T times.
      row_labels: a text for each chain; by default "chain 1", "chain 2", ….
      image_shape: (rows, columns), or (rows, columns, 3) for colour.
      title: what is shown.
      subtitle: how it was made.
      value_range: the values shown as black and as white.
      zoom: pixels for the side of an image pixel; by default what fills a page.

    Raises:
      ValueError: for numbers of steps and labels other than T and C.
    """
    num_times, num_chains = frames.shape[:2]
    _check_labels("steps", steps, num_times, "times")
    if row_labels is None:
        row_labels = [f"chain {chain + 1}" for chain in range(num_chains)]
    _check_labels("row_labels", row_labels, num_chains, "chains")
    by_chain = np.swapaxes(np.asarray(frames), 0, 1)
    flat = by_chain.reshape(num_times * num_chains, *by_chain.shape[2:])
    tiles = _to_bytes(flat, image_shape, value_range, "frames")
    grid = _Grid.of(tiles, num_times, zoom)
    labels = [_beside_row(grid, row, text) for row, text in enumerate(row_labels)]
    labels.append(_Label(-_SPACE, -5, "Gibbs step", "right", "bottom", colour=_FAINT))
    # Where numbers would touch, every second one stands, or every third, ….
    numbers = [f"{int(step):,}" for step in steps]
    stride = math.ceil((_text_width(max(numbers, key=len)) + 6) / grid.pitch[1])
    for column in range(0, num_times, stride):
        x = grid.centre(0, column)[1]
        labels.append(_Label(x, -5, numbers[column], "center", "bottom"))
    return _page([_Placed(0, 0, grid.draw(tiles))], labels, title, subtitle)


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
    levels = _to_bytes(probabilities, (1, num_units), value_range, "probabilities")[:, 0]
    # Dead and saturated within 1 % of the range, which 8 bits resolve.
    off = int((levels.max(axis=0) < 2.55).sum())
    on = int((levels.min(axis=0) > 252.45).sum())
    shown = levels[: _check_count("max_cases", max_cases), : _check_count("max_units", max_units)]
    zooms = [
        min(6, max(1, side // count))
        for side, count in zip((_PAGE[1] // 2, _PAGE[0]), shown.shape, strict=True)
    ]
    sheet = shown.repeat(zooms[0], axis=0).repeat(zooms[1], axis=1)
    cases = _part(len(shown), num_cases, "case")
    units = _part(shown.shape[1], num_units, "hidden unit")
    labels = [
        _Label(0, len(sheet) + 6, f"{units} →", "left", "top"),
        _Label(-6, 0, f"← {cases}", "right", "top", rotation=90),
    ]
    note = f"white is on; {_count(off, 'unit')} off in every case, {on} on in every case"
    pixels = np.repeat(sheet[..., None], 3, axis=2)
    return _page([_Placed(0, 0, pixels)], labels, title, _joined(subtitle, note))


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
    leaves the numbers, and its label says so.

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
    looks = itertools.product(_DASHES, _PALETTE)
    styles = {name: (colour, dash) for name, (dash, colour) in zip(names, itertools.cycle(looks))}
    with _style():
        panels = _Panels(len(curves), title, subtitle)
        for axes, (panel, lines) in zip(panels.axes, curves.items(), strict=True):
            axes.grid(axis="y", color=_GRID, linewidth=0.6)
            axes.set_xscale("log" if log_x else "linear")
            axes.set_yscale("log" if panel in log_y else "linear")
            ends, whole = [], True
            for name, (x, y) in lines.items():
                x, y = _points(x, y, f'line "{name}" of panel "{panel}"', log_x, panel in log_y)
                colour, dash = styles[name]
                marker = "o" if len(x) <= 12 else None
                axes.plot(x, y, color=colour, linestyle=dash, marker=marker)
                finite = np.isfinite(y)
                label = name if finite[-1] else f"{name} (infinite at the end)"
                if list(lines) != [panel] or not finite[-1]:
                    ends.append(_End(y[finite][-1], label, colour, dash))
                whole &= bool((x == np.round(x)).all())
            if whole and not log_x:
                axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
            axes.set_xlabel(x_label)
            axes.set_title(panel)
            _label_ends(axes, ends)
        return panels.arrange()


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
    with _style():
        panels = _Panels(len(arrays), title, subtitle)
        for axes, (name, values) in zip(panels.axes, arrays.items(), strict=True):
            values = _finite(values, f'"{name}"').ravel()
            counts, edges = np.histogram(values, _check_count("num_bins", num_bins))
            axes.stairs(counts, edges, fill=True, color=_PALETTE[0])
            axes.set_ylim(0, 1.05 * counts.max())
            if edges[0] < 0 < edges[-1]:
                axes.axvline(0, color=_INK, linewidth=0.6)
            axes.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
            axes.xaxis.set_major_formatter(lambda value, _: _number(value))
            axes.yaxis.set_visible(False)  # the shape matters; the title counts the values
            axes.spines.left.set_visible(False)
            axes.set_title(f"{name} ({values.size:,})")
            axes.set_xlabel(f"mean {_number(values.mean())}, s.d. {_number(values.std())}")
        return panels.arrange()


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


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Writes a figure as PNG: the whole file appears at once, or the old one stays.

    Args:
      figure: what to draw.
      path: ends in .png; missing folders are made.

    Raises:
      ValueError: for another ending.
    """
    with _replacing(path, ".png") as file:
        file.write(_png(figure, _DEVICE_PIXELS))


def animate(
    frames: Iterable[Figure | np.ndarray],
    path: str | os.PathLike,
    *,
    frames_per_second: Real = 8.0,
    pause: Real = 1.0,
    num_colours: int = 64,
) -> None:
    """Writes frames as a GIF that loops for ever.

    All frames share one palette, so that colours do not flicker. Equal frames in succession are
    stored once, with the sum of their times.

    Args:
      frames: figures, or uint8 arrays (rows, columns[, 3]); figures are drawn at one device pixel
        for each pixel of the page, and smaller frames get white paper at the right and below.
      path: ends in .gif; missing folders are made.
      frames_per_second: at most 50; GIF counts hundredths of a second, so that the rate is rounded.
      pause: seconds for which the last frame stays longer.
      num_colours: 2 to 256; fewer make a smaller file.

    Raises:
      ValueError: for no frame, an array of another type or shape, a rate, a pause or a number of
        colours out of range, and a path with another ending.
    """
    if not 0 < frames_per_second <= 50:
        raise ValueError(f"frames_per_second={frames_per_second}: must be above 0, at most 50")
    if not 0 <= pause < 600:
        raise ValueError(f"pause={pause}: must be 0 to 600 seconds")
    if not 2 <= num_colours <= 256:
        raise ValueError(f"num_colours={num_colours}: GIF has 2 to 256")
    images = [_frame(frame) for frame in frames]
    if not images:
        raise ValueError("no frames: an animation needs at least one")
    width, height = map(max, zip(*(image.size for image in images), strict=True))
    images = [_padded(image, width, height) for image in images]
    palette = _common_palette(images, num_colours)
    indexed = [_indexed(image, palette) for image in images]
    durations = [10 * round(100 / frames_per_second)] * len(indexed)
    durations[-1] += 10 * round(100 * pause)
    with _replacing(path, ".gif") as file:
        indexed[0].save(
            file,
            format="GIF",
            save_all=True,
            append_images=indexed[1:],
            duration=durations,
            loop=0,
            optimize=False,  # it would give every frame a palette of its own
        )


# Checks.


def _check_count(name: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"{name}={value}: must be at least 1")
    return value


def _check_labels(name: str, labels: Sized | None, count: int, what: str) -> None:
    if labels is not None and len(labels) != count:
        raise ValueError(f"{name} has {len(labels)} entries for {count} {what}")


def _finite(values: Num[AnyArray, "..."], what: str) -> Num[np.ndarray, "..."]:
    """Returns the values in float64, or says which are missing or not finite."""
    values = np.asarray(values).astype(np.float64)
    if values.size == 0:
        raise ValueError(f"{what}: empty, of shape {values.shape}: nothing to draw")
    bad = ~np.isfinite(values)
    if bad.any():
        first = ", ".join(str(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{what}: {bad.sum()} of {values.size} values are NaN or infinite, the first at "
            f"[{first}]"
        )
    return values


def _check_image_shape(image_shape: Sequence[int]) -> tuple[int, ...]:
    shape = tuple(image_shape)
    if len(shape) not in (2, 3) or shape[2:] not in ((), (3,)) or min(shape) < 1:
        raise ValueError(f"image_shape={shape}: expected (rows, columns) or (rows, columns, 3)")
    return shape


def _as_images(
    values: Num[AnyArray, "images ..."], image_shape: Sequence[int], what: str
) -> Num[np.ndarray, "images ..."]:
    """Returns (N, *image_shape) in float64, or says what does not fit."""
    shape = _check_image_shape(image_shape)
    if values.shape[1:] not in ((math.prod(shape),), shape):
        raise ValueError(
            f"{what} of shape {values.shape} do not fit image_shape={shape}: expected "
            f"(N, {math.prod(shape)}) or (N, {', '.join(map(str, shape))})"
        )
    return _finite(values, what).reshape(len(values), *shape)


def _to_bytes(
    values: Num[AnyArray, "images ..."],
    image_shape: Sequence[int],
    value_range: tuple[Real, Real],
    what: str,
) -> Num[np.ndarray, "images ..."]:
    """Returns grey levels 0 to 255 in the shape of the images."""
    low, high = value_range
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"value_range={value_range}: expected (low, high) with low < high")
    images = _as_images(values, image_shape, what)
    slack = 1e-4 * (high - low)  # rounding of float32, far below one grey level
    outside = (images < low - slack) | (images > high + slack)
    if outside.any():
        raise ValueError(
            f"{what}: {outside.sum()} of {images.size} values lie outside {low:g} to {high:g} "
            f"(smallest {images.min():g}, largest {images.max():g}): clip them, or pass "
            "value_range=(low, high), the values to show as black and as white"
        )
    levels = (images.clip(low, high) - low) / (high - low)
    return np.round(255 * levels).astype(np.uint8)


def _points(
    x: _Values,
    y: _Values,
    what: str,
    log_x: bool,
    log_y: bool,
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


# Images.


class _Grid(NamedTuple):
    """Equal tiles, enlarged by `zoom`, a frame of one pixel round each, `gap` pixels apart."""

    rows: int
    columns: int
    tile: tuple[int, int]
    zoom: int
    gap: int

    @classmethod
    def of(
        cls,
        tiles: np.ndarray,
        columns: int | None,
        zoom: int | None,
        page: tuple[int, int] = _PAGE,
    ) -> "_Grid":
        """Lays out N tiles, enlarged to fill the page (width, height) but no more than needed."""
        height, width = tiles.shape[1:3]
        columns = _columns(len(tiles)) if columns is None else _check_count("columns", columns)
        rows = math.ceil(len(tiles) / columns)
        if zoom is None:
            spaces = (page[0] // columns - 4) // width, (page[1] // rows - 4) // height
            zoom = max(1, min(*spaces, 96 // max(height, width)))
        gap = 2 if _check_count("zoom", zoom) > 1 else 1
        return cls(rows, columns, (height, width), zoom, gap)

    @property
    def pitch(self) -> tuple[int, int]:
        """Pixels from one tile to the next, down and across."""
        return tuple(side * self.zoom + 2 + self.gap for side in self.tile)

    @property
    def height(self) -> int:
        return self.rows * self.pitch[0] - self.gap

    @property
    def width(self) -> int:
        return self.columns * self.pitch[1] - self.gap

    def centre(self, row: int, column: int) -> tuple[float, float]:
        """The middle of a tile, in pixels down and across."""
        down, across = self.pitch
        return row * down + (down - self.gap) / 2, column * across + (across - self.gap) / 2

    def draw(self, tiles: np.ndarray) -> np.ndarray:
        """Returns the sheet of uint8 tiles as (height, width, 3), white between and after them."""
        sheet = np.full((self.height, self.width, 3), 255, np.uint8)
        for index, tile in enumerate(tiles):
            y = index // self.columns * self.pitch[0]
            x = index % self.columns * self.pitch[1]
            enlarged = tile.repeat(self.zoom, axis=0).repeat(self.zoom, axis=1)
            height, width = enlarged.shape[:2]
            sheet[y : y + height + 2, x : x + width + 2] = _FRAME_GREY
            inside = sheet[y + 1 : y + height + 1, x + 1 : x + width + 1]
            inside[:] = enlarged.reshape(height, width, -1)
        return sheet


def _columns(count: int) -> int:
    """Columns of a grid no taller than wide, with few empty places, as square as that allows."""
    root = math.ceil(math.sqrt(count))
    return min(range(root, min(2 * root, count) + 1), key=lambda c: (-count % c, c))


def _weight_images(
    weights: Num[AnyArray, "visible hidden"], image_shape: Sequence[int], max_units: int
) -> tuple[np.ndarray, int]:
    """Returns the first units' weights as images, and the number of all units."""
    shape = _check_image_shape(image_shape)
    if len(weights) != math.prod(shape):
        raise ValueError(
            f"weights of shape {weights.shape} do not fit image_shape={shape}: expected "
            f"({math.prod(shape)}, hidden units)"
        )
    shown = _finite(weights, "weights").T[: _check_count("max_units", max_units)]
    return shown.reshape(-1, *shape), weights.shape[1]


def _robust_limit(fields: np.ndarray) -> float:
    return float(np.percentile(np.abs(fields), 99.8)) or float(np.abs(fields).max()) or 1.0


def _diverging(fields: np.ndarray, limit: Real | np.ndarray) -> np.ndarray:
    """Returns the colours, uint8 (..., 3), of weights on a scale from −limit to limit."""
    position = (np.clip(fields / limit, -1.0, 1.0) + 1.0) / 2.0
    if fields.ndim == 4:  # (units, rows, columns, 3): grey is zero
        return np.round(255 * position).astype(np.uint8)
    return matplotlib.colormaps[_WEIGHT_COLOURS](position, bytes=True)[..., :3]


# Pages: images and labels at given pixels, a title above, just enough paper round them.


class _Placed(NamedTuple):
    """An image, uint8 (height, width, 3), with its upper left corner at (x, y); y points down."""

    x: int
    y: int
    pixels: np.ndarray


class _Label(NamedTuple):
    """A text at (x, y)."""

    x: Real
    y: Real
    text: str
    ha: str
    va: str
    colour: str = _INK
    rotation: Real = 0


def _beside_row(grid: _Grid, row: int, text: str) -> _Label:
    return _Label(-_SPACE, grid.centre(row, 0)[0], text, "right", "center")


def _part(shown: int, count: int, what: str) -> str:
    """Returns such as "12 units" or "first 12 of 1,000 units"."""
    whole = _count(count, what)
    return whole if shown == count else f"first {shown} of {whole}"


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _number(value: Real) -> str:
    return f"{value:.2g}".replace("-", "−")


def _joined(*parts: str | None) -> str:
    return "; ".join(part for part in parts if part)


def _colour_bar(x: int, height: int, ends: tuple[str, str]) -> tuple[_Placed, list[_Label]]:
    colours = _diverging(np.linspace(1, -1, height - 2)[None, :, None], 1.0)[0]
    pixels = np.full((height, 14, 3), _FRAME_GREY, np.uint8)
    pixels[1:-1, 1:-1] = colours
    places = ((0, ends[1], "top"), (height / 2, "0", "center"), (height, ends[0], "bottom"))
    return _Placed(x, 0, pixels), [_Label(x + 19, y, text, "left", va) for y, text, va in places]


@contextlib.contextmanager
def _style() -> Iterator[None]:
    """Matplotlib's defaults and ours, whatever the caller has set; all is put back afterwards."""
    to_points = 72 / _PIXELS_PER_INCH
    settings = {
        "font.size": _SIZES["label"] * to_points,
        "axes.titlesize": _SIZES["panel"] * to_points,
        "axes.titlelocation": "left",
        "axes.titlepad": 8 * to_points,
        "axes.labelcolor": _FAINT,
        "axes.labelpad": 3 * to_points,
        "axes.xmargin": 0.02,
        "axes.edgecolor": _FAINT,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.labelsize": _SIZES["label"] * to_points,
        "xtick.color": _FAINT,
        "ytick.color": _FAINT,
        "xtick.labelsize": _SIZES["label"] * to_points,
        "ytick.labelsize": _SIZES["label"] * to_points,
        "xtick.major.size": 3 * to_points,
        "ytick.major.size": 3 * to_points,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "lines.linewidth": 1.2,
        "lines.markersize": 2.5,
    }
    with matplotlib.style.context(["default", settings]):
        yield


def _blank() -> Picture:
    figure = Picture(figsize=(8, 8), dpi=_PIXELS_PER_INCH * _DEVICE_PIXELS, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _add_text(figure: Figure, text: str, kind: str, **settings) -> Text:
    """Adds a text whose position is in inches from the lower left corner."""
    size = _SIZES[kind] * 72 / _PIXELS_PER_INCH
    return figure.text(0, 0, text, fontsize=size, transform=figure.dpi_scale_trans, **settings)


def _extent(text: Text) -> tuple[float, float, float, float]:
    """Left, right, top and bottom of a text in pixels from its anchor; y points down."""
    box = text.get_window_extent()
    x, y = text.get_transform().transform(text.get_position())
    edges = box.x0 - x, box.x1 - x, y - box.y1, y - box.y0
    return tuple(edge / _DEVICE_PIXELS for edge in edges)


def _text_width(text: str) -> float:
    left, right, *_ = _extent(_add_text(_blank(), text, "label"))
    return right - left


def _wrapped(figure: Figure, text: str, kind: str, width: Real, **settings) -> Text:
    """Adds a text broken into lines of at most that many pixels."""
    artist = _add_text(figure, "", kind, va="top", **settings)
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        artist.set_text(longer)
        if lines[-1] and _extent(artist)[1] > width:
            lines.append(word)
        else:
            lines[-1] = longer
    artist.set_text("\n".join(lines))
    return artist


def _finish(
    figure: Figure, title: str, subtitle: str | None, width: Real, height: Real
) -> tuple[int, int, int]:
    """Sizes the page for contents of that many pixels and writes the title above them.

    Returns:
      The whole pixels of page width, page height and title, margins included.
    """
    heading = [_wrapped(figure, title, "title", max(width, 480), color=_INK, weight="bold")]
    if subtitle:
        heading.append(_wrapped(figure, subtitle, "subtitle", max(width, 480), color=_FAINT))
    extents = [_extent(text) for text in heading]
    page_width = math.ceil(max([width, *(right for _, right, _, _ in extents)])) + 2 * _MARGIN
    top = _MARGIN
    tops = []
    for _, _, upper, lower in extents:
        tops.append(top - upper)
        top += math.ceil(lower - upper) + 6
    top += 6
    page_height = top + math.ceil(height) + _MARGIN
    figure.set_size_inches(page_width / _PIXELS_PER_INCH, page_height / _PIXELS_PER_INCH)
    for text, y in zip(heading, tops, strict=True):
        text.set_position((_MARGIN / _PIXELS_PER_INCH, (page_height - y) / _PIXELS_PER_INCH))
    return page_width, page_height, top


def _page(
    images: Sequence[_Placed], labels: Sequence[_Label], title: str, subtitle: str | None
) -> Figure:
    """Returns a figure of images and labels, which may lie at negative coordinates."""
    with _style():
        figure = _blank()
        texts = [
            _add_text(
                figure,
                label.text,
                "label",
                ha=label.ha,
                va=label.va,
                color=label.colour,
                rotation=label.rotation,
            )
            for label in labels
        ]
        boxes = [(x, x + p.shape[1], y, y + p.shape[0]) for x, y, p in images]
        for label, text in zip(labels, texts, strict=True):
            left, right, upper, lower = _extent(text)
            boxes.append((label.x + left, label.x + right, label.y + upper, label.y + lower))
        lefts, rights, uppers, lowers = zip(*boxes, strict=True)
        left, upper = math.floor(min(lefts)), math.floor(min(uppers))
        _, page_height, top = _finish(
            figure, title, subtitle, max(rights) - left, max(lowers) - upper
        )
        for x, y, pixels in images:
            height, width, _ = pixels.shape
            corner = (_MARGIN + x - left, page_height - (top + y - upper) - height)
            box = Bbox.from_bounds(*(side / _PIXELS_PER_INCH for side in (*corner, width, height)))
            image = BboxImage(
                TransformedBbox(box, figure.dpi_scale_trans),
                interpolation="nearest",
                origin="upper",
            )
            image.set_data(pixels)
            figure.add_artist(image)
        for label, text in zip(labels, texts, strict=True):
            x, y = _MARGIN + label.x - left, page_height - (top + label.y - upper)
            text.set_position((x / _PIXELS_PER_INCH, y / _PIXELS_PER_INCH))
        return figure


class _Panels:
    """Axes of one size in a grid, with room for whatever stands round each."""

    def __init__(self, count: int, title: str, subtitle: str | None):
        self.title, self.subtitle = title, subtitle
        self.columns = {1: 1, 2: 2, 4: 2}.get(count, 3)
        self.size = {1: (560, 320), 2: (340, 240)}.get(self.columns, (230, 160))
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
        padded[: len(outer)] = np.ceil(outer / _DEVICE_PIXELS)
        padded = padded.reshape(rows, self.columns, 4)
        left, right = padded.max(axis=0)[:, :2].T
        upper, lower = padded.max(axis=1)[:, 2:].T
        # The upper left corners of the axes.
        (width, height), between = self.size, 20
        xs = left + np.cumsum([0, *(left + width + right + between)])[:-1]
        ys = upper + np.cumsum([0, *(upper + height + lower + between)])[:-1]
        page_width, page_height, top = _finish(
            self.figure,
            self.title,
            self.subtitle,
            xs[-1] + width + right[-1],
            ys[-1] + height + lower[-1],
        )
        for index, axes in enumerate(self.axes):
            x = _MARGIN + xs[index % self.columns]
            y = page_height - (top + ys[index // self.columns] + height)
            axes.set_position(
                (x / page_width, y / page_height, width / page_width, height / page_height)
            )
        return self.figure


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
    line = 1.25 * _SIZES["label"] * _DEVICE_PIXELS / (top - bottom)
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


# Files.


def _png(figure: Figure, scale: int) -> bytes:
    buffer = io.BytesIO()
    with _style():
        figure.savefig(buffer, format="png", dpi=_PIXELS_PER_INCH * scale, facecolor="white")
    return buffer.getvalue()


@contextlib.contextmanager
def _replacing(path: str | os.PathLike, ending: str) -> Iterator[IO[bytes]]:
    """Opens a file beside `path` that takes its place if the block ends well, else goes."""
    path = Path(path)
    if path.suffix.lower() != ending:
        raise ValueError(f"{path}: this writes {ending} files: name it {path.stem}{ending}")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            yield file
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _frame(frame: Figure | np.ndarray) -> PIL.Image.Image:
    if isinstance(frame, Figure):
        return PIL.Image.open(io.BytesIO(_png(frame, 1))).convert("RGB")
    if frame.dtype != np.uint8 or frame.ndim not in (2, 3) or frame.shape[2:] not in ((), (3,)):
        raise ValueError(
            f"a frame of type {frame.dtype} and shape {frame.shape}: expected a figure or uint8 "
            "(rows, columns) or (rows, columns, 3)"
        )
    return PIL.Image.fromarray(frame).convert("RGB")


def _padded(image: PIL.Image.Image, width: int, height: int) -> PIL.Image.Image:
    page = PIL.Image.new("RGB", (width, height), "white")
    page.paste(image)
    return page


def _common_palette(images: Sequence[PIL.Image.Image], num_colours: int) -> np.ndarray:
    """Returns the palette for all, (colours, 3): their own colours if few enough, else medians."""
    some = images[:: math.ceil(len(images) / 32)]
    width, height = some[0].size
    strip = PIL.Image.new("RGB", (width, height * len(some)))
    for index, image in enumerate(some):
        strip.paste(image, (0, index * height))
    found = strip.getcolors(num_colours)
    if found is not None:
        return np.array([colour for _, colour in found], np.uint8)
    ends = np.array([[0, 0, 0], [255, 255, 255]], np.uint8)  # medians would tint the paper
    if num_colours == 2:
        return ends
    reduced = strip.quantize(num_colours - 2, method=PIL.Image.Quantize.MEDIANCUT)
    medians = np.array(reduced.getpalette()[: 3 * (num_colours - 2)], np.uint8).reshape(-1, 3)
    return np.concatenate([ends, medians])


def _indexed(image: PIL.Image.Image, palette: np.ndarray) -> PIL.Image.Image:
    """Returns the image in the nearest colours of the palette.

    Pillow's own `quantize` compares colours at 6 bits, which would turn white paper grey.
    """
    pixels = np.asarray(image).astype(np.int32)
    packed = (pixels[..., 0] << 16) + (pixels[..., 1] << 8) + pixels[..., 2]
    colours, places = np.unique(packed, return_inverse=True)
    colours = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1)
    table = palette.astype(np.int32)
    distances = (table**2).sum(axis=1) - 2 * colours @ table.T  # less a constant of each colour
    indices = distances.argmin(axis=1).astype(np.uint8)[places.reshape(packed.shape)]
    indexed = PIL.Image.fromarray(indices)
    indexed.putpalette(palette.tobytes())
    return indexed
