"""The benchmark's timing, by a clock that only its programs move."""

import functools
import types

import pytest

from experiments.benchmarks import timing
from experiments.benchmarks.programs import Program


@pytest.fixture
def clock(monkeypatch):
    now = types.SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(timing, "time", types.SimpleNamespace(perf_counter=lambda: now.seconds))
    return now


def takes(clock, name, *durations, num_updates=1):
    """A program whose calls take so many seconds, the last of them for good; and their number."""
    calls = []

    def call():
        clock.seconds += durations[min(len(calls), len(durations) - 1)]
        calls.append(name)

    return Program(name=name, num_updates=num_updates, call=call), calls


def test_each_round_starts_with_the_next_program(monkeypatch):
    monkeypatch.setattr(timing, "_WARM_UP", 0)
    order = []
    programs = [
        Program(name=name, num_updates=1, call=functools.partial(order.append, name))
        for name in "abc"
    ]
    timing.time_in_turn(programs, 4)
    # Each is called twice, once to warm up.
    assert "".join(order) == "aabbcc" + "bbccaa" + "ccaabb" + "aabbcc"


def test_a_time_is_that_of_one_update_after_warming_up(clock, monkeypatch):
    monkeypatch.setattr(timing, "_WARM_UP", 5)
    # Warm after 2 + 3 seconds; the timed call makes 4 updates in 8.
    slow, slow_calls = takes(clock, "slow", 2, 3, 8, num_updates=4)
    quick, quick_calls = takes(clock, "quick", 1, num_updates=2)
    times = timing.time_in_turn([slow, quick], 1)
    assert times == {"slow": [2000.0], "quick": [500.0]}
    assert (len(slow_calls), len(quick_calls)) == (3, 6)


def test_programs_of_one_name_are_refused(clock):
    program, calls = takes(clock, "cd", 1)
    with pytest.raises(ValueError, match="several programs are named cd"):
        timing.time_in_turn([program, program], 1)
    assert not calls


def test_number_of_updates_fills_the_wanted_time(clock):
    def make(count):
        # The first call is slow: it compiles.
        program, _ = takes(clock, "", 100, 0.01 * count)
        return program

    assert timing.updates_per_call(make, 0.5) == 50
    assert timing.updates_per_call(make, 1e-9) == 4
    assert timing.updates_per_call(make, 1e9) == 2000
