"""Curves as TensorBoard reads them, beside the rows of metrics.csv."""

import os

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dbn_jax import files
from dbn_jax.training import read_metrics


def read(metrics_path):
    """Steps and values by tag."""
    path = files.path(metrics_path)
    folder = os.fspath(path.parent / "tensorboard" / path.stem)
    reader = EventAccumulator(folder, {"scalars": 0})
    reader.Reload()
    curves = {tag: reader.Scalars(tag) for tag in reader.Tags()["scalars"]}
    return {tag: ([x.step for x in all], [x.value for x in all]) for tag, all in curves.items()}


def assert_equal_rows(metrics_path, phase="training"):
    """TensorBoard shows each cell of metrics.csv once, and nothing else."""
    columns = read_metrics(metrics_path)
    steps, found = columns.pop("step"), read(metrics_path)
    expected = {f"{phase}/{name}": x for name, x in columns.items() if not np.isnan(x).all()}
    assert set(found) == set(expected)
    for tag, column in expected.items():
        there = ~np.isnan(column)
        assert found[tag][0] == steps[there].tolist(), tag
        # Times are no float32 numbers, and rounded in both.
        np.testing.assert_allclose(found[tag][1], column[there], rtol=2e-7, err_msg=tag)
