"""A run of a binary that stops on its way, and goes on to what an unbroken one reaches."""

import dataclasses
import time

import jax
import numpy as np
import pytest

from dbn_jax import model_file
from dbn_jax.training import workdir
from tests import binaries


def whole_and_resumed(tmp_path, module, flags, phase):
    """Runs a binary twice, once killed in the phase, long before its end, and resumed.

    Returns the two workdirs; their models are equal to the bit.
    """
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    done = binaries.run(module, f"--workdir={whole}", *flags, drawn=False)
    assert done.returncode == 0, done.stderr
    process = binaries.start(
        module, f"--workdir={broken}", *flags, "--checkpoint_seconds=0", drawn=False
    )
    deadline = time.monotonic() + 300
    saved = broken / "checkpoints" / phase
    while not (saved.exists() and any(p.name.isdigit() for p in saved.iterdir())):
        assert process.is_alive(), "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.join()
    assert not (broken / "summary.json").exists()
    done = binaries.run(module, f"--workdir={broken}", *flags, drawn=False)
    assert done.returncode == 0, done.stderr
    jax.tree.map(np.testing.assert_array_equal, _model(whole), _model(broken))
    return whole, broken


def broken_and_resumed(tmp_path, module, settings, last=3):
    """Runs a binary twice in this process, once broken off in epoch number `last`, and resumed.

    Epochs of all phases count; it goes on from the checkpoint of the one before. Models and figures
    are equal to the bit.
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


def _model(path):
    return model_file.load(path / "model.npz")
