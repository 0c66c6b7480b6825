"""The learning curves of RBMs and stacks, as they are drawn."""

import types

import numpy as np
import pytest

from experiments.common import finetuning, pretraining

EPOCHS = np.arange(3.0)


@pytest.mark.parametrize("column", ["label_loss", "eval_log_pseudo_likelihood"])
def test_every_curve_that_there_is_is_drawn(column):
    names = ["reconstruction_error", "free_energy_train", "free_energy", "free_energy_gap"]
    table = {f"eval_{name}": EPOCHS + 2 for name in names} | {"epoch": EPOCHS}
    run = types.SimpleNamespace(metrics=lambda name: table)
    without = pretraining.learning_curves(run, "layer_3", "t")
    table[column] = np.array([np.nan, 0.7, 0.4])
    figure = pretraining.learning_curves(run, "layer_3", "t")
    *others, last = figure.axes
    assert len(others) == len(without.axes)
    np.testing.assert_array_equal(last.lines[0].get_xydata(), [[1, 0.7], [2, 0.4]])
    said = {"label_loss": "label loss (nats)"}.get(column, "log pseudo-likelihood (nats)")
    assert last.get_title(loc="left") == said


def test_error_rates_are_in_percent():
    table = {"epoch": EPOCHS, "eval_error_rate": EPOCHS / 10, "loss": EPOCHS}
    figure = finetuning.learning_curves(table, {"loss (nats)": {"training": "loss"}}, "t")
    loss, rate = figure.axes
    assert "20.0%" in [text.get_text() for text in rate.get_yticklabels()]
    assert not any("%" in text.get_text() for text in loss.get_yticklabels())
