"""Ctrl-C stops the binaries: saved in the loop of updates, at once elsewhere."""

import signal
import subprocess
import sys
import time

import pytest

from tests import binaries


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=binaries.ROOT,
        env=binaries.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("read", [True, False])
def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path, read):
    """Also where nobody reads what it says: `2>&1 | tee log` ends tee first."""
    flags = [f"--workdir={tmp_path}", "--dataset=digits", "--epochs=100000"]
    process = start("-m", "experiments.train_rbm", *flags)
    deadline = time.monotonic() + 120
    metrics = tmp_path / "metrics_rbm.csv"
    while not metrics.exists() or metrics.read_text().count("\n") < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if not read:
        process.stdout.close()
        process.stderr.close()
    process.send_signal(signal.SIGINT)
    if read:
        _, messages = process.communicate(timeout=60)
        assert "a checkpoint is saved, the same command continues" in messages
    assert process.wait(60) == -signal.SIGINT
    assert [p.name for p in (tmp_path / "checkpoints/rbm").iterdir() if p.name.isdigit()]


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
with exits.sentences([]):
    print("work")
    {where}
    print("more work")
"""
    process = start("-c", program)
    assert process.communicate(timeout=60) == ("work\n", "stopped by Ctrl-C\n")
    assert process.returncode == -signal.SIGINT
