"""Timing of programs in turn, since the speed of a machine drifts."""

import time
from collections.abc import Callable, Sequence

import jax
import numpy as np

from experiments.benchmarks.programs import Program

# Seconds for which a program runs untimed before it is timed. Other libraries' threads spin for a
# while after their last task, OpenBLAS's for 2²⁶ clock ticks; and after a pause cores wake slowly.
_WARM_UP = 0.1
# Limits of the updates in a call.
_FEWEST = 4
_MOST = 2000


def time_in_turn(programs: Sequence[Program], rounds: int) -> dict[str, np.ndarray]:
    """Times programs in turn, round after round, each round starting with another one.

    Each is warmed up before each time.

    Returns:
      Milliseconds of one update, by name, in the order of the rounds.
    """
    times = {program.name: np.empty(rounds) for program in programs}
    if len(times) < len(programs):
        names = [program.name for program in programs]
        repeated = ", ".join(name for name in times if names.count(name) > 1)
        raise ValueError(f"several programs are named {repeated}")
    for r in range(rounds):
        first = r % len(programs)
        for program in [*programs[first:], *programs[:first]]:
            warm = _seconds(program)
            while warm < _WARM_UP:
                warm += _seconds(program)
            times[program.name][r] = 1e3 * _seconds(program) / program.num_updates
    return times


def _seconds(program):
    start = time.perf_counter()
    jax.block_until_ready(program.call())
    return time.perf_counter() - start


def updates_per_call(make: Callable[[int], Program], seconds: float) -> int:
    """How many updates take about so long, by a program that ``make(num_updates)`` makes."""
    program = make(_FEWEST)
    _seconds(program)  # warm up
    return within_limits(_FEWEST * seconds / _seconds(program))


def within_limits(count: float) -> int:
    """Rounds a number of updates, and keeps it between 4 and 2000."""
    return int(np.clip(round(count), _FEWEST, _MOST))
