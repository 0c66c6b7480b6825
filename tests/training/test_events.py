"""Events for TensorBoard, by TensorBoard's own reader."""

import numpy as np
import pytest

from dbn_jax.training.events import EventFile
from dbn_jax.training.metrics import MetricsFile
from tests import curves


def write(path, epochs, *, resumed_after=None, phase="training"):
    """Rows of epochs of ten updates, as a process writes them."""
    first_step = 0 if resumed_after is None else 10 * resumed_after + 1
    events = EventFile(path, phase, first_step=first_step)
    with MetricsFile(path, keep_epochs=resumed_after, events=events) as file:
        for epoch in epochs:
            error = None if epoch == 0 else float(np.float32(1 / epoch))
            file.append({"step": 10 * epoch, "epoch": epoch, "error": error, "eval_norm": np.inf})


def test_each_cell_is_a_point_at_its_step(tmp_path):
    path = tmp_path / "run/metrics_rbm.csv"
    write(path, range(4), phase="rbm")
    write(path.with_name("metrics_top.csv"), range(7), phase="top")
    curves.assert_equal_rows(path, "rbm")
    found = curves.read(path)
    assert list(found) == ["rbm/epoch", "rbm/eval_norm", "rbm/error"]
    assert found["rbm/error"] == ([10, 20, 30], [1.0, 0.5, pytest.approx(1 / 3, rel=1e-7)])
    assert found["rbm/eval_norm"] == ([0, 10, 20, 30], [np.inf] * 4)


@pytest.mark.parametrize("lost", [0, 1, 50, 100])
def test_what_came_after_the_checkpoint_is_forgotten(tmp_path, lost):
    """Also if the process was killed within its last record, whose last bytes are not there."""
    path = tmp_path / "metrics.csv"
    write(path, range(6))
    (events,) = (tmp_path / "tensorboard/metrics").iterdir()
    events.write_bytes(events.read_bytes()[: -lost or None])
    write(path, range(4, 8), resumed_after=3)
    curves.assert_equal_rows(path)
    assert curves.read(path)["training/epoch"][0] == [0, 10, 20, 30, 40, 50, 60, 70]
    write(path, range(3))  # anew
    curves.assert_equal_rows(path)


def test_in_a_bucket_events_wait_for_the_checkpoint(bucket):
    path, rows = bucket / "metrics.csv", [{"step": 0, "error": 1.5}, {"step": 10, "error": 0.5}]
    file = EventFile(path, "training")
    (events,) = (bucket / "tensorboard/metrics").iterdir()
    begun = events.read_bytes()
    for row in rows:
        file.append(row)
    assert events.read_bytes() == begun
    file.flush()
    assert curves.read(path) == {"training/error": ([0, 10], [1.5, 0.5])}


def test_the_first_process_alone_writes(tmp_path, monkeypatch):
    monkeypatch.setattr("dbn_jax.parallel.is_first", lambda: False)
    write(tmp_path / "metrics.csv", range(3))
    assert not list(tmp_path.iterdir())
