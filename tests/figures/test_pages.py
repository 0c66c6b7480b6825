"""What holds for every picture: its size, its title, and no meddling with matplotlib."""

import io
import subprocess
import sys

import matplotlib
import numpy as np
import PIL.Image
import pytest

from dbn_jax import figures
from dbn_jax.figures import pages
from tests.pictures import MARGIN, SQUARE, assert_readable, pixels, words


def test_the_users_matplotlib_settings_neither_change_nor_matter():
    def draw():
        return [
            pixels(figures.receptive_fields(np.eye(4), **SQUARE)),
            pixels(figures.histograms({"w": np.eye(4)}, title="t")),
            pixels(figures.chains(np.zeros((9, 1, 4)), **SQUARE, zoom=15, steps=[10**6] * 9)),
        ]

    expected = draw()
    theirs = {
        "font.size": 30,
        "font.family": "monospace",  # so wide that fewer step numbers would fit over the chains
        "axes.facecolor": "black",
        "text.color": "red",
        "savefig.bbox": "tight",
        "savefig.dpi": 50,
        "image.interpolation": "bilinear",
    }
    with matplotlib.rc_context(theirs):
        before = dict(matplotlib.rcParams)
        got = draw()
        assert dict(matplotlib.rcParams) == before
    for ours, page in zip(got, expected, strict=True):
        np.testing.assert_array_equal(ours, page)


def test_a_notebook_shows_pictures_at_the_size_of_the_page():
    figure = figures.image_sheet(np.zeros((1, 4)), **SQUARE)
    data, size = figure._repr_png_()
    assert PIL.Image.open(io.BytesIO(data)).size == (2 * size["width"], 2 * size["height"])


def test_long_titles_are_broken_not_cut():
    figure = figures.image_sheet(np.zeros((1, 4)), image_shape=(2, 2), title="long words " * 20)
    assert_readable(figure)
    assert words(figure).count("\n") >= 2


@pytest.mark.parametrize("width", [50, 150, 400])
def test_lines_hold_as_many_words_as_fit(width):
    """One word a line at least; held against words added one by one."""
    figure = figures.image_sheet(np.zeros((1, 4)), **SQUARE)
    text = "a heading with short words, and an incomprehensibly long one, in lines"

    def fits(line):
        return pages.text_extent(pages._add_text(figure, line, "title"))[1] <= width

    expected = []
    for word in text.split():
        if expected and fits(f"{expected[-1]} {word}"):
            expected[-1] += f" {word}"
        else:
            expected.append(word)
    assert pages._wrapped(figure, text, "title", width).get_text().split("\n") == expected
    assert (1 in (len(line.split()) for line in expected)) == (width < 400)


@pytest.mark.parametrize("which", [0, 1, 2, 3])
def test_a_page_ends_where_the_labels_of_its_last_panels_do(which):
    with pages.style():
        panels = pages.Panels(4, "t", None, (300, 100))
        axes = panels.axes[which]
        axes.text(1.3, -0.6, "beyond", transform=axes.transAxes, va="top")
        figure = panels.arrange()
    assert_readable(figure)
    page = pixels(figure)
    ink = np.argwhere(page.min(axis=-1) < 128)
    room = np.array(page.shape[:2]) - 1 - ink.max(axis=0)  # below and at the right
    assert (np.abs(room - 2 * MARGIN) <= 8).all()


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_pyplot_is_never_imported_and_a_missing_matplotlib_is_named():
    done = run_python(
        "import sys, numpy; from dbn_jax import figures\n"
        "figures.histograms({'w': numpy.ones(3)}, title='t')._repr_png_()\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "del sys.modules['dbn_jax.figures'], sys.modules['dbn_jax'].figures\n"
        "sys.modules['PIL.Image'] = None\n"
        "import dbn_jax.figures"
    )
    assert "ImportError: dbn_jax.figures needs matplotlib and pillow" in done.stderr
    assert "pip install 'dbn_jax[experiments]'" in done.stderr
