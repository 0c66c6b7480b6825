"""Ctrl-C stops the binaries: saved in the loop of updates, at once elsewhere."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests import binaries


@pytest.mark.parametrize("read", [True, False])
def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path, read):
    """Also where nobody reads what it says: `2>&1 | tee log` ends tee first."""
    flags = [f"--workdir={tmp_path}/run", "--dataset=digits", "--epochs=100000"]
    said, metrics = tmp_path / "said", tmp_path / "run/metrics_rbm.csv"
    if not read:
        os.mkfifo(said)
        reader = os.open(said, os.O_RDONLY | os.O_NONBLOCK)
    output = os.devnull if read else said
    process = binaries.start("experiments.train_rbm", *flags, output=output, errors=said)
    deadline = time.monotonic() + 120
    while not metrics.exists() or metrics.read_text().count("\n") < 3:
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if not read:
        os.close(reader)
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert process.exitcode == -signal.SIGINT
    if read:
        assert "a checkpoint is saved, the same command continues" in said.read_text()
    saved = tmp_path / "run/checkpoints/rbm"
    assert [path.name for path in saved.iterdir() if path.name.isdigit()]


@pytest.mark.parametrize("where", ["interrupt()", "gc.callbacks.append(interrupt); gc.collect()"])
def test_ctrl_c_elsewhere_ends_at_once(where):
    """As the signal ends a program; what the interpreter would tear down may be in use."""
    program = f"""
import atexit
import gc
import signal
from experiments.common import exits

def interrupt(*_):
    signal.raise_signal(signal.SIGINT)

atexit.register(print, "torn down")
with exits.sentences():
    print("work")
    {where}
    print("more work")
"""
    command, environment = [sys.executable, "-c", program], binaries.environment()
    done = subprocess.run(
        command, cwd=binaries.ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("work\n", "stopped by Ctrl-C\n")
    assert done.returncode == -signal.SIGINT
