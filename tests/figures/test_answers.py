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


def test_counts_stand_in_the_shaded_cells_of_their_classes():
    figure = figures.confusion_matrix(COUNTS, title="t", subtitle="made up")
    assert_readable(figure)
    # Empty cells stay empty; the share of errors of a class that does not occur is none. The true
    # class of a row stands at its left, the answer of a column above it.
    said = [word for word in words(figure).split(" | ") if word[0].isdigit()]
    expected = ["1,200", "3", "0.2%", "1", "80", "6", "8.0%", *"001122"]
    assert sorted(said) == sorted(expected)
    rows = {"1,200": 0, "3": 0, "0.2%": 0, "80": 1, "6": 1, "8.0%": 1}
    columns = {"1,200": 0, "3": 1, "80": 1, "6": 2}
    transform = figure.axes[0].transData.transform
    for text, row in rows.items():
        y = figure.bbox.height - transform((0, row + 0.5))[1]
        assert abs(centre(figure, text)[0] - y) < 3, text
    for text, column in columns.items():
        assert abs(centre(figure, text)[1] - transform((column + 0.5, 0))[0]) < 3, text
    page = pixels(figure)[:, :, 0]

    def shade(row, column):
        x, y = transform((column + 0.5, row + 0.5)).astype(int)
        return np.median(page[page.shape[0] - y - 20 : page.shape[0] - y + 20, x - 20 : x + 20])

    assert shade(0, 0) == shade(1, 1) == 255  # hits
    assert 255 > shade(1, 0) > shade(0, 1) > shade(1, 2) == 149  # ink has a contrast of 5.8


@pytest.mark.parametrize("longest", ["no", "ankle boot", "a name longer than the cells beside it"])
def test_classes_have_names(longest):
    names = ["top", longest, "bag"]
    figure = figures.confusion_matrix(COUNTS, title="t", names=names)
    assert_readable(figure)
    assert [words(figure).split(" | ").count(name) for name in names] == [2, 2, 2]
    with pytest.raises(ValueError, match="names has 2 entries for 3 classes"):
        figures.confusion_matrix(COUNTS, title="t", names=names[:2])


def test_without_any_error_all_is_white():
    figure = figures.confusion_matrix(np.diag([5, 5]), title="t")
    assert_readable(figure)
    assert words(figure).count("0.0%") == 2


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
    assert left.get_xlim() == left.get_ylim() == right.get_xlim() == (0, 1)
    assert {"0%", "100%", "10,000"} <= set(words(figure).split(" | "))
