"""Timing for `benchmark`: programs take turns, as only neighbours in time can be compared."""

import time
from collections.abc import Callable, Sequence

import jax
import numpy as np

from experiments.benchmarks.rbm_updates import Program

# Seconds for which a program runs untimed before it is timed. Other libraries' threads spin for a
# while after their last task, OpenBLAS's for 2²⁶ clock ticks; and after a pause cores wake slowly.
_WARM_UP = 0.1
# Bounds on the updates in a call.
_FEWEST = 4
_MOST = 2000


def time_in_turn(programs: Sequence[Program], rounds: int) -> dict[str, list[float]]:
    """Times programs in turn, round after round, each round starting with another one.

    Args:
      programs: with distinct names; each is warmed up before each time.
      rounds: number of times of each.

    Returns:
      Milliseconds of one update, by name, in the order of the rounds.

    Raises:
      ValueError: two programs have one name; their times would be mixed.
    """
    times = {program.name: [] for program in programs}
    if len(times) < len(programs):
        names = [program.name for program in programs]
        repeated = ", ".join(name for name in times if names.count(name) > 1)
        raise ValueError(f"several programs are named {repeated}")
    for r in range(rounds):
        first = r % len(programs)
        for program in [*programs[first:], *programs[:first]]:
            warm = _seconds(program.call)
            while warm < _WARM_UP:
                warm += _seconds(program.call)
            times[program.name].append(1e3 * _seconds(program.call) / program.num_updates)
    return times


def _seconds(call: Callable) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def num_updates(make: Callable[[int], Callable], seconds: float) -> int:
    """Finds out how many updates take about so long.

    Args:
      make: given a number of updates, returns what makes them.
      seconds: wanted time of a call.

    Returns:
      A number of updates.
    """
    call = make(_FEWEST)
    _seconds(call)  # warm up
    return bounded(_FEWEST * seconds / _seconds(call))


def bounded(count: float) -> int:
    """Rounds a number of updates, and keeps it between 4 and 2000."""
    return int(np.clip(round(count), _FEWEST, _MOST))
