"""Learning curves, bars and histograms: what is drawn, how it is told apart, what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import figures
from tests.pictures import assert_readable, pixels, words

NAMES = ["neither", "earthquake", "truck", "both"]


def curve(y):
    lines = {"e": {"e": (np.arange(len(y)), y)}}
    return figures.learning_curves(lines, title="t", x_label="x")


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_learning_curves_draw_what_there_is_in_one_colour_a_name():
    x = np.arange(4)
    train, test = np.array([4.0, 3, 2, 1]), np.array([5.0, np.nan, 3, np.nan])
    figure = figures.learning_curves(
        {
            "error": {"train": (x, train), "test": (x, test)},
            "free energy": {"test": (x, -test)},
            "norm": {"norm": (x, train)},
        },
        title="Learning curves",
        x_label="epoch",
        log_y=["norm"],
    )
    first, second = figure.axes[0].lines
    np.testing.assert_array_equal(first.get_xydata(), np.stack([x, train], axis=1))
    np.testing.assert_array_equal(second.get_xydata(), [[0, 5], [2, 3]])
    assert figure.axes[1].lines[0].get_color() == second.get_color() != first.get_color()
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", "linear", "log"]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["error", "free energy", "norm"]
    assert legend(figure) == ["train", "test"]  # the panel's name stands for its only line
    colours = [line.get_color() for line in figure.legends[0].get_lines()]
    assert colours == [first.get_color(), second.get_color()]
    assert_readable(figure)


def test_ten_lines_differ_in_their_looks():
    x = np.arange(1, 20)
    lines = {f"rate {i}": (x, 1 / x + 1e-4 * i) for i in range(10)}
    figure = figures.learning_curves({"error": lines}, title="t", x_label="update", log_x=True)
    assert_readable(figure)
    for drawn in (figure.axes[0].lines, figure.legends[0].get_lines()):
        assert len({(line.get_color(), str(line.get_linestyle())) for line in drawn}) == 10
    assert legend(figure) == list(lines)


@pytest.mark.parametrize(
    ("y", "inside"),
    [([0.0, 0.5, 1.0], True), ([0.01, 0.02, 0.0], True), ([0.0, 0.5, 1.1], False)],
)
def test_the_axis_of_a_rate_ends_at_0_and_1(y, inside):
    low, high = curve(y).axes[0].get_ylim()
    assert low <= min(y) < max(y) <= high
    assert (low >= 0 and high <= 1) == inside


def test_shares_are_in_percent():
    x = [1, 10, 100, 2000]
    lines = {
        "error rate": {"training": (x, [0.5, 0.2, 0.0, 1.0])},
        "loss": {"l": (x, [3, 2, 1, 0])},
    }
    for log_x in (False, True):
        figure = figures.learning_curves(
            lines, title="t", x_label="update", shares=["error rate"], log_x=log_x
        )
        assert_readable(figure)
        rate, loss = ([t.get_text() for t in axes.get_yticklabels()] for axes in figure.axes)
        assert {"0%", "20%", "100%"} <= set(rate)
        assert not any("%" in text for text in loss)
        assert "1,000" in words(figure)  # of the updates
    with pytest.raises(ValueError, match=r"shares names \['rate'\], but the panels are"):
        figures.learning_curves(lines, title="t", x_label="x", shares=["rate"])


def test_ticks_say_their_value():
    """A curve that hardly moves: no offset to be added in the head."""
    figure = curve(52.73 + 1e-3 * np.arange(5))
    assert_readable(figure)
    assert "| 52.73" in words(figure)
    assert figure.axes[0].yaxis.get_offset_text().get_text() == ""


def test_a_line_that_diverges_says_so():
    lines = {"f": (range(3), [1.0, 2, 3]), "g": (range(3), [1.0, 2, np.inf])}
    figure = figures.learning_curves({"e": lines}, title="t", x_label="x")
    assert "e (g: infinite at the end)" in words(figure)


def test_numbers_between_infinities_are_points():
    def coloured(y):
        page = pixels(curve(y)).astype(int)
        return (page[..., 2] - page[..., 0] > 100).sum()

    inf = np.inf
    dot = coloured([inf, inf, 2.0])
    assert dot > 20
    assert abs(coloured([inf] * 15 + [2.0]) - dot) < 0.2 * dot
    assert coloured([1.0, inf] * 10 + [3.0]) > 6 * dot
    # Where there are lines, many points get no marker.
    assert abs(coloured([1.0] * 20) - coloured([1.0] * 200)) < dot


def test_bars_have_the_heights_numbers_and_colours_of_their_series():
    first, second = [4.5e-5, 0.5, 0.5, 0], np.array([0.25, 0.25, 0.25, 1.0])
    figure = figures.bars(
        {"sampled": {"a": first, "b": second}, "exact": {"b": second}},
        NAMES,
        title="t",
        subtitle="how",
        y_label="probability",
    )
    containers = [axes.containers for axes in figure.axes]
    bars = [container for inside in containers for container in inside if container.patches]
    heights = [[bar.get_height() for bar in container] for container in bars]
    assert heights == [first, second.tolist(), second.tolist()]
    colours = [container[0].get_facecolor() for container in bars]
    assert colours[1] == colours[2] != colours[0]
    assert legend(figure) == ["a", "b"]
    middles = np.mean([[bar.get_x() + bar.get_width() / 2 for bar in c] for c in bars[:2]], axis=0)
    np.testing.assert_allclose(middles, range(4), atol=1e-9)  # over their names
    assert {"4.5e−05", "0.25", "earthquake", "exact", "probability"} <= {
        *words(figure).split(" | ")
    }
    assert_readable(figure)
    for axes in figure.axes:  # a probability's axis ends at 1
        assert axes.spines.left.get_bounds() == (0, 1)
        assert axes.get_yticks()[[0, -1]].tolist() == [0, 1]


def test_negative_bars_hang_down_and_a_lone_series_needs_no_legend():
    panels = {name: {name: [-30, 20 + i]} for i, name in enumerate("PQRS")}
    figure = figures.bars(panels, ["0", "1"], title="run $a_ {x$")  # no formula
    assert legend(figure) == []
    assert {axes.get_ylim() for axes in figure.axes} == {figure.axes[0].get_ylim()}
    assert "−30" in words(figure)
    assert_readable(figure)
    assert_readable(figures.bars({"p": {"p": [0, 0]}}, ["a", "b"], title="t"))


def test_histograms_count_every_value():
    arrays = {"weights": np.random.default_rng(0).normal(2, 0.5, (30, 20)), "updates": jnp.zeros(7)}
    figure = figures.histograms(arrays, title="Histograms")
    for axes, array in zip(figure.axes, arrays.values(), strict=True):
        counts = axes.patches[0].get_data().values
        assert counts.sum() == array.size
        assert 1 < axes.get_ylim()[1] / counts.max() < 1.2
    said = words(figure)
    assert "weights (600)" in said
    assert f"mean {arrays['weights'].mean():.2g}, s.d. {arrays['weights'].std():.2g}" in said
    assert_readable(figure)


@pytest.mark.parametrize("values", [[1e20] * 10, [1, 1 + 2.3e-16], [-4.0] * 3, [0, 2e-200]])
def test_histograms_of_equal_and_nearly_equal_values_are_drawn(values):
    figure = figures.histograms({"w": np.array(values)}, title="t")
    assert figure.axes[0].patches[0].get_data().values.sum() == len(values)
    assert_readable(figure)


def test_standard_errors_are_bands_of_one_to_each_side_of_their_line():
    ahead, errors = np.arange(1, 4), np.array([3.0, np.nan, 6.0])
    lines = {"net": (ahead, errors, [0.5, np.nan, 1.0]), "copy": (ahead, 2 * ahead)}
    figure = figures.learning_curves({"error": lines}, title="t", x_label="frames ahead")
    (band,) = figure.axes[0].collections  # of the net alone
    corners = {tuple(point) for point in band.get_paths()[0].vertices.tolist()}
    assert corners == {(1, 2.5), (1, 3.5), (3, 5.0), (3, 7.0)}
