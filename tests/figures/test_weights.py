"""Weights and hidden units: colours, scales and what the picture says of them."""

import matplotlib
import numpy as np
import pytest

from dbn_jax import figures
from tests.pictures import MARGIN, assert_readable, enlarged, find, pixels, words


def colours_of(weights, limit):
    return matplotlib.colormaps["RdBu_r"](weights / limit / 2 + 0.5, bytes=True)[..., :3]


def field_tiles(weights, zoom=20, **settings):
    figure = figures.receptive_fields(
        weights, image_shape=(2, 2), columns=1, zoom=zoom, title="", **settings
    )
    page = pixels(figure)
    # One column from the left margin; the colour bar stands at the right.
    first = np.argwhere((page[-2 * MARGIN - 1] != 255).any(axis=-1))[0, 0] + 2
    pitch = 2 * (2 * zoom + 4)
    bottoms = [page.shape[0] - 2 * (MARGIN + 1) - row * pitch for row in range(weights.shape[1])]
    size = 4 * zoom
    tiles = [page[y - size : y, first : first + size] for y in reversed(bottoms)]
    # One device pixel of each weight.
    return [tile[zoom :: 2 * zoom, zoom :: 2 * zoom].reshape(4, 3) for tile in tiles]


def test_the_scale_of_weights_is_symmetric_about_a_white_zero():
    def colour_of(x):
        return np.array(matplotlib.colormaps["RdBu_r"](x, bytes=True)[:3])

    weights = np.array([[1.0, 0.0, -0.25, 0.25], [0.25, 0.0, -0.1, 0.1]]).T  # skewed: no −1
    tile, other = field_tiles(weights, limit=1.0)
    np.testing.assert_array_equal(tile[0], colour_of(1.0))
    np.testing.assert_array_equal(tile[1], colour_of(0.5))
    assert tile[1].min() > 240
    np.testing.assert_array_equal(tile[2], colour_of(0.375))
    np.testing.assert_array_equal(tile[3], colour_of(0.625))
    np.testing.assert_array_equal(other[0], colour_of(0.625))  # one scale for both
    red, blue = tile[0][[0, 2]]
    assert red > blue, "positive weights are red"
    np.testing.assert_array_equal(field_tiles(-weights, limit=1.0)[0][0], colour_of(0.0))


def test_each_unit_on_its_own_scale_hides_its_size():
    weights = np.array([[1.0, -0.5, 0.25, 0.0], [0.01, -0.005, 0.0025, 0.0], [0.0] * 4]).T
    strong, weak, none = field_tiles(weights, scale="unit")
    np.testing.assert_array_equal(strong, weak)
    assert (none == strong[3]).all()
    strong, weak, _ = field_tiles(weights)
    assert (strong != weak).any()


def test_outliers_among_weights_do_not_pale_the_rest_and_are_owned_up_to():
    weights = np.random.default_rng(0).uniform(-1, 1, (64, 500))
    weights[0, 0] = 1000.0

    def said(**settings):
        settings = {"image_shape": (8, 8), "title": "First layer", "subtitle": "CD-1", **settings}
        figure = figures.receptive_fields(weights, **settings)
        assert_readable(figure)
        return words(figure).split(" | ")

    assert {"First layer", "≥ 1", "≤ −1", "CD-1; 100 of 500 units, one scale for all"} <= {*said()}
    assert {"+1e+03", "−1e+03"} <= {*said(limit=1000.0)}
    assert "CD-1; 1 of 500 units, each on its own scale" in said(scale="unit", max_units=1)


def test_development_shows_each_snapshot_on_its_own_scale():
    start = np.random.default_rng(0).normal(0, 0.01, (16, 6))
    both, times = np.stack([start, 50 * start]), ["update 0", "update 40"]
    figure = figures.development(both, image_shape=(4, 4), labels=times, title="")
    assert_readable(figure)
    limit = np.percentile(np.abs(start), 99.8)
    assert f"update 0  (±{limit:.2g}) | update 40  (±{50 * limit:.2g})" in words(figure)
    page = pixels(figure)[-200 - 2 * MARGIN : -2 * MARGIN, 2 * MARGIN :]
    ink = np.flatnonzero((page != 255).any(axis=(0, 2)))
    gap = ink[np.diff(ink, append=ink[-1]).argmax()] + 1  # the widest, between the panels
    first = page[:, :gap]
    np.testing.assert_array_equal(first, page[:, ink[ink >= gap][0] :][:, :gap])
    assert np.ptp(first.astype(int), axis=-1).max() > 100  # the small start has full colours


