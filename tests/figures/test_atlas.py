"""A map of many points: where it is coloured, what its images and names hide, bad input."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from dbn_jax import figures
from dbn_jax.figures import pages
from tests.pictures import assert_readable, pixels, words

RNG = np.random.default_rng(0)
LABELS = np.arange(9000) % 3
CENTRES = np.array([[0.0, 0.0], [10.0, 0.0], [5.0, 8.0]])
PLACES = CENTRES[LABELS] + RNG.normal(size=(9000, 2))
COLOURS = np.round(255 * np.array([to_rgb(colour) for colour in pages.PALETTE[:3]]))


def near(page, colour):
    """Where the page has about that colour."""
    return np.abs(page - colour).max(axis=-1) < 3


def test_crowds_have_the_colours_of_their_classes():
    figure = figures.atlas(PLACES, LABELS, title="t", subtitle="s", names=["left", "right", "up"])
    assert_readable(figure)
    assert {"left", "right", "up"} <= set(words(figure).split(" | "))
    page = pixels(figure).astype(float)
    middles = np.array([np.mean(np.argwhere(near(page, colour)), axis=0) for colour in COLOURS])
    (row, column), (right_row, right), (up_row, up) = middles
    assert abs(row - right_row) < 0.05 * (right - column)
    assert abs(up - (column + right) / 2) < 0.05 * (right - column)
    assert row - up_row == pytest.approx(0.8 * (right - column), rel=0.05)
    # A name stands in its colour on white: nothing of its box is coloured without it.
    for text, colour in zip(figure.texts[:3], COLOURS, strict=True):
        box = text.get_window_extent()
        around = page[
            int(page.shape[0] - box.y1) : int(page.shape[0] - box.y0), int(box.x0) : int(box.x1)
        ]
        share = (255 - around) / np.maximum(255 - colour, 1)
        assert (
            np.abs(share - share.mean(axis=-1, keepdims=True))[:, :, 255 - colour > 60].max() < 0.1
        )


def test_images_stand_on_crowds_and_never_on_each_other():
    ink = np.ones((9000, 6 * 5))
    options = {"title": "t", "thumbnails": ink, "image_shape": (6, 5)}
    plain = pixels(figures.atlas(PLACES, LABELS, title="t"))
    page = pixels(figures.atlas(PLACES, LABELS, **options))
    assert page.shape == plain.shape
    changed = (page != plain).any(axis=-1)
    assert (page[changed] == 255).all()
    # Each is 6 × 5 pixels of two device pixels.
    sizes = np.diff(np.flatnonzero(np.diff(np.pad(changed[changed.any(axis=1)][0], 1))))[::2]
    assert set(sizes) == {10}
    assert 400 * 120 < changed.sum() < 1200 * 120
    assert changed.sum() % 120 == 0


def boxes(figure, names):
    """Where names are printed, in device pixels."""
    return [x.get_window_extent() for x in figure.texts if x.get_text() in names]


@pytest.mark.parametrize("shape", [(42, 42), (64, 40), (132, 132)])
def test_large_images_find_places_on_the_page(shape):
    thumbnails = np.ones((9000, shape[0] * shape[1]), np.uint8)
    options = {"thumbnails": thumbnails, "image_shape": shape, "title": "t"}
    crowd = RNG.random((9000, 2))  # to the edges
    plain, page = (pixels(figures.atlas(crowd, LABELS, **x)) for x in ({"title": "t"}, options))
    number = (page != plain).any(axis=-1).sum() / (4 * shape[0] * shape[1])
    assert number > 5


def test_names_at_the_edges_are_not_printed_over_each_other():
    crowds = np.array([[0.0, 0.0], [0.0, 0.3], [0.0, 10.0], [0.3, 10.0], [9.0, 5.0]])
    labels = np.arange(5000) % 5
    places = crowds[labels] + 0.1 * np.random.default_rng(0).normal(size=(5000, 2))
    names = ["Anna Hummingbird", "Bald Eagle at sea", "Crane", "Dove of the rocks", "Emu"]
    found = boxes(figures.atlas(places, labels, title="t", names=names), names)
    assert len(found) == 5
    for i, box in enumerate(found):
        assert not any(box.overlaps(other) for other in found[:i])


def test_a_place_for_all_points_and_no_room_for_a_name():
    nowhere = np.zeros((9, 2))
    assert {"one", "two"} <= set(
        words(figures.atlas(nowhere, LABELS[:9] % 2, title="t", names=["one", "two"])).split(" | ")
    )
    figures.atlas(PLACES, LABELS, title="t", names=["x" * 300] * 3)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="labels has 9 entries for 9000 points"):
        figures.atlas(PLACES, LABELS[:9], title="t")
    with pytest.raises(ValueError, match="names has 2 entries, and labels go up to 2"):
        figures.atlas(PLACES, LABELS, title="t", names=["a", "b"])
    with pytest.raises(ValueError, match="thumbnails has 3 entries for 9000 points"):
        figures.atlas(PLACES, LABELS, title="t", thumbnails=np.ones((3, 4)), image_shape=(2, 2))
    bad = PLACES.copy()
    bad[3, 1] = np.nan
    with pytest.raises(ValueError, match="positions: 1 of 18000 values are NaN"):
        figures.atlas(bad, LABELS, title="t")
