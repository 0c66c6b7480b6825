"""Maps of points: dots where they belong, names and thumbnails that do not overlap, bad input."""

import numpy as np
import pytest
from matplotlib.offsetbox import AnnotationBbox

from dbn_jax import figures
from tests.pictures import assert_readable, pixels, words

RNG = np.random.default_rng(0)
LABELS = np.arange(200) % 10
PLACES = RNG.normal(size=(200, 2)) + 4 * np.stack([np.cos(LABELS), np.sin(LABELS)], axis=1)
IMAGES = RNG.uniform(size=(200, 6 * 5))


@pytest.mark.parametrize("count", [1, 3, 4])
def test_all_points_in_the_colours_of_their_classes(count):
    maps = {f"map {i}": (i + 1) * PLACES for i in range(count)}
    figure = figures.map_of_points(maps, LABELS, title="t", subtitle="s")
    assert_readable(figure)
    assert set(maps) <= set(words(figure).split(" | "))
    for axes, positions in zip(figure.axes, maps.values(), strict=True):
        (dots,) = axes.collections
        np.testing.assert_allclose(dots.get_offsets(), positions)
        colours = dots.get_facecolors()[:, :3]
        np.testing.assert_array_equal(colours, np.tile(colours[:10], (20, 1)))
        apart = np.abs(colours[:10, None] - colours[None, :10]).max(axis=-1) + np.eye(10)
        assert apart.min() > 0.2
        (x, y), (right, up) = axes.transData.transform([[0, 0], [1, 1]])
        assert right - x == pytest.approx(up - y)  # equal units


def test_names_stand_on_points_of_their_class():
    figure = figures.map_of_points({"m": PLACES}, LABELS, title="t")
    assert_readable(figure)
    texts = figure.axes[0].texts
    assert len(texts) > 60
    assert {text.get_text() for text in texts} == set("0123456789")
    for text in texts:
        ours = PLACES[int(text.get_text()) == LABELS]
        assert (ours == text.get_position()).all(axis=1).any()
    copies = figures.map_of_points({"m": np.zeros((5, 2))}, np.arange(5), title="t")
    assert len(copies.axes[0].texts) == 1


def test_classes_have_names():
    names = ["top", "ankle boot", *"bcdefghi"]
    figure = figures.map_of_points({"m": PLACES}, LABELS, title="t", names=names)
    assert_readable(figure)
    texts = figure.axes[0].texts
    assert len(texts) > 20
    assert {text.get_text() for text in texts} <= set(names)
    assert "ankle boot" in words(figure)
    with pytest.raises(ValueError, match="names has 9 entries, and labels go up to 9"):
        figures.map_of_points({"m": PLACES}, LABELS, title="t", names=names[:9])


@pytest.mark.parametrize("name", ["m", "a name of three lines " * 15])
@pytest.mark.parametrize("stretch", [(1, 1), (1, 9), (9, 1)])
def test_thumbnails_lie_on_their_points_and_never_on_each_other(name, stretch):
    figure = figures.map_of_points(
        {name: PLACES * stretch}, LABELS, title="t", thumbnails=IMAGES, image_shape=(6, 5)
    )
    assert_readable(figure)
    (axes,) = figure.axes
    page = pixels(figure)
    tiles = [artist for artist in axes.artists if isinstance(artist, AnnotationBbox)]
    assert 20 < len(tiles) <= 200
    boxes = [tile.offsetbox.get_window_extent() for tile in tiles]
    centres = np.array([(box.p0 + box.p1) / 2 for box in boxes])
    np.testing.assert_allclose(centres, axes.transData.transform([tile.xy for tile in tiles]))
    apart = np.abs(centres[:, None] - centres) - boxes[0].size
    assert (apart.max(axis=-1) + 99 * np.eye(len(tiles))).min() > 3.9  # two pixels of the page
    # No dot is cut by one.
    (dots,) = axes.collections
    radius = np.sqrt(dots.get_sizes()[0]) / 2 * figure.dpi / 72
    away = np.abs(axes.transData.transform(dots.get_offsets())[:, None] - centres)
    assert (away - boxes[0].size / 2 - radius).max(axis=-1).min() > -0.1
    # The first point's comes first: 24 × 20 pixels in the colour of its class on white.
    assert boxes[0].size == pytest.approx((40, 48))
    ink = np.round(255 * IMAGES[0].reshape(6, 5, 1)) / 255
    plain = figures.map_of_points({"m": PLACES}, LABELS, title="t")
    colour = np.round(255 * plain.axes[0].collections[0].get_facecolors()[0, :3])
    expected = ink * colour + (1 - ink) * 255
    x, y = boxes[0].x0, page.shape[0] - boxes[0].y1
    middles = np.ix_((y + 8 * np.arange(6) + 4).astype(int), (x + 8 * np.arange(5) + 4).astype(int))
    np.testing.assert_allclose(page[middles], expected, atol=1)
