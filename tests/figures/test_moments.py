"""A net at work: every cell of every layer, the image beside it, and the label units."""

import functools

import numpy as np
import pytest

from dbn_jax import figures
from tests.pictures import (
    MARGIN,
    SQUARE,
    assert_readable,
    enlarged,
    find,
    pixels,
    shown_texts,
    words,
)

GREY, ORANGE = (150, 150, 150), (213, 94, 0)
LAYERS = {"low": np.array([1.0, 0, 0, 1, 0]), "top": np.array([0, 1, 0, 0, 1, 1, 0.2, 0])}


def place(figure, text):
    """Where a text's lower left corner is on the page as `pixels` returns it, (down, across)."""
    (found,) = (t for t in shown_texts(figure) if t.get_text() == text)
    box = found.get_window_extent()
    return figure.bbox.height - box.y0, box.x0


def framed(cells, factor):
    """A raster as it is drawn: cells enlarged, a grey frame of one pixel of the page."""
    inside = enlarged(cells, factor)
    page = np.full((inside.shape[0] + 4, inside.shape[1] + 4, 3), GREY[0], np.uint8)
    page[2:-2, 2:-2] = inside
    return page


def test_a_moment_shows_each_unit_the_last_layer_on_top():
    figure = figures.moment(np.array([0, 1, 0.4, 0]), LAYERS, **SQUARE, zoom=9)
    assert_readable(figure)
    page = pixels(figure)
    # Eight units make two rows of four; five make one and a cell, the rest is no unit.
    (top,) = find(page, framed(np.array([[0, 255, 0, 0], [255, 255, 51, 0]], np.uint8), 18))
    low = framed(np.array([[255, 0, 0, 255], [0, 150, 150, 150]], np.uint8), 18)
    (low,) = find(page, low)
    assert top[0] < low[0]
    assert top[1] == low[1] == 2 * MARGIN
    for name, corner in (("top", top), ("low", low)):
        down, across = place(figure, name)
        assert 0 <= corner[0] - down < 20
        assert abs(across - corner[1]) < 4
    side = page.shape[1] - top[1]
    image = np.array([[0, 255], [102, 0]], np.uint8)
    (mind,) = (
        corner for zoom in range(10, side // 4) for corner in find(page, framed(image, 2 * zoom))
    )
    assert mind[0] == top[0]
    assert abs(place(figure, "mind")[1] - mind[1]) < 4


def test_label_units_are_grey_and_the_clamped_one_is_marked():
    labels = {"zero": 0.2, "one": 0.6, "two": 0.0}
    draw = functools.partial(figures.moment, np.zeros(4), LAYERS, **SQUARE, labels=labels)
    figure = draw(clamped="one")
    assert_readable(figure)
    page, free = pixels(figure), pixels(draw())
    for name, level in (("zero", 51), ("one", 153), ("two", 0)):
        down, across = place(figure, name)
        assert (page[int(down) - 50, int(across) + 12] == level).all(), name
    assert (page == ORANGE).all(axis=-1).sum() > 400
    assert not (free == ORANGE).all(axis=-1).any()
    assert "label units" not in words(figures.moment(np.zeros(4), LAYERS, **SQUARE))


def test_moments_stand_in_columns_under_their_times():
    rng = np.random.default_rng(0)
    times, notes = ["shown", "1", "10"], ["a", "b", "c"]
    layers = {"low": rng.integers(0, 2, (3, 4)), "top": rng.integers(0, 2, (3, 8))}
    images = np.arange(3)[:, None] / 4 + np.zeros(4)
    figure = figures.moments(images, layers, **SQUARE, times=times, notes=notes, zoom=8)
    assert_readable(figure)
    page = pixels(figure)
    assert "a | b | c" in words(figure)
    names = [place(figure, name)[0] for name in ("mind", "top", "low")]
    assert names == sorted(names)  # the last layer is the first below the image
    for t, time in enumerate(times):
        x = place(figure, time)[1]
        for name, shape in (("top", (2, 4)), ("low", (1, 4))):
            panel = framed((255 * layers[name][t]).reshape(shape).astype(np.uint8), 16)
            middles = np.array(find(page, panel)) + np.array(panel.shape[:2]) // 2
            apart = np.abs(middles - (place(figure, name)[0] - 10, x + 20))
            assert (apart < (12, 24)).all(axis=1).any()
        assert (page[round(names[0]) - 10, round(x) + 10] == round(255 * t / 4)).all()


def test_times_and_notes_that_would_touch_are_thinned():
    times = [f"{10**10 * (1 + t):,}" for t in range(12)]
    notes = [f"surely a {name} (100%)" for name in "abcdefghijkl"]
    zeros = np.zeros((12, 4))
    figure = figures.moments(zeros, {"low": zeros}, **SQUARE, times=times, notes=notes)
    assert_readable(figure)
    said = words(figure).split(" | ")
    assert [time for time in times if time in said] == times[::2]
    assert [note for note in notes if note in said] == notes[::2]


@pytest.mark.parametrize(("depth", "times"), [(1, 1), (2, 12), (4, 8)])
def test_any_number_of_layers_and_times_fits_the_page(depth, times):
    layers = {f"layer {i}": np.zeros((times, 30 * (i + 1) + 1)) for i in range(depth)}
    images, names = np.zeros((times, 784)), [f"{10**6 + t:,}" for t in range(times)]
    page = {"image_shape": (28, 28), "title": "t"}
    sheet = figures.moments(images, layers, times=names, **page)
    assert_readable(sheet)
    assert sheet.get_size_inches()[0] * 128 < 1300
    one = {name: states[0] for name, states in layers.items()}
    assert_readable(figures.moment(images[0], one, **page))
