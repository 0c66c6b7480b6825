"""CD-1 in the training loop's chunks: rows read from a file beside rows on the device."""

import functools
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dbn_jax import data, learning
from dbn_jax.learning import learners
from dbn_jax.training import batches, chunk, streaming
from experiments.benchmarks import programs, rbm_updates, timing
from experiments.benchmarks.programs import Case, Program

# More than Grain reads ahead, and less than a disk fills in a second.
_MAX_BYTES = 160_000_000


def compare(case: Case, rounds: int, seconds: float) -> dict[str, dict[str, Any]]:
    """Times updates on random bytes in memory and in a file, in turn."""
    num_rows = max(case.batch_size, _MAX_BYTES // case.num_visible)
    rows = np.random.default_rng(0).integers(0, 256, (num_rows, case.num_visible), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.npy")
        np.save(path, rows)
        mapped = np.load(path, mmap_mode="r")
        key, size = jax.random.key(0), case.batch_size
        sources = {
            "resident": batches.Batches(rows, key, size, None),
            "streamed": streaming.Streamed(mapped, key, size, None, num_epochs=10**6),
        }
        runs = {name: _Training(case, source) for name, source in sources.items()}

        def make(num_updates, name="resident"):
            call = functools.partial(runs[name].advance, num_updates)
            return Program(name=name, num_updates=num_updates, call=call)

        count = timing.updates_per_call(make, seconds)
        times = timing.time_in_turn([make(count, name) for name in sources], rounds)
    return {name: {"milliseconds": found.tolist()} for name, found in times.items()}


def _stepper(case, source):
    optimizer, learner = programs.make_optimizer(), learning.CD()
    step = functools.partial(learners.step, learner=learner, optimizer=optimizer)
    params = rbm_updates.init_params(case)
    state = learners.init_state(jax.random.key(1), params, learner=learner, optimizer=optimizer)
    keys = jax.random.key(2), jax.random.key(3)
    to_pixels = data.Transform("none", 255.0)
    stepper = chunk.Stepper(step, to_pixels, chunk.prepare_state(state), source, keys=keys)
    stepper.compile(0)
    return stepper


class _Training:
    """Updates of a state, one after the other, in chunks as long as the source allows."""

    def __init__(self, case: Case, source: batches.Batches):
        self._source, self._stepper, self._done = source, _stepper(case, source), 0

    def advance(self, num_updates: int) -> None:
        end = self._done + num_updates
        while self._done < end:
            count = min(end - self._done, self._source.remaining(self._done))
            self._stepper.advance(self._done, count)
            self._done += count
