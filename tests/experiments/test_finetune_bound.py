"""finetune_bound: what it starts from, learns and leaves behind."""

import dataclasses

import numpy as np
import pytest

from dbn_jax import learning, recognition
from experiments import finetune_bound
from experiments.common import pretrained
from tests import finished_runs
from tests.small_jobs import load_net


@pytest.mark.usefixtures("undrawn", "implicit_promotion")
def test_ascent_of_the_bound(tmp_path, monkeypatch):
    net = finished_runs.random_net(tmp_path / "net", (30, 40))
    settings = finetune_bound.Settings(pretrained=net)
    changes = {"learner": "pcd", "epochs": 2, "num_chains": 30}
    changed = dataclasses.replace(settings.learning, **changes)
    settings = dataclasses.replace(settings, learning=changed)
    started, start_at = [], learning.PCD.start_at
    monkeypatch.setattr(
        learning.PCD, "start_at", lambda *args: started.append(args[-1]) or start_at(*args)
    )
    summary = finetune_bound.run(settings, str(tmp_path / "bound"))
    (x,) = started  # chains start at examples: features and labels
    assert x.shape == (1000, 30 + 10)
    np.testing.assert_array_equal(x[:, 30:].sum(axis=1), 1)
    rates = {f"error_rate_{way}{when}" for way in recognition.WAYS for when in ("", "_before")}
    assert summary["results"].keys() == rates | {
        "reconstruction",
        "entropy",
        "free_energy_data",
        "free_energy_fantasies",
    }
    assert summary["program"] == "experiments.finetune_bound"
    before, after = load_net(tmp_path / "net"), load_net(tmp_path / "bound")
    for part in ("recognition", "generative"):
        old, new = getattr(before, part)[0], getattr(after, part)[0]
        assert np.abs(old.weights - new.weights).max() > 1e-4
    assert np.abs(after.recognition[0].weights - after.generative[0].weights).max() > 1e-4
    assert np.abs(before.top.weights - after.top.weights).max() > 1e-4
    assert (tmp_path / "bound/figures/curves.png").exists()
    # It goes on from there in turn.
    pretrained.load(str(tmp_path / "bound"), pretrained.NETS)
