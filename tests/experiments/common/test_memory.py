"""The peak memory of a process is its own, however the system tells it."""

import pathlib
import subprocess
import sys
import types

import pytest

from experiments.common import memory

ROOT = pathlib.Path(__file__).parents[3]
STATUS = pathlib.Path("/proc/self/status")


@pytest.mark.skipif(
    not STATUS.exists() or "VmHWM" not in STATUS.read_text(), reason="the system does not tell it"
)
def test_peak_of_a_process_is_not_that_of_its_parent():
    measured = "from experiments.common import memory; print(memory.peak_rss())"
    # exec keeps ru_maxrss, as in the child of a parent that has grown large.
    parent = f"""
import os, sys
grown = b"x" * (300 << 20)
os.execv(sys.executable, [sys.executable, "-c", {measured!r}])
"""
    command = [sys.executable, "-c", parent]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    assert 2**20 < int(process.stdout) < 150 * 2**20


def test_peak_where_only_getrusage_tells_it(monkeypatch, tmp_path):
    """As on macOS, in bytes, and in systems whose /proc tells less."""
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrusage", lambda _: types.SimpleNamespace(ru_maxrss=3072))
    for status, platform, peak in (
        ("nowhere", "darwin", 3072),
        ("nowhere", "linux", 3072 * 1024),
        ("status", "linux", 3072 * 1024),
    ):
        (tmp_path / "status").write_text("Name:\tpython\nVmRSS:\t  5 kB\n")
        monkeypatch.setattr(memory, "_STATUS", tmp_path / status)
        monkeypatch.setattr(memory, "sys", types.SimpleNamespace(platform=platform))
        assert memory.peak_rss() == peak
