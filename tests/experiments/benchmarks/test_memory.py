"""What the benchmark says of fresh processes."""

import dataclasses
import types

import pytest

from experiments.benchmarks import memory, programs, rbm_updates


def test_a_process_of_its_own_is_measured():
    (result,) = memory.measure("12x8x6", 1)
    assert result["import_jax_optax_seconds"] > 0
    assert result["import_dbn_jax_rbm_seconds"] > 0
    assert result["compile_seconds"] > 0
    assert result["host_peak_bytes"] >= result["host_peak_before_bytes"] > 2**24
    assert result["device_peak_bytes"] is None  # CPUs do not tell


def test_a_process_that_fails_is_told_with_the_remedy():
    with pytest.raises(ChildProcessError, match=r"(?s)--nomemory leaves this part .*not a case"):
        memory.measure("12x8", 1)


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

    monkeypatch.setattr(programs, "make_batches", growing(programs.make_batches, 10))
    monkeypatch.setattr(rbm_updates, "update", growing(make_update, 100))
    monkeypatch.setattr(memory, "peak_rss", lambda: peak.bytes)
    # Here jax is imported already, which it refuses.
    monkeypatch.setattr(memory, "sys", types.SimpleNamespace(modules={}))
    result = memory.measure_here("3x4x2")
    assert (result["host_peak_before_bytes"], result["host_peak_bytes"]) == (11, 1111)