@pytest.mark.parametrize("count", [2, 7, 30])
def test_labels_wider_than_their_panels_move_these_apart(count):
    figure = figures.development(
        np.random.default_rng(0).normal(size=(count, 64, 1)),
        image_shape=(8, 8),
        labels=[f"epoch {1024 + i}" for i in range(count)],
        title="t",
    )
    assert_readable(figure)
    assert figure.get_size_inches()[0] * 128 <= 900 + 2 * MARGIN


def test_hidden_activities_show_and_count_dead_and_saturated_units():
    probabilities = np.random.default_rng(0).uniform(0.2, 0.8, (230, 20)).astype(np.float32)
    probabilities[:, 3], probabilities[:, 7], probabilities[:, 8] = 0.009, 1, 0.991
    probabilities[:, 4], probabilities[:, 9] = 0.011, 0.989  # neither
    figure = figures.hidden_activities(probabilities, title="Hidden units")
    assert "units off in every case: 1; on in every case: 2" in words(figure)
    assert "200 of 230 cases" in words(figure)
    page = pixels(figure)
    black = (page[..., 0] <= 2).sum(axis=0) >= 200 * 2  # one pixel a case, 2 device pixels each
    assert len(np.flatnonzero(black)) == 12
    assert_readable(figure)


def test_motion_fields_show_the_oldest_frame_first_on_one_scale_for_a_unit():
    weights = np.random.default_rng(0).normal(size=(3, 4, 2))  # delays, pixels, units
    weights[..., 1] *= 100
    draw = {"image_shape": (2, 2), "columns": 1, "zoom": 20, "title": "t"}
    figure = figures.motion_fields(weights, **draw)
    assert_readable(figure)
    assert "t − 3 | t − 2 | t − 1" in words(figure)
    assert "all 2 units, each on its own scale" in words(figure)

    def corners(figure, delays):
        page, found = pixels(figure), []
        for unit in range(2):
            fields = colours_of(weights[..., unit], np.abs(weights[..., unit]).max())
            for delay in delays:
                (corner,) = find(page, enlarged(fields[delay].reshape(2, 2, 3), 40))
                found.append(corner)
        return found

    seen = corners(figure, [2, 1, 0])
    assert seen == sorted(seen)  # unit after unit, in each of them the oldest first
    other = figures.motion_fields(weights, delays=[4, 0, 1], **draw)
    assert "t − 4 | t − 1 | t" in words(other)
    assert corners(other, [0, 2, 1]) == seen


@pytest.mark.parametrize(("order", "units", "zoom"), [(1, 1, None), (2, 50, 1), (12, 7, None)])
def test_motion_fields_of_any_number_fit_the_page(order, units, zoom):
    weights = np.zeros((order, 225, units))
    figure = figures.motion_fields(weights, image_shape=(15, 15), title="t", zoom=zoom)
    assert_readable(figure)
    assert figure.get_size_inches()[0] * 128 < 1000


def recurrent_panel(weights, order):
    shown = colours_of(weights[np.ix_(order, order)], np.abs(weights).max())
    return enlarged(shown, 2 * (560 // len(weights)))


def test_the_order_of_recurrent_weights_uncovers_chains_and_groups():
    shuffled = np.random.default_rng(0).permutation(8)
    back = np.argsort(shuffled)

    def draw(weights):
        weights = weights[np.ix_(shuffled, shuffled)]
        figure = figures.recurrent_weights(weights, title="t", limit=np.abs(weights).max())
        assert_readable(figure)
        return weights, pixels(figure)

    for next_one, order in ((1, back), (-1, back[::-1])):
        weights, page = draw(np.diag(-np.ones(7), next_one))  # each unit drives the next
        assert len(find(page, recurrent_panel(weights, order))) == 1
    groups = np.zeros((8, 8))
    groups[:3, :3], groups[3:, 3:] = 0.5, 1
    weights, page = draw(groups)
    found = [find(page, recurrent_panel(weights, order)) for order in (back, np.roll(back, 5))]
    assert sorted(map(len, found)) == [0, 1]


def test_recurrent_weights_say_their_scale_and_may_be_zero():
    weights = np.zeros((5, 5))
    assert "+1 | 0 | −1" in words(figures.recurrent_weights(weights, title="t"))
    weights[2, 4] = 3.0
    assert "≥ 2" in words(figures.recurrent_weights(weights, title="t", limit=2.0))
