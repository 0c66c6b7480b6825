"""Progress on standard error: one line that updates in place on a terminal, or lines in a log."""

import contextlib
import datetime
import sys
import time
from collections.abc import Mapping

# Seconds between two lines of a log: at least, when epochs are short; at most, when they are long.
_SHORTEST_INTERVAL = 5.0
_LONGEST_INTERVAL = 60.0
_SHOWN_METRICS = 4


def say(message: str) -> None:
    """Prints a message to standard error, above a progress line if there is one."""
    from tqdm import tqdm

    with tqdm.external_write_mode(file=sys.stderr):
        _print(message)


class Progress(contextlib.AbstractContextManager):
    """Shows how far a phase of training is; use it as a context manager."""

    def __init__(
        self,
        phase: str,
        *,
        done: int,
        total: int,
        updates_per_epoch: int,
        batch_size: int = 0,
        silent: bool = False,
    ):
        """Starts the clock; of the total of updates, some may be done by an earlier process."""
        from tqdm import tqdm

        self._bar = tqdm(
            desc=phase,
            initial=done,
            total=total,
            file=sys.stderr,
            dynamic_ncols=True,
            bar_format="{desc} |{bar:20}| {percentage:3.0f} %{postfix}",
            disable=silent or not sys.stderr.isatty(),
        )
        self._phase = phase
        self._logs = self._bar.disable and not silent
        self._start = self._last_line = time.monotonic()
        self._unprinted: str | None = None
        self._first = self._done = done
        self._total = total
        self._updates_per_epoch = updates_per_epoch
        self._batch_size = batch_size
        self._rate = 0.0
        self._metrics: dict[str, float] = {}

    def __exit__(self, *exception) -> None:
        self._bar.close()
        self._log(interval=0.0)

    def advance(self, updates: int, seconds: float, metrics: Mapping[str, float]) -> None:
        """Reports more updates, their seconds, and metrics, which are shown until they change."""
        self._done += updates
        self._metrics.update(metrics)
        # The rate of about the last ten chunks.
        now = updates / max(seconds, 1e-9)
        self._rate = 0.8 * self._rate + 0.2 * now if self._rate else now
        at_epoch_end = self._done % self._updates_per_epoch == 0
        words = self._words()
        self._bar.n = self._done
        self._bar.set_postfix_str(words)
        self._unprinted = f"{self._phase}, {words}"
        self._log(_SHORTEST_INTERVAL if at_epoch_end else _LONGEST_INTERVAL)

    def _log(self, interval: float) -> None:
        """In a log, prints the last words if the last line is so many seconds old."""
        now = time.monotonic()
        if self._logs and self._unprinted is not None and now - self._last_line >= interval:
            _print(self._unprinted)
            self._last_line, self._unprinted = now, None

    def _words(self) -> str:
        """Epoch, rate, time left and metrics."""
        epochs = self._done / self._updates_per_epoch
        shown = f"{epochs:.4g}" if epochs < 1000 else f"{epochs:.0f}"
        num_epochs = self._total // self._updates_per_epoch
        parts = [f"epoch {shown} of {num_epochs}", f"{_number(self._rate)} updates/s"]
        if self._batch_size:
            parts.append(f"{_number(self._rate * self._batch_size)} images/s")
        if self._done < self._total:
            elapsed = time.monotonic() - self._start
            left = elapsed * (self._total - self._done) / (self._done - self._first)
            parts.append(f"{datetime.timedelta(seconds=round(left))} left")  # h:mm:ss
        parts += [f"{name} {x:.4g}" for name, x in list(self._metrics.items())[:_SHOWN_METRICS]]
        return ", ".join(parts)


def _print(line: str) -> None:
    # Work goes on where nobody reads of it any more: tee ends at a Ctrl-C, before the run is saved.
    with contextlib.suppress(BrokenPipeError):
        print(line, file=sys.stderr, flush=True)


def _number(x: float) -> str:
    return f"{x:,.0f}" if x >= 100 else f"{x:.3g}"
