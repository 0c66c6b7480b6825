"""What a classifier answers: every number and shade where it belongs."""

import numpy as np
import pytest

from dbn_jax import figures
from tests.pictures import assert_readable, pixels, shown_texts, words

COUNTS = np.array([[1200, 3, 0], [1, 80, 6], [0, 0, 0]])


def centre(figure, text):
    """Where a text stands, in pixels of the picture: down, across."""
    (box,) = [t.get_window_extent() for t in shown_texts(figure) if t.get_text() == text]
    return figure.bbox.height - (box.y0 + box.y1) / 2, (box.x0 + box.x1) / 2


def test_counts_stand_in_the_cells_of_their_classes():
    figure = figures.confusion_matrix(
        COUNTS, names=["zero", "one", "two"], title="t", subtitle="made up"
    )
    assert_readable(figure)
    said = words(figure).split(" | ")
    # Empty cells stay empty; the share of errors of a class that does not occur is none.
    assert sorted(w for w in said if w[0].isdigit()) == [
        "0.2%",
        "1",
        "1,200",
        "3",
        "6",
        "8.0%",
        "80",
    ]
    rows = {"1,200": 0, "3": 0, "0.2%": 0, "1": 1, "80": 1, "6": 1, "8.0%": 1}
    columns = {"1,200": 0, "1": 0, "3": 1, "80": 1}
    down, across = np.array([centre(figure, text) for text in ("1,200", "80")]).T
    for text, row in rows.items():
        assert abs(centre(figure, text)[0] - down[row]) < 3, text
    for text, column in columns.items():
        assert abs(centre(figure, text)[1] - across[column]) < 3, text
    assert across[1] + 20 < centre(figure, "6")[1] < centre(figure, "8.0%")[1]
    # The true class of a row at its left, the answer of a column above it: names occur twice.
    places = [t.get_window_extent() for t in shown_texts(figure) if t.get_text() == "one"]
    assert len(places) == 2


def test_long_names_stand_upright_above_their_columns():
    names = ["T-shirt/top", "Trouser", "Pullover", "Ankle boot"]
    figure = figures.confusion_matrix(np.diag([11, 12, 13, 14]), names=names, title="t")
    assert_readable(figure)
    for name, count in zip(names, ("11", "12", "13", "14"), strict=True):
        boxes = [t.get_window_extent() for t in shown_texts(figure) if t.get_text() == name]
        above = max(boxes, key=lambda box: box.y1)
        assert abs((above.x0 + above.x1) / 2 - centre(figure, count)[1]) < 4, name


def test_errors_are_shaded_and_hits_are_not():
    figure = figures.confusion_matrix(COUNTS, names=["zero", "one", "two"], title="t")
    page = pixels(figure)[:, :, 0]

    def shade(text):
        y, x = (round(side) for side in centre(figure, text))
        return np.median(page[y - 24 : y + 24, x - 24 : x + 24])

    assert shade("1,200") == shade("80") == 255
    assert 255 > shade("1") > shade("3") > shade("6") == 150  # ink on it has a contrast of 5.9


def test_without_any_error_all_is_white():
    figure = figures.confusion_matrix(np.diag([5, 5]), title="t")
    assert_readable(figure)
    assert words(figure).count("0.0%") == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: figures.confusion_matrix(np.ones((2, 3)), title="t"), r"\(2, 3\).*\(classes"),
        (lambda: figures.confusion_matrix(np.ones((0, 0)), title="t"), r"shape \(0, 0\)"),
        (
            lambda: figures.confusion_matrix(np.eye(2), names=["a"], title="t"),
            "names has 1 entries for 2 classes",
        ),
        (
            lambda: figures.reliability(np.ones(2), np.ones(2), np.ones(3), title="t"),
            r"different lengths: 2, 2 and 3",
        ),
        (
            lambda: figures.reliability(np.ones(2), np.ones(2), np.array([3, 0]), title="t"),
            "counts must be at least 1",
        ),
        (
            lambda: figures.confusion_matrix(np.array([[1, -1], [0, 1]]), title="t"),
            "counts go down to -1",
        ),
        (
            lambda: figures.confusion_matrix(np.array([[1, 0], [np.nan, 1]]), title="t"),
            r"counts: 1 of 4 values are NaN or infinite, the first at \[1, 0\]",
        ),
        (
            lambda: figures.reliability(
                np.array([np.nan]), np.array([1.0]), np.array([1]), title="t"
            ),
            "confidence: 1 of 1 values are NaN",
        ),
        (
            lambda: figures.reliability(
                np.array([1.0]), np.array([np.nan]), np.array([1]), title="t"
            ),
            "share_right: 1 of 1",
        ),
        (
            lambda: figures.reliability(
                np.array([1.0]), np.array([1.0]), np.array([np.nan]), title="t"
            ),
            "counts: 1 of 1",
        ),
        (
            lambda: figures.reliability(np.array([]), np.array([]), np.array([]), title="t"),
            "confidence: empty",
        ),
        (
            lambda: figures.reliability(
                np.array([0.5]), np.array([1.01]), np.array([1]), title="t"
            ),
            "share_right must be between 0 and 1",
        ),
    ],
)
def test_bad_input_is_refused_with_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_reliability_has_wilsons_intervals():
    confidence, share = np.array([0.3, 0.6, 0.95]), np.array([0.0, 0.5, 1.0])
    counts = np.array([1, 40, 9000])
    figure = figures.reliability(confidence, share, counts, title="t", subtitle="s")
    assert_readable(figure)
    left, right = figure.axes
    (points,) = [line for line in left.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(points.get_xydata(), np.stack([confidence, share], axis=1))
    ends = np.array([segment[:, 1] for segment in left.collections[0].get_segments()])
    # Brown, Cai, DasGupta 2001: the roots of (p − x)² = z² x(1 − x)/n.
    z = 1.96
    for (low, high), p, n in zip(ends, share, counts, strict=True):
        roots = np.roots([1 + z**2 / n, -2 * p - z**2 / n, p**2])
        np.testing.assert_allclose([low, high], np.sort(roots), atol=1e-6)
    sizes = [segment[1, 1] for segment in right.collections[0].get_segments()]
    np.testing.assert_array_equal(sizes, counts)
    assert right.get_yscale() == "log"
