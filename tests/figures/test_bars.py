"""Grouped bars: heights, numbers, legends, and what is refused."""

import numpy as np
import pytest

from dbn_jax import figures
from tests.pictures import assert_readable, pixels, words

NAMES = ["neither", "earthquake", "truck", "both"]


def heights(axes):
    return [[bar.get_height() for bar in container] for container in axes.containers]


def test_bars_have_the_heights_numbers_and_colours_of_their_series():
    first, second = [4.5e-5, 0.5, 0.5, 0], np.array([0.25] * 4)
    figure = figures.bars(
        {"sampled": {"a": first, "b": second}, "exact": {"b": second}},
        NAMES,
        title="t",
        subtitle="how",
        y_label="probability",
    )
    assert heights(figure.axes[0]) == [first, [0.25] * 4]
    colours = [
        [container[0].get_facecolor() for container in axes.containers] for axes in figure.axes
    ]
    assert colours[0][1] == colours[1][0] != colours[0][0]
    for axes in figure.axes:  # the middle of each group stands over its name
        edges = [[(bar.get_x(), bar.get_width()) for bar in c] for c in axes.containers]
        middles = np.mean([[x + width / 2 for x, width in group] for group in edges], axis=0)
        np.testing.assert_allclose(middles, axes.get_xticks())
    said = words(figure)
    assert {"4.5e−05", "0.25", "earthquake", "exact", "probability"} <= set(said.split(" | "))
    assert [axes.get_ylim() for axes in figure.axes] == [pytest.approx((0, 0.7))] * 2
    assert [axes.get_legend() is not None for axes in figure.axes] == [True, True]
    assert_readable(figure)


def test_panels_that_are_alike_share_a_legend_and_negative_bars_hang_down():
    panels = {name: {"x": [-30, 20], "y": [5, -1]} for name in "PQRS"}
    figure = figures.bars(panels, ["0", "1"], title="t", share_y=False)
    assert [axes.get_legend() is not None for axes in figure.axes] == [False, True, False, False]
    low, high = figure.axes[0].get_ylim()
    assert (low, high) == pytest.approx((-50, 40))
    assert "−30" in words(figure)
    assert_readable(figure)


def test_twenty_eight_series_differ_in_colour_or_hatching_and_more_are_refused():
    series = {f"series {i}": [1.0] for i in range(28)}
    figure = figures.bars({"p": series}, ["a"], title="t")
    assert_readable(figure)
    (axes,) = figure.axes
    page = pixels(figure)
    places = axes.transData.transform([[bar.get_x(), 0] for (bar,) in axes.containers])
    seen = set()
    for x, y in places.round().astype(int):
        seen.add(page[page.shape[0] - y - 120 : page.shape[0] - y - 20, x + 4 : x + 28].tobytes())
    assert len(seen) == 28
    looks = {(bar.get_facecolor(), bar.get_hatch()) for (bar,) in axes.containers}
    assert len(looks) == 28
    with pytest.raises(ValueError, match="29 series: only 28"):
        figures.bars({"p": series | {"more": [1.0]}}, ["a"], title="t")


def test_a_lone_series_needs_no_legend():
    figure = figures.bars({"p": {"p": [1, 2]}}, ["a", "b"], title="t")
    assert figure.axes[0].get_legend() is None
    assert_readable(figure)


@pytest.mark.parametrize(
    ("panels", "message"),
    [
        ({}, "no panel"),
        ({"p": {}}, r"no series in panels \['p'\]"),
        ({"p": {"s": [1, np.nan]}}, 'series "s" of panel "p": 1 of 2 values'),
        ({"p": {"s": [1, 2, 3]}}, 'names has 2 entries for 3 values of "s" in panel "p"'),
    ],
)
def test_bad_input_is_refused_with_what_is_wrong(panels, message):
    with pytest.raises(ValueError, match=message):
        figures.bars(panels, ["a", "b"], title="t")


def test_bars_of_nothing_stand_on_a_line():
    figure = figures.bars({"p": {"p": [0, 0]}}, ["a", "b"], title="run $a_ {x$")  # no formula
    low, high = figure.axes[0].get_ylim()
    assert low == 0 < high
    assert_readable(figure)
