"""Learning curves and histograms, and the file that curves come from."""

import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import figures
from dbn_jax.figures import curves
from tests.pictures import assert_readable, pixels, words


def curves_of(figure, axes):
    """The lines drawn from data, without the strokes beside the labels."""
    return [line for line in figure.axes[axes].lines if line.get_clip_on()]


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
    first, second = curves_of(figure, 0)
    np.testing.assert_array_equal(first.get_xydata(), np.stack([x, train], axis=1))
    np.testing.assert_array_equal(second.get_xydata(), [[0, 5], [2, 3]])
    assert curves_of(figure, 1)[0].get_color() == second.get_color() != first.get_color()
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", "linear", "log"]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["error", "free energy", "norm"]
    said = words(figure).split(" | ")
    assert said.count("test") == 2
    assert said.count("norm") == 1  # the panel's name labels its only line
    assert_readable(figure)


def test_ten_lines_that_end_together_stay_apart_in_look_and_label():
    x = np.arange(1, 20)
    lines = {f"rate {i}": (x, 1 / x + 1e-4 * i) for i in range(10)}
    figure = figures.learning_curves({"error": lines}, title="t", x_label="update", log_x=True)
    assert_readable(figure)
    looks = {(line.get_color(), str(line.get_linestyle())) for line in curves_of(figure, 0)}
    assert len(looks) == 10
    labels = [text for text in figure.axes[0].texts if text.get_text().startswith("rate")]
    assert [text.get_text() for text in labels] == list(lines)  # upwards, as the lines end
    centre = np.mean([text.get_position()[1] for text in labels])
    ends = figure.axes[0].transData.transform([(19, y[-1]) for _, y in lines.values()])[:, 1]
    box = figure.axes[0].get_window_extent()
    assert centre == pytest.approx(((ends - box.y0) / box.height).mean(), abs=0.01)


def test_a_line_that_diverges_says_so():
    y = np.array([1.0, 2.0, np.inf])
    figure = figures.learning_curves({"e": {"e": (range(3), y)}}, title="t", x_label="x")
    assert "e (infinite at the end)" in words(figure)


def test_numbers_between_infinities_are_points():
    def coloured(y):
        y = np.array(y)
        figure = figures.learning_curves(
            {"e": {"e": (np.arange(len(y)), y)}}, title="t", x_label="x"
        )
        page = pixels(figure).astype(int)
        return (page[..., 2] - page[..., 0] > 100).sum()

    inf = np.inf
    dot = coloured([inf, inf, 2.0])
    assert dot > 20
    assert coloured([inf] * 15 + [2.0]) == dot
    assert coloured([1.0, inf] * 10 + [3.0]) > 6 * dot
    # Where there are lines, many points get no marker.
    assert abs(coloured([1.0] * 20) - coloured([1.0] * 200)) < dot


@pytest.mark.parametrize(
    ("heights", "expected"),
    [
        ([0, 0, 0], [-1, 0, 1]),
        ([0, 5, 5.5], [0, 4.75, 5.75]),
        ([0, 1, 1, 1], [-0.75, 0.25, 1.25, 2.25]),  # the third moves the second onto the first
        ([0.5, 1, 1, 1, 9], [-0.625, 0.375, 1.375, 2.375, 9]),
    ],
)
def test_labels_are_moved_as_little_as_keeps_them_apart(heights, expected):
    np.testing.assert_allclose(curves._spread(heights, 1), expected)


def test_histograms_count_every_value():
    rng = np.random.default_rng(0)
    arrays = {"weights": rng.normal(2, 0.5, (30, 20)), "updates": jnp.zeros(7)}
    figure = figures.histograms(arrays, title="Histograms", num_bins=10)
    for axes, array in zip(figure.axes, arrays.values(), strict=True):
        assert axes.patches[0].get_data().values.sum() == array.size
    assert len(figure.axes[0].patches[0].get_data().values) == 10
    assert "weights (600)" in words(figure)
    assert f"mean {arrays['weights'].mean():.2g}, s.d. {arrays['weights'].std():.2g}" in words(
        figure
    )
    assert_readable(figure)
    # Nearly all the height is used, and the tallest bar is not cut.
    tallest = figure.axes[0].patches[0].get_data().values.max()
    assert 1 < figure.axes[0].get_ylim()[1] / tallest < 1.2


