"""A run of a binary that stops on its way, and goes on to what an unbroken one reaches."""

import dataclasses

import jax
import numpy as np
import pytest

from dbn_jax import model_file
from dbn_jax.training import workdir


def broken_and_resumed(tmp_path, module, settings, last=3):
    """Runs a binary twice in this process, once broken off in epoch number `last`, and resumed.

    Epochs of all phases count; it goes on from the checkpoint of the one before. Models and figures
    are equal to the bit. Returns the summary.
    """
    calls, note_time = [], workdir.Workdir.note_time

    def run(name, end, **changes):
        def watch(self):
            calls.append(note_time(self))
            if len(calls) == end:
                raise MemoryError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(workdir.Workdir, "note_time", watch)
            changed = dataclasses.replace(settings, **changes)
            return module.run(changed, str(tmp_path / name))

    whole = run("whole", None)
    num_calls = len(calls)
    calls.clear()
    with pytest.raises(MemoryError):
        run("broken", last, checkpoint_seconds=0.0)
    resumed = run("broken", None)
    assert len(calls) < last + num_calls  # it did not start anew
    assert resumed["results"] == whole["results"]
    nets = (_model(tmp_path / name) for name in ("whole", "broken"))
    jax.tree.map(np.testing.assert_array_equal, *nets)
    return resumed


def _model(path):
    return model_file.load(path / "model.npz")
