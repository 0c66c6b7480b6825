"""Grouped bars: heights, numbers, legends, and what is refused."""

import numpy as np
import pytest

from dbn_jax import figures
from tests.pictures import assert_readable, words

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
