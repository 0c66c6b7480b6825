"""Maps of points: dots where they belong, names and thumbnails that do not overlap, bad input."""

import matplotlib.colors
import numpy as np
import pytest

from dbn_jax import figures
from tests.pictures import assert_readable, pixels, words

RNG = np.random.default_rng(0)
LABELS = np.arange(200) % 10
PLACES = RNG.normal(size=(200, 2)) + 4 * np.stack([np.cos(LABELS), np.sin(LABELS)], axis=1)
IMAGES = RNG.uniform(size=(200, 6 * 5))


def dots(figure, panel=0):
    (collection,) = figure.axes[panel].collections
    return collection


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_all_points_in_the_colours_of_their_classes(count):
    maps = {f"map {i}": (i + 1) * PLACES for i in range(count)}
    figure = figures.map_of_points(maps, LABELS, title="t", subtitle="s")
    assert_readable(figure)
    for panel, (name, positions) in enumerate(maps.items()):
        assert name in words(figure)
        np.testing.assert_allclose(dots(figure, panel).get_offsets(), positions)
        colours = dots(figure, panel).get_facecolors()
        assert len(np.unique(colours, axis=0)) == 10
        for label in range(10):
            assert len(np.unique(colours[label == LABELS], axis=0)) == 1
        axes = figure.axes[panel]
        assert np.diff(axes.get_xlim()) == pytest.approx(np.diff(axes.get_ylim()))
        box = axes.get_window_extent()
        assert box.width == pytest.approx(box.height)


def test_names_stand_on_points_of_their_class():
    names = [f"n{label}" for label in range(10)]
    figure = figures.map_of_points({"m": PLACES}, LABELS, names=names, title="t")
    (axes,) = figure.axes
    assert len(axes.texts) > 60
    assert {text.get_text() for text in axes.texts} == set(names)
    to_pixels = axes.transData.transform(PLACES)
    for text in axes.texts:
        place = axes.transAxes.transform(text.get_position())
        nearest = np.abs(to_pixels - place).max(axis=1)
        ours = np.char.add("n", LABELS.astype(str)) == text.get_text()
        assert nearest[ours].min() <= 3
    assert_readable(figure)


def test_colours_differ_in_lightness_or_hue():
    rgb = dots(figures.map_of_points({"m": PLACES}, LABELS, title="t")).get_facecolors()[:10, :3]
    assert [matplotlib.colors.to_hex(colour) for colour in rgb[:1]] == ["#0072b2"]
    apart = np.abs(rgb[:, None] - rgb[None]).max(axis=-1) + np.eye(10)
    assert apart.min() > 0.2


def test_thumbnails_lie_on_their_points_and_never_on_each_other():
    figure = figures.map_of_points(
        {"m": PLACES}, LABELS, title="t", thumbnails=IMAGES, image_shape=(6, 5)
    )
    assert_readable(figure)
    (axes,) = figure.axes
    (image,) = axes.get_images() or [a for a in axes.artists] or [None]
    raster = np.asarray(image.get_array())
    side = raster.shape[0]
    opaque = raster[..., 3] > 0
    assert opaque.sum() % 480 == 0  # each is enlarged to 24 × 20
    assert 40 < opaque.sum() / 480 <= 200
    # The first point's comes first, so that it is there, whole.
    low, high = np.array([axes.get_xlim(), axes.get_ylim()]).T
    across, up = (PLACES[0] - low) / (high - low) * side
    x, y = round(across - 10), round(side - up - 12)
    tile = raster[y : y + 24, x : x + 20, :3]
    ink = np.round(255 * IMAGES[0].reshape(6, 5, 1)) / 255
    ink = ink.repeat(4, axis=0).repeat(4, axis=1)
    colour = np.round(255 * dots(figure).get_facecolors()[0, :3])
    np.testing.assert_allclose(tile, ink * colour + (1 - ink) * 255, atol=1)
    # On the page it is enlarged by whole device pixels.
    page, box = pixels(figure), axes.get_window_extent()
    top = round(page.shape[0] - box.y1)
    left = round(box.x0)
    shown = page[top + 2 * y : top + 2 * y + 48, left + 2 * x : left + 2 * x + 40]
    np.testing.assert_array_equal(shown, tile.repeat(2, axis=0).repeat(2, axis=1))


def test_copies_of_a_point_share_one_name():
    figure = figures.map_of_points({"m": np.zeros((5, 2))}, np.arange(5), title="t")
    assert len(figure.axes[0].texts) == 1
    assert_readable(figure)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"maps": {}}, "maps is empty"),
        ({"maps": {"m": np.full((200, 2), np.nan)}}, r'maps\["m"\]: 400 of 400 values are NaN'),
        ({"maps": {"m": np.zeros((0, 2))}}, r'maps\["m"\]: empty'),
        ({"labels": LABELS[:5]}, r'labels has 5 entries for 200 points in maps\["m"\]'),
        ({"labels": LABELS - 1}, "labels go down to -1"),
        ({"names": ["a"]}, "names has 1 entries, but labels go up to 9"),
        ({"thumbnails": IMAGES}, "image_shape=None"),
        ({"thumbnails": IMAGES, "image_shape": (5, 5)}, "do not fit image_shape"),
        ({"thumbnails": IMAGES[:7], "image_shape": (6, 5)}, "thumbnails has 7 entries"),
        ({"thumbnails": 2 * IMAGES, "image_shape": (6, 5)}, "outside 0 to 1"),
    ],
)
def test_bad_input_is_refused_with_what_is_wrong(changes, message):
    arguments = {"maps": {"m": PLACES}, "labels": LABELS, "title": "t", **changes}
    with pytest.raises(ValueError, match=message):
        figures.map_of_points(**arguments)
