"""The sheet of errors: which images are on it, in which order, with which words."""

import dataclasses
import re

import numpy as np
import pytest

from dbn_jax import data, figures
from experiments.pictures import errors


@pytest.fixture
def drawn(monkeypatch):
    """What the last sheet was made of."""
    seen = []
    monkeypatch.setattr(figures, "captioned_sheet", lambda *a, **kw: seen.append((*a, kw)))
    return seen


def test_the_surest_errors_come_first(drawn, monkeypatch):
    dataset = data.load("digits")
    split = dataset.test.take(slice(40))
    logits = np.random.default_rng(0).normal(size=(40, 10))
    logits[::4, :] += 9 * np.eye(10)[split.labels[::4]]  # these are right
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    chosen = log_p.argmax(axis=1)
    wrong = np.flatnonzero(chosen != split.labels)
    rows = wrong[np.argsort(-log_p.max(axis=1)[wrong])]
    assert 20 < len(rows) <= 30
    assert errors.sheet(dataset, split, log_p, "validation").keys() == {"errors"}
    images, captions, kw = drawn.pop()
    np.testing.assert_array_equal(images, dataset.pictures(split.images[rows]))
    assert captions == [
        f"{split.labels[i]} → {chosen[i]}  {np.exp(log_p[i, chosen[i]]):.0%}" for i in rows
    ]
    share = f"{len(rows)} of 40 validation images wrong, {len(rows) / 40:.2%}"
    assert kw["subtitle"].endswith(share)

    # More than a sheet holds: the rest is said to be missing.
    monkeypatch.setattr(errors, "_MAX_ROWS", 1)
    errors.sheet(dataset, split, log_p, "test")
    _, few, kw = drawn.pop()
    assert few == captions[:12]
    assert kw["subtitle"].endswith("; the surest 12 are shown")
    names = tuple(f"the digit {label}" for label in range(10))
    errors.sheet(dataclasses.replace(dataset, class_names=names), split, log_p, "test")
    _, few, _ = drawn.pop()
    # Wider captions: fewer in a row.
    assert few == [re.sub(r"(\d) → (\d)", r"the digit \1 → the digit \2", c) for c in captions[:6]]
    assert errors.sheet(dataset, split, np.log(np.eye(10)[split.labels] + 0.1), "test") == {}


def test_the_largest_sheet_is_about_as_tall_as_wide():
    """Of however many errors: it was a tower of 7,010 pixels."""
    dataset = data.load("digits")
    split = dataset.test.take(slice(300))
    all_wrong = np.log(np.eye(10)[(split.labels + 1) % 10] + 0.01)
    wide, tall = errors.sheet(dataset, split, all_wrong, "test")["errors"].get_size_inches()
    assert 0.8 < tall / wide < 1.25
