"""Early stopping: which epoch is kept, also after a kill; and what it refuses."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import pytest

from dbn_jax import training
from dbn_jax.training import Checkpoints, EarlyStopping, read_metrics
from tests.toy_learning import cd_step, images, initial_state, scale, state_bytes

NAN = math.nan
UPDATES = 5
DIPS = (5.0, 4.0, 4.5, 3.0, 3.5, 3.0, 3.25, 9.0, 1.0)


class Killed(Exception):
    pass


def go(scores, rule, *, num_epochs=8, killed_at=None, **hooks):
    """Trains with a held-out measure that is made up; returns the final state."""

    def evaluate(state):
        return {"train": 0.0, "score": scores[int(state["count"]) // UPDATES]}

    def callback(epoch, step, state):
        if epoch == killed_at:
            raise Killed

    settings = training.Settings(
        seed=1,
        batch_size=20,
        num_epochs=num_epochs,
        early_stopping=rule,
        checkpoint_seconds=0.0,
        chunk_seconds=0.0,
        show_progress=False,
    )
    hooks = {"evaluate": evaluate, "callback": callback} | hooks
    return training.train(
        cd_step, initial_state(), images(), settings=settings, transform=scale, **hooks
    )


@pytest.mark.parametrize(
    ("scores", "patience", "maximise", "kept", "last"),
    [
        (DIPS, 2, False, 3, 5),  # of two equal epochs the first, which sets no new patience
        (DIPS, 1, False, 1, 2),
        (DIPS, 5, False, 8, 8),  # as many epochs as there are, and the last is the best
        ([-x for x in DIPS], 2, True, 3, 5),
        ([1.0, 2.0, 3.0, 0.0], 2, False, 0, 2),  # the start is the best
        ([NAN, 2.0, NAN, 1.0, NAN, NAN], 2, False, 3, 5),
        ([NAN, NAN, NAN], 2, True, 0, 2),
    ],
)
def test_the_best_epoch_is_kept(scores, patience, maximise, kept, last, tmp_path):
    rule = EarlyStopping(measure="score", patience=patience, maximise=maximise)
    state = go(scores, rule, metrics_path=tmp_path / "metrics.csv")
    assert int(state["count"]) == kept * UPDATES
    table = read_metrics(tmp_path / "metrics.csv")
    assert (table["epoch"][-1], table["best_epoch"][-1]) == (last, kept)
    if kept:
        assert state_bytes(state) == state_bytes(go(scores, None, num_epochs=kept))


@pytest.mark.parametrize("killed_at", [1, 3, 4, 5])
def test_killed_and_resumed_to_the_bit(killed_at, tmp_path):
    """Before, at and after the best epoch, and at the one where it stops."""
    rule = EarlyStopping(measure="score", patience=2)
    whole = go(DIPS, rule, metrics_path=tmp_path / "whole.csv")
    for name in ("killed", "resumed"):
        with Checkpoints(tmp_path / "checkpoints") as checkpoints:
            paths = {"checkpoints": checkpoints, "metrics_path": tmp_path / "metrics.csv"}
            if name == "killed":
                with pytest.raises(Killed):
                    go(DIPS, rule, killed_at=killed_at, **paths)
            else:
                resumed = go(DIPS, rule, **paths)
    assert state_bytes(resumed) == state_bytes(whole)
    tables = [read_metrics(tmp_path / name) for name in ("whole.csv", "metrics.csv")]
    for table in tables:
        del table["seconds"], table["images_per_second"]
    np.testing.assert_equal(*tables)


def test_a_run_that_has_stopped_is_over_until_its_patience_grows(tmp_path):
    rule = EarlyStopping(measure="score", patience=2)
    patient = dataclasses.replace(rule, patience=5)
    with Checkpoints(tmp_path) as checkpoints:
        first = go(DIPS, rule, checkpoints=checkpoints)
        over = {"checkpoints": checkpoints, "evaluate": None, "num_epochs": 100}
        assert state_bytes(go(DIPS, rule, **over)) == state_bytes(first)
        longer = go(DIPS, patient, checkpoints=checkpoints)
    assert int(longer["count"]) == 8 * UPDATES
    assert state_bytes(longer) == state_bytes(go(DIPS, patient))


def test_refusals():
    rule = EarlyStopping(measure="error", patience=2)
    with pytest.raises(ValueError, match="looks at error, and evaluated is score, train; let `eva"):
        go(DIPS, rule)
    with pytest.raises(ValueError, match="looks at error, and evaluated is nothing; let `evaluate"):
        go(DIPS, rule, evaluate=None)
    with pytest.raises(ValueError, match="patience is 0; it must be at least 1"):
        EarlyStopping(measure="error", patience=0)
    with pytest.raises(ValueError, match="an ensemble would stop at different epochs; leave out"):
        training.Settings(seed=0, num_epochs=1, batch_size=1, ensemble=2, early_stopping=rule)

    def step(key, state, batch):
        return state, {"best_epoch": jnp.float32(0)}

    settings = training.Settings(seed=0, num_epochs=1, batch_size=1, show_progress=False)
    with pytest.raises(ValueError, match="best_epoch has the name of one of the loop's own"):
        training.train(step, initial_state(), images(), settings=settings)
