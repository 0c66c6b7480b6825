"""What the binaries refuse before a workdir is held."""

import dataclasses

import pytest

from experiments import (
    estimator_variance,
    finetune_bound,
    finetune_memory,
    finetune_updown,
    generate,
    train_dbn,
    train_rbm,
)
from tests import finished_runs
from tests.small_jobs import QUICK, small_dbn, small_rbm

pytestmark = pytest.mark.usefixtures("implicit_promotion")


def test_a_batch_that_the_images_cannot_fill_is_refused_before_the_workdir_holds_it(tmp_path):
    net = finished_runs.random_net(tmp_path / "net", (10, 12))
    large = dataclasses.replace(QUICK, batch_size=9000)
    calls = {
        train_rbm: small_rbm(learning=large),
        train_dbn: small_dbn(learning=large),
        finetune_updown: finetune_updown.Settings(net, batch_size=9000),
        finetune_bound: finetune_bound.Settings(net, learning=large),
        finetune_memory: finetune_memory.Settings(net, batch_size=9000),
    }
    for module, settings in calls.items():
        with pytest.raises(
            ValueError, match=r"--batch_size=9000, but there are \d+ training images"
        ):
            module.run(settings, tmp_path / "run")
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (
            {"num_pixels": 49},
            "have 64 pixels and 10 .* the model has 49 pixels and 10 label",
        ),
        ({"num_labels": 12}, "and 10 classes, but the model has 64 pixels and 12 label units; are"),
    ],
)
def test_other_data_are_refused_before_the_workdir_is_held(tmp_path, shape, words):
    net = finished_runs.random_net(tmp_path / "net", (10, 12), **shape)
    for module in (estimator_variance, finetune_bound, finetune_memory, finetune_updown, generate):
        with pytest.raises(ValueError, match=words):
            module.run(module.Settings(net), tmp_path / "run")
        assert not (tmp_path / "run").exists()
