"""Progress on standard error: one line that updates in place on a terminal, or lines in a log."""

import contextlib
import sys
import time
from collections.abc import Mapping
from typing import Any

# Seconds between two lines of a log: at least, when epochs are short; at most, when they are long.
_SHORTEST_INTERVAL = 5.0
_LONGEST_INTERVAL = 60.0
_SHOWN_METRICS = 4


def say(message: str) -> None:
    """Prints a message to standard error, above a progress line if there is one."""
    from tqdm import tqdm

    with tqdm.external_write_mode(file=sys.stderr):
        _print(message)


class Progress:
    """Shows how far a phase of training is.

    Use it as a context manager.
    """

    def __init__(
        self,
        phase: str,
        *,
        done: int,
        total: int,
        updates_per_epoch: int,
        batch_size: int,
        shown: tuple[str, ...] | None = None,
        terminal: bool | None = None,
        silent: bool = False,
    ):
        """Starts the clock.

        Args:
          phase: name of what is trained.
          done: updates made already, in an earlier process.
          total: updates to make in all.
          updates_per_epoch: number of updates in an epoch.
          batch_size: images per update.
          shown: names of the metrics to show; None shows the first few.
          terminal: whether to update one line in place; None asks standard error.
          silent: whether to show nothing.
        """
        self._phase = phase
        self._first = self._done = done
        self._total = total
        self._updates_per_epoch = updates_per_epoch
        self._batch_size = batch_size
        self._shown = shown
        self._terminal = sys.stderr.isatty() if terminal is None else terminal
        self._silent = silent
        self._bar: Any = None
        self._start = self._last_line = time.monotonic()
        self._rate: float | None = None
        self._metrics: dict[str, float] = {}

    def __enter__(self) -> "Progress":
        if self._terminal and not self._silent:
            from tqdm import tqdm

            self._bar = tqdm(
                total=self._total,
                initial=self._done,
                desc=self._phase,
                file=sys.stderr,
                dynamic_ncols=True,
                bar_format="{desc} |{bar:20}| {percentage:3.0f} %{postfix}",
            )
        return self

    def __exit__(self, *exception) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, updates: int, seconds: float, metrics: Mapping[str, float]) -> None:
        """Reports updates.

        Args:
          updates: number made since the last call.
          seconds: time that they took.
          metrics: means over the epoch so far, and of an evaluation if there was one.
        """
        self._done += updates
        self._metrics.update(metrics)
        if seconds > 0:
            # The rate of about the last ten chunks.
            now = updates / seconds
            self._rate = now if self._rate is None else 0.8 * self._rate + 0.2 * now
        if self._bar is not None:
            self._bar.set_postfix_str(self.line(), refresh=False)
            self._bar.update(updates)
            self._bar.refresh()
            return
        if self._silent:
            return
        since = time.monotonic() - self._last_line
        at_epoch_end = self._done % self._updates_per_epoch == 0
        if (
            self._done == self._total
            or (at_epoch_end and since >= _SHORTEST_INTERVAL)
            or since >= _LONGEST_INTERVAL
        ):
            self._last_line = time.monotonic()
            _print(f"{self._phase}, {self.line()}")

    def line(self) -> str:
        """Returns epoch, rate, time left and metrics in words."""
        epochs = self._done / self._updates_per_epoch
        shown = f"{epochs:.4g}" if epochs < 1000 else f"{epochs:.0f}"
        parts = [f"epoch {shown} of {self._total // self._updates_per_epoch}"]
        if self._rate is not None:
            images = self._rate * self._batch_size
            parts.append(f"{_number(self._rate)} updates/s, {_number(images)} images/s")
        if self._first < self._done < self._total:
            elapsed = time.monotonic() - self._start
            left = elapsed * (self._total - self._done) / (self._done - self._first)
            parts.append(f"{_duration(left)} left")
        names = self._shown if self._shown is not None else tuple(self._metrics)[:_SHOWN_METRICS]
        parts += [f"{n} {self._metrics[n]:.4g}" for n in names if n in self._metrics]
        return ", ".join(parts)


class Iterations:
    """Shows how far a method is that ends when it has converged, nobody knows when.

    Use it as a context manager, and `report` as its callback.
    """

    def __init__(self, phase: str, value: str, *, terminal: bool | None = None):
        """Starts the clock.

        Args:
          phase: name of what is computed.
          value: name of the figure that is reported.
          terminal: whether to update one line in place; None asks standard error.
        """
        self._phase = phase
        self._value = value
        self._terminal = sys.stderr.isatty() if terminal is None else terminal
        self._bar: Any = None
        self._start = self._last_line = time.monotonic()
        self._line: str | None = None  # that a log has not got yet

    def __enter__(self) -> "Iterations":
        if self._terminal:
            from tqdm import tqdm

            self._bar = tqdm(
                desc=self._phase, file=sys.stderr, dynamic_ncols=True, bar_format="{desc}{postfix}"
            )
        return self

    def __exit__(self, *exception) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._line is not None:
            self._print()

    def report(self, iteration: int, value: float) -> None:
        """Reports that so many iterations are made, and the figure after them."""
        now = time.monotonic()
        words = f"iteration {iteration}, {self._value} {value:.6g}, {_duration(now - self._start)}"
        self._line = f"{self._phase}, {words}"
        if self._bar is not None:
            self._bar.set_postfix_str(words)
        elif now - self._last_line >= _LONGEST_INTERVAL:
            self._print()

    def _print(self):
        self._last_line = time.monotonic()
        _print(self._line)
        self._line = None


def _print(line: str) -> None:
    # Work goes on where nobody reads of it any more: tee ends at a Ctrl-C, before the run is saved.
    with contextlib.suppress(BrokenPipeError):
        print(line, file=sys.stderr, flush=True)


def _number(x: float) -> str:
    return f"{x:,.0f}" if x >= 100 else f"{x:.3g}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
