"""Traces of updates: what is in them, and that they change nothing."""

import collections
import gzip
import json
import re

import jax
import pytest

from dbn_jax import files, training
from tests.toy_learning import cd_step, images, initial_state, scale, state_bytes


def train(profile, callback=None, checkpoints=None, **changes):
    """Three epochs of ten updates, each a chunk, as far as the profile leaves it so."""
    settings = {"seed": 3, "batch_size": 10, "num_epochs": 3, "chunk_seconds": 0.0} | changes
    return training.train(
        cd_step,
        initial_state(),
        images(),
        settings=training.Settings(**settings, show_progress=False),
        transform=scale,
        callback=callback,
        checkpoints=checkpoints,
        profile=profile,
    )


def numbers_of_products(folder):
    """How often each product of matrices was computed, by the trace in the folder."""
    (trace,) = folder.glob("plugins/profile/*/*.xplane.pb")
    with files.on_disk(trace.parent) as copy:
        planes = jax.profiler.ProfileData.from_file(str(copy / trace.name)).planes
    events = [event.name for plane in planes for line in plane.lines for event in line.events]
    return {n for name, n in collections.Counter(events).items() if name.startswith("dot")}


@pytest.mark.parametrize(("num_updates", "chunk_seconds"), [(3, 0.0), (15, 0.0), (29, 100.0)])
def test_a_trace_has_the_updates_and_changes_no_bit(tmp_path, num_updates, chunk_seconds):
    """Within an epoch, and beyond its end."""
    profile = training.Profile(tmp_path / "profile", num_updates)
    traced = train(profile, chunk_seconds=chunk_seconds)
    assert state_bytes(traced) == state_bytes(train(None))
    assert numbers_of_products(tmp_path / "profile") == {num_updates}
    (trace,) = tmp_path.rglob("perfetto_trace.json.gz")
    assert len(json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]) > num_updates


def test_a_run_that_ends_within_a_trace_ends_that_too(tmp_path):
    def stop(epoch, step, state):
        if epoch == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(training.Profile(tmp_path / "ended", 25), stop)
    assert numbers_of_products(tmp_path / "ended") == {19}  # all but the first of two epochs
    train(training.Profile(tmp_path / "next", 5))  # or JAX would say that one is running
    assert numbers_of_products(tmp_path / "next") == {5}


def test_a_resumed_run_traces_what_is_left(tmp_path):
    def stop(epoch, step, state):
        if epoch == 2:
            raise KeyboardInterrupt

    with training.Checkpoints(tmp_path / "checkpoints") as checkpoints:
        saved = {"checkpoints": checkpoints, "checkpoint_seconds": 0.0}
        with pytest.raises(KeyboardInterrupt):
            train(None, stop, **saved)
        train(training.Profile(tmp_path / "profile", 25), **saved)
    (number,) = numbers_of_products(tmp_path / "profile")
    assert 9 <= number <= 11  # the last checkpoint is of update 18, 19 or 20


def test_a_trace_in_a_bucket(bucket):
    train(training.Profile(bucket / "profile", 2))
    assert numbers_of_products(bucket / "profile") == {2}


def test_what_cannot_be_profiled_is_refused(tmp_path):
    message = (
        "training has 30 updates to make, too few for a profile of 30 that begins after the first; "
        "profile at most 29"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        train(training.Profile(tmp_path / "profile", 30))
    with pytest.raises(ValueError, match=r"^num_updates is -1; it must not be negative$"):
        training.Profile(tmp_path / "profile", -1)
    assert not list(tmp_path.iterdir())
