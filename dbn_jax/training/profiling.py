"""Some updates of a run, traced by JAX's profiler."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator

import jax

from dbn_jax import files


class Profile(contextlib.AbstractContextManager):
    """Traces a number of updates into a folder, for XProf, Perfetto and `jax.profiler.ProfileData`.

    It begins with the second chunk of a call of `train`, when all is compiled and has run once; a
    resumed run traces those that are left. Of several processes the first alone writes. A trace
    takes some 10 kB an update.
    """

    def __init__(self, folder: str | os.PathLike, num_updates: int):
        """The folder may hold other traces, and may be in a bucket."""
        if num_updates < 0:
            raise ValueError(f"num_updates is {num_updates}; it must not be negative")
        self._num_updates = self._left = num_updates
        self._folder = files.absolute(folder)
        self._is_warm = False
        self._trace = contextlib.ExitStack()

    def check(self, phase: str, num_updates: int) -> None:
        """Raises a ValueError unless training of so many updates has enough for it."""
        if self._num_updates >= num_updates:
            raise ValueError(
                f"{phase} has {num_updates:,} updates to make, too few for a profile of "
                f"{self._num_updates:,} that begins after the first; profile at most "
                f"{num_updates - 1:,}"
            )

    def begin(self, count: int) -> int:
        """Before a chunk of so many updates: how many of them to make at once."""
        if not self._is_warm or self._left == 0:
            self._is_warm = True
            return count
        if self._left == self._num_updates:
            self._trace.enter_context(_traced(self._folder))
        count = min(count, self._left)
        self._left -= count
        return count

    def end(self) -> None:
        """After a chunk."""
        if self._left == 0:
            self._trace.close()

    def __exit__(self, *exception) -> None:
        self._trace.close()


@contextlib.contextmanager
def _traced(folder: files.Path) -> Iterator[None]:
    """Traces the block; JAX writes to disks only."""
    with tempfile.TemporaryDirectory() as traces:
        with jax.profiler.trace(traces, create_perfetto_trace=True):
            yield
        for trace in pathlib.Path(traces).rglob("*"):
            if trace.is_file():
                with files.replacing(folder / trace.relative_to(traces)) as file:
                    file.write(trace.read_bytes())