@pytest.mark.parametrize(
    ("values", "mean", "deviation"),
    [
        (np.full(10, 1e20), "1e+20", "0"),
        ([1, 1 + 2.3e-16], "1", "1.6e-16"),
        ([-1.7e308, 1.7e308], "0", "1.7e+308"),
        (np.full(3, -1.7e308), "−1.7e+308", "0"),
        ([1e200, 3e200], "2e+200", "1e+200"),
        ([0, 2e-200], "1e-200", "1e-200"),
        ([0, 8e-320], "4e-320", "4e-320"),
    ],
)
def test_histograms_of_huge_tiny_and_nearly_equal_values_are_drawn(values, mean, deviation):
    values = np.array(values)
    figure = figures.histograms({"w": values}, title="t")
    assert_readable(figure)
    (axes,) = figure.axes
    assert axes.patches[0].get_data().values.sum() == len(values)
    said = words(figure)
    assert f"mean {mean}, s.d. {deviation}".replace("e-", "e−") in said
    pixels(figure)  # without a warning


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: figures.learning_curves({}, title="t", x_label="x"), "no panel"),
        (lambda: figures.learning_curves({"p": {}}, title="t", x_label="x"), r"panels \['p'\]"),
        (
            lambda: figures.learning_curves(
                {"p": {"l": ([1], [0])}}, title="t", x_label="x", log_y="p"
            ),
            'line "l" of panel "p": y goes down to 0.*without log_y',
        ),
        (
            lambda: figures.learning_curves(
                {"p": {"l": ([1], [1])}}, title="t", x_label="x", log_y="q"
            ),
            r"log_y names \['q'\]",
        ),
        (
            lambda: figures.learning_curves({"p": {"l": ([1, 2], [1])}}, title="t", x_label="x"),
            "equal lengths",
        ),
        (
            lambda: figures.learning_curves({"p": {"l": ([1], [np.nan])}}, title="t", x_label="x"),
            "nothing to draw",
        ),
        (lambda: figures.histograms({}, title="t"), "arrays is empty"),
        (
            lambda: figures.histograms({"w": np.array([0.0, np.nan, 0.5, np.nan])}, title="t"),
            '"w": 2 of 4 values are NaN',
        ),
    ],
)
def test_bad_input_is_refused_with_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_read_metrics(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,error,test error\n0,2.5,\n40,1e-3,nan\n80, ,-inf\n")
    metrics = figures.read_metrics(path)
    assert list(metrics) == ["step", "error", "test error"]
    np.testing.assert_array_equal(metrics["step"], [0, 40, 80])
    np.testing.assert_array_equal(metrics["error"], [2.5, 1e-3, np.nan])
    np.testing.assert_array_equal(metrics["test error"], [np.nan, np.nan, -np.inf])
    path.write_text("step,error\n")
    assert figures.read_metrics(path)["error"].shape == (0,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected a header"),
        ("a,a\n1,2\n", "distinct names"),
        ("a,b\n1,2\n3\n", "line 3: 1 cells, but the header names 2"),
        ("a,b\n1,two\n", "line 2, column \"b\": 'two' is not a number"),
    ],
)
def test_read_metrics_names_the_line_at_fault(tmp_path, text, message):
    path = tmp_path / "metrics.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        figures.read_metrics(path)


def test_ticks_say_their_value():
    """A curve that hardly moves: no offset to be added in the head."""
    x = np.arange(5)
    figure = figures.learning_curves({"e": {"e": (x, 52.73 + 1e-3 * x)}}, title="t", x_label="x")
    ticks = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert any(text.startswith("52.73") for text in ticks)
    assert figure.axes[0].yaxis.get_offset_text().get_text() == ""
    assert_readable(figure)
