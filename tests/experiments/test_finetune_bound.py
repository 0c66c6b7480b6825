"""finetune_bound: what it starts from, learns and leaves behind."""

import dataclasses

import numpy as np
import pytest

from experiments import finetune_bound
from experiments.common import models, pretraining, recognition
from tests import finished_runs
from tests.small_jobs import load_net

pytestmark = pytest.mark.usefixtures("implicit_promotion")


@pytest.mark.usefixtures("undrawn")
def test_ascent_of_the_bound(tmp_path):
    """What it starts from, learns and leaves behind; its chains start at the data."""
    net = finished_runs.random_net(tmp_path / "net", (30, 40))
    learning = finetune_bound.Settings("").learning
    learning = dataclasses.replace(learning, learner="pcd", epochs=2, num_chains=30)
    settings = finetune_bound.Settings(net, learning=learning)
    started = []
    with pytest.MonkeyPatch.context() as patch:
        at_data = pretraining.at_data
        patch.setattr(
            pretraining, "at_data", lambda *args: started.append(args[-1]) or at_data(*args)
        )
        summary = finetune_bound.run(settings, tmp_path / "bound")
    assert started[0].shape == (1000, 30 + 10)  # features and labels
    assert {f"error_rate_{way}" for way in recognition.WAYS} <= set(summary["results"])
    assert summary["program"] == "experiments.finetune_bound"
    before, after = load_net(tmp_path / "net"), load_net(tmp_path / "bound")
    for part in ("recognition", "generative"):
        old, new = getattr(before, part)[0], getattr(after, part)[0]
        assert np.abs(old.weights - new.weights).max() > 1e-4
    assert np.abs(after.recognition[0].weights - after.generative[0].weights).max() > 1e-4
    assert np.abs(before.top.weights - after.top.weights).max() > 1e-4
    assert (tmp_path / "bound/figures/curves.png").exists()
    # It goes on from there in turn.
    models.load(str(tmp_path / "bound"), models.NETS)
