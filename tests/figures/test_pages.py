"""What holds for every picture: its size, its title, and no meddling with matplotlib."""

import io
import subprocess
import sys

import matplotlib
import numpy as np
import PIL.Image

from dbn_jax import figures
from dbn_jax.figures import pages
from tests.pictures import SQUARE, assert_readable, pixels, words


def test_the_users_matplotlib_settings_neither_change_nor_matter():
    def draw():
        pages.text_width.cache_clear()
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
    for title in ("long words " * 20, "WIDE WORDS " * 20):
        sheet = figures.image_sheet(np.zeros((1, 4)), image_shape=(2, 2), title=title)
        for figure in (sheet, figures.histograms({"w": np.eye(2)}, title=title, subtitle=title)):
            assert_readable(figure)
            assert words(figure).count("\n") >= 2


def test_pyplot_is_never_imported_and_a_missing_matplotlib_is_named():
    code = (
        "import sys, numpy; from dbn_jax import figures\n"
        "figures.histograms({'w': numpy.ones(3)}, title='t')._repr_png_()\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "del sys.modules['dbn_jax.figures'], sys.modules['dbn_jax'].figures\n"
        "sys.modules['PIL.Image'] = None\n"
        "import dbn_jax.figures"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ImportError: dbn_jax.figures needs matplotlib and pillow" in done.stderr
    assert "pip install 'dbn_jax[experiments]'" in done.stderr
