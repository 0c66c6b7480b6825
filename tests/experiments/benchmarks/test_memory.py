"""The benchmark's memory figures: a process's own peak, before and after the updates."""

import dataclasses
import pathlib
import subprocess
import sys
import types

import pytest

from experiments.benchmarks import memory, rbm_updates

STATUS = pathlib.Path("/proc/self/status")


@pytest.mark.skipif(
    not STATUS.exists() or "VmHWM" not in STATUS.read_text(), reason="the system does not tell it"
)
def test_peak_of_a_process_is_not_that_of_its_parent():
    measured = "from experiments.benchmarks import memory; print(memory.peak_rss())"
    # exec keeps ru_maxrss, as in the child of a parent that has grown large.
    parent = f"""
import os, sys
grown = b"x" * (300 << 20)
os.execv(sys.executable, [sys.executable, "-c", {measured!r}])
"""
    command = [sys.executable, "-c", parent]
    process = subprocess.run(command, cwd=memory.ROOT, capture_output=True, check=True)
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


def test_memory_with_the_data_alone_is_read_before_the_updates(monkeypatch):
    """By a peak that only grows as the data, the program and its updates are made."""
    peak = types.SimpleNamespace(bytes=1)

    def growing(function, size):
        def grow(*arguments, **settings):
            peak.bytes += size
            return function(*arguments, **settings)

        return grow

    update = rbm_updates.update

    def make_update(*arguments, **settings):
        program = update(*arguments, **settings)
        return dataclasses.replace(program, call=growing(program.call, 1000))

    make_batches = rbm_updates.make_batches
    monkeypatch.setattr(rbm_updates, "make_batches", growing(make_batches, 10))
    monkeypatch.setattr(rbm_updates, "update", growing(make_update, 100))
    monkeypatch.setattr(memory, "peak_rss", lambda: peak.bytes)
    # Here jax is imported already, which it refuses.
    monkeypatch.setattr(memory, "sys", types.SimpleNamespace(modules={}))
    result = memory.measure_here("3x4x2")
    assert (result["host_peak_before_bytes"], result["host_peak_bytes"]) == (11, 1111)
