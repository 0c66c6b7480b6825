"""Commands that are killed without warning (kill -9) resume to the bits of an unbroken run.

Of one stage and of several; for each other command, its own tests stop it by an exception.
"""

import signal
import time

import numpy as np
import pytest

from experiments.common.rbm_settings import MemorySettings, RBMSettings
from tests import binaries, small_sequences
from tests.small_jobs import small_dbn


def greedy(_):
    short = {"epochs": 2, "batch_size": 100}
    learning, top = RBMSettings(**short), MemorySettings(num_chains=20, **short)
    return small_dbn(hidden_sizes=(16, 20), learning=learning, top=top)


def music(folder):
    small_sequences.write_music(folder)
    options = {"window": 5, "transpose": True, "epochs": 4, "ais_steps": 0, "ais_chains": 20}
    return small_sequences.settings("jsb", folder, **options)


@pytest.mark.parametrize(
    ("command", "settings"), [("train_dbn", greedy), ("train_sequences", music)]
)
def test_a_killed_command_resumes_to_the_same_bits(tmp_path, command, settings):
    flags = [f"--{name}={text}" for name, text in settings(tmp_path).as_flags().items()]

    def command_line(workdir):
        line = f"experiments.{command}", *flags, f"--workdir={tmp_path / workdir}"
        return *line, "--checkpoint_seconds=0"

    process = binaries.start(*command_line("killed"))
    deadline = time.monotonic() + 120
    # Whole checkpoints: those that are being written have longer names.
    while not any(path.name.isdigit() for path in tmp_path.glob("killed/checkpoints/*/*")):
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "killed/model.npz").exists()

    for workdir in ("killed", "whole"):
        done = binaries.run(*command_line(workdir))
        assert done.returncode == 0, done.stderr
    killed, whole = (np.load(tmp_path / workdir / "model.npz") for workdir in ("killed", "whole"))
    assert killed.files == whole.files
    for name in whole.files:
        np.testing.assert_array_equal(killed[name], whole[name])
