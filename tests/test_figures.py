"""Figures that are told come from the summaries of runs.

A mark behind a figure says where it comes from: `0.98 %<!-- = classifier#results/error_rate -->`
is `results`, `error_rate` in `experiments/results/classifier/summary.json`. Readers do not see it.
A second key, behind ±, is that of the standard error.
"""

import json
import re

import pytest

from tests import binaries

MARK = re.compile(r"<!-- = ([\w/]+)#(.+?) -->")
FIGURE = re.compile(r"([−\w.,]+)(?:\s±\s([\d.]+))?(\s%|°)?(?:\ss)?\**(?:\]\(\S+\))?$")
PAGES = sorted(
    str(path.relative_to(binaries.ROOT))
    for pattern in ("README.md", "docs/**/*.md", "colab/*.ipynb")
    for path in binaries.ROOT.glob(pattern)
)
TOLD = [  # which tell results, and so have marks
    "README.md",
    "colab/digit_model.ipynb",
    "colab/why_it_works.ipynb",
    "docs/tutorial/index.md",
    *(f"docs/results/{page}.md" for page in ("index", "digit_model", "classification")),
    *(f"docs/results/{page}.md" for page in ("likelihoods", "autoencoder", "patches", "sequences")),
    *(f"docs/results/{page}.md" for page in ("rbms", "why_it_works")),
]


def _text(path):
    """The text of a page, or of a notebook's Markdown cells."""
    if path.suffix != ".ipynb":
        return path.read_text()
    cells = json.loads(path.read_text())["cells"]
    return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def _value(folder, key):
    value = json.loads((binaries.ROOT / f"experiments/results/{folder}/summary.json").read_text())
    for name in key.split("/"):
        value = value[int(name) if isinstance(value, list) else name]
    return value


def _as_written(value, written, unit):
    """A value with the digits and the unit that it was written with."""
    if isinstance(value, str):
        return value[: len(written)]
    decimals = len(written.partition(".")[2])
    number = f"{value * 100 if unit and '%' in unit else value:,.{decimals}f}"
    return number.replace("-", "−")


def marked(text):
    """Each marked figure: what is written, and what the summary says, in the same way."""
    position = 0
    for mark in MARK.finditer(text):
        before, position = text[position : mark.start()], mark.end()
        figure = FIGURE.search(before)
        assert figure, f"there is no figure before {mark.group()}"
        number, error, unit = figure.groups()
        written = [number] if error is None else [number, error]
        keys = mark[2].split(" ± ")
        assert len(keys) == len(written), f"{mark.group()} behind {figure.group()}"
        for one, key in zip(written, keys, strict=True):
            yield one, _as_written(_value(mark[1], key), one, unit), mark.group()


@pytest.mark.parametrize("page", PAGES)
def test_figures_are_those_of_the_summaries(page):
    figures = list(marked(_text(binaries.ROOT / page)))
    assert figures or page not in TOLD
    for written, meant, mark in figures:
        assert written == meant, mark
