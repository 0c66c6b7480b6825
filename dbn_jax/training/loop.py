"""The compiled training loop of every experiment.

A learner is a pure function ``step(key, state, batch) -> (state, metrics)`` with any pytree of
arrays as its state. Many updates run in one compiled program; the host regains control about once
a second, for progress, checkpoints and signals. Everything random is a function of (seed, update):
with ``key = jax.random.key(seed)``, update t = 0, 1, … gets ``fold_in(key, t)``, and the orders of
the epochs and the keys of `transform` come from ``fold_in(key, 2**32 - 1)``. So a run that is
killed and resumed, at whatever moment, ends with the bits of an unbroken one, on the same machine.
"""

import contextlib
import dataclasses
import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from dbn_jax.training import batches, chunk
from dbn_jax.training.checkpoints import Checkpoints
from dbn_jax.training.metrics import MetricsFile
from dbn_jax.training.progress import Progress
from dbn_jax.training.signals import Signals

_OTHER_STREAMS = 2**32 - 1  # no update has this number


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How long and how to train; plain values, as flags give them.

    Attributes:
      seed: of all randomness.
      batch_size: examples per update, B.
      num_epochs: passes over the data, each of N // B updates; may grow when a run is resumed.
      phase: name shown in the progress line.
      checkpoint_seconds: time between two checkpoints.
      chunk_seconds: time after which the host regains control; no result depends on it.
      stream: whether batches are gathered on the host, one chunk ahead; None streams data on the
        host that exceed `max_resident_bytes`.
      max_resident_bytes: data up to this size are copied to the device.
      shown_metrics: names of metrics for the progress line; None shows the first few.
      show_progress: False trains in silence.
    """

    seed: int
    batch_size: int
    num_epochs: int
    phase: str = "training"
    checkpoint_seconds: float = 30.0
    chunk_seconds: float = 1.0
    stream: bool | None = None
    max_resident_bytes: int = 2 << 30
    shown_metrics: tuple[str, ...] | None = None
    show_progress: bool = True

    def __post_init__(self):
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}; it must be from 0 to 2³² − 1, as keys tell it")
        for name in ("batch_size", "num_epochs", "max_resident_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("checkpoint_seconds", "chunk_seconds"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")


class Interrupted(Exception):
    """A signal stopped the run after saving; the same call goes on from there.

    Attributes:
      step: number of updates made.
      signal: the signal's number.
      state: the training state.
    """

    def __init__(self, step: int, signal_number: int, state: Any, saved: bool):
        self.step = step
        self.signal = signal_number
        self.state = state
        name = signal.Signals(signal_number).name
        what = "a checkpoint is saved, the same command continues" if saved else "nothing is saved"
        super().__init__(f"stopped by {name} after {step} updates; {what}")


class Diverged(Exception):
    """The training state is no longer finite.

    Attributes:
      step: number of updates after which the state first held NaN or infinity.
      state: the state before that update.
    """

    def __init__(self, step: int, state: Any, message: str):
        self.step = step
        self.state = state
        super().__init__(message)


def train(
    step: Callable[..., Any],
    state: Any,
    data: Any,
    *,
    settings: Settings,
    transform: Callable[..., Any] | None = None,
    evaluate: Callable[[Any], Mapping[str, Any]] | None = None,
    callback: Callable[[int, int, Any], None] | None = None,
    checkpoints: Checkpoints | None = None,
    metrics_path: str | os.PathLike | None = None,
) -> Any:
    """Trains, from the beginning or from the newest checkpoint.

    The compiled program is kept: another call with equal functions (`functools.partial` objects of
    equal parts count as equal) and the same shapes compiles nothing.

    At the end of each epoch, and before the first update as epoch 0, `evaluate` is called, then
    the row of `metrics_path` is written, then `callback` is called, then a checkpoint may follow:
    what a checkpoint counts as done is not done again.

    Args:
      step: ``step(key, state, batch) -> (state, metrics)``, pure; metrics is a flat dict of
        scalars. For an ensemble, a `vmap` over states, average its metrics or name each. What all
        updates see beside the batch may be arrays among the keywords of a `functools.partial`.
      state: pytree of arrays, finite. It is not donated, and stays valid.
      data: array, or pytree of arrays, with a common leading axis N, such as uint8 images. Arrays
        that lie on devices, sharded or not, are used where they are.
      settings: see `Settings`.
      transform: ``transform(key, raw_batch) -> batch``, compiled into the update: scaling bytes to
        [0, 1], sampling a binarisation.
      evaluate: ``evaluate(state) -> dict`` of scalars, which get the prefix ``eval_``.
      callback: ``callback(epoch, step, state)``, for pictures and snapshots.
      checkpoints: where to save and resume; None does neither. The caller closes it.
      metrics_path: of a CSV file with a row per epoch: step, epoch, seconds (in this function,
        over all resumptions), images_per_second, the means of the step's metrics over the
        epoch, the evaluation.

    Returns:
      The final state; at once if the checkpoint is that of a finished run.

    Raises:
      Interrupted: SIGTERM or Ctrl-C arrived; a checkpoint is saved. A second Ctrl-C raises
        KeyboardInterrupt at once. Signals are handled in the main thread only.
      Diverged: an update made NaN or infinity; the last good checkpoint is kept.
      ValueError: data, state, step or checkpoint do not fit; says how.
      OSError: a checkpoint or the metrics cannot be written.
    """
    state = chunk.prepare_state(state)
    key = jax.random.key(settings.seed)
    order_key, transform_key = jax.random.split(jax.random.fold_in(key, _OTHER_STREAMS))
    source = batches.open_source(
        data,
        order_key,
        batch_size=settings.batch_size,
        num_epochs=settings.num_epochs,
        stream=settings.stream,
        max_resident_bytes=settings.max_resident_bytes,
        placement=chunk.replicated(state),
    )
    with contextlib.closing(source):
        stepper = chunk.Stepper(
            step,
            transform,
            state,
            source.window(0),
            keys=(key, transform_key),
            batch_size=settings.batch_size,
        )
        n = batches.num_examples(data)
        return _Run(settings, stepper, n, evaluate, callback, checkpoints).go(source, metrics_path)


class _Run:
    """One call of `train`: where it stands, and what it does at which moment."""

    def __init__(self, settings, stepper, num_examples, evaluate, callback, checkpoints):
        self.settings = settings
        self.stepper = stepper
        self.num_examples = num_examples
        self.updates_per_epoch = num_examples // settings.batch_size
        self.total = settings.num_epochs * self.updates_per_epoch
        self.evaluate = evaluate
        self.callback = callback
        self.checkpoints = checkpoints
        self.metrics_file: MetricsFile | None = None
        self.step = 0
        self.saved_step: int | None = None
        self.seconds_before = 0.0  # in earlier processes
        self.start = time.monotonic()

    def go(self, source, metrics_path):
        settings, stepper = self.settings, self.stepper
        resumed = self.restore()
        if resumed and self.step == self.total:
            return stepper.state
        if metrics_path is not None:
            keep_epochs = self.step // self.updates_per_epoch if resumed else None
            self.metrics_file = MetricsFile(metrics_path, keep_epochs=keep_epochs)
        stepper.compile(source.window(self.step))
        with Signals() as signals, self.progress() as progress:
            if not resumed:
                self.end_epoch(images_per_second=None)
            last_save = time.monotonic()
            length, epoch_updates, epoch_seconds = 1, 0, 0.0
            while self.step < self.total and signals.received is None:
                window = source.window(self.step)
                count = min(length, window.remaining)
                began = time.monotonic()
                if not stepper.advance(window, self.step, count):
                    raise self.diverged(window, count)
                seconds = time.monotonic() - began
                self.step += count
                # Grow fast at first, when one measurement says little.
                wanted = count * settings.chunk_seconds / max(seconds, 1e-9)
                length = max(1, int(min(wanted, 8 * count)))

                epoch_updates, epoch_seconds = epoch_updates + count, epoch_seconds + seconds
                metrics = self.means()
                if self.step % self.updates_per_epoch == 0:
                    rate = epoch_updates * settings.batch_size / max(epoch_seconds, 1e-9)
                    metrics |= self.end_epoch(images_per_second=rate)
                    epoch_updates, epoch_seconds = 0, 0.0
                progress.advance(count, seconds, metrics)
                if time.monotonic() - last_save >= settings.checkpoint_seconds:
                    self.save()
                    last_save = time.monotonic()
            self.save()
            if self.checkpoints is not None:
                self.checkpoints.wait()
            if signals.received is not None:
                saved = self.checkpoints is not None
                raise Interrupted(self.step, signals.received, stepper.state, saved)
        return stepper.state

    def progress(self):
        return Progress(
            self.settings.phase,
            done=self.step,
            total=self.total,
            updates_per_epoch=self.updates_per_epoch,
            batch_size=self.settings.batch_size,
            shown=self.settings.shown_metrics,
            silent=not self.settings.show_progress,
        )

    def means(self) -> dict[str, float]:
        """The step's metrics, averaged over the epoch's updates so far."""
        count = (self.step - 1) % self.updates_per_epoch + 1
        return {name: float(value) / count for name, value in self.stepper.sums.items()}

    def end_epoch(self, *, images_per_second: float | None) -> dict[str, float]:
        """Evaluates, writes the row, calls back; also before the first update."""
        epoch, state = self.step // self.updates_per_epoch, self.stepper.state
        evaluation = {}
        if self.evaluate is not None:
            evaluation = {
                f"eval_{name}": _as_float(name, value)
                for name, value in jax.device_get(dict(self.evaluate(state))).items()
            }
        if self.metrics_file is not None and (epoch > 0 or evaluation):
            means = self.means() if epoch > 0 else dict.fromkeys(self.stepper.sums)
            self.metrics_file.append(
                {
                    "step": self.step,
                    "epoch": epoch,
                    "seconds": self.seconds(),
                    "images_per_second": images_per_second,
                    **means,
                    **evaluation,
                }
            )
        self.stepper.reset_sums()
        if self.callback is not None:
            self.callback(epoch, self.step, state)
        return evaluation

    def seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.start

    def tree(self) -> dict[str, Any]:
        """What a checkpoint holds: the state, and what the loop needs to go on as if unbroken."""
        loop = {
            "seed": np.asarray(self.settings.seed, np.int64),
            "batch_size": np.asarray(self.settings.batch_size, np.int64),
            "num_examples": np.asarray(self.num_examples, np.int64),
            "seconds": np.asarray(self.seconds(), np.float64),
            "metric_sums": self.stepper.sums,
        }
        return {"state": self.stepper.state, "loop": loop}

    def save(self) -> None:
        if self.checkpoints is not None and self.step != self.saved_step:
            self.checkpoints.save(self.step, self.tree())
            self.saved_step = self.step

    def restore(self) -> bool:
        found = None if self.checkpoints is None else self.checkpoints.restore(self.tree())
        if found is None:
            return False
        step, tree = found
        loop = tree["loop"]
        for name in ("seed", "batch_size", "num_examples"):
            saved, given = int(loop[name]), int(self.tree()["loop"][name])
            if saved != given:
                raise ValueError(
                    f"the checkpoint in {self.checkpoints.directory} was made with {name} {saved}, "
                    f"now it is {given}; use {saved}, or another directory"
                )
        if step > self.total:
            raise ValueError(
                f"the checkpoint in {self.checkpoints.directory} is of {step} updates; num_epochs "
                f"{self.settings.num_epochs} asks for {self.total} only. Ask for at least "
                f"{-(-step // self.updates_per_epoch)} epochs, or use another directory"
            )
        self.step = self.saved_step = step
        self.seconds_before = float(loop["seconds"])
        self.stepper.restore(tree["state"], loop["metric_sums"])
        return True

    def diverged(self, window: batches.Window, count: int) -> Diverged:
        step, good, where = self.stepper.first_bad_update(window, self.step, count)
        kept = ""
        if self.saved_step is not None:
            kept = f" The checkpoint of {self.saved_step} updates, still finite, is kept."
        epoch = (step - 1) // self.updates_per_epoch + 1
        return Diverged(
            step,
            good,
            f"update {step} (in epoch {epoch}) made NaN or infinity in {where}. Lower the learning "
            "rate, clip the gradient, or scale the input (bytes to [0, 1]; real values to zero "
            f"mean and unit variance).{kept}",
        )


def _as_float(name: str, value: Any) -> float:
    if np.ndim(value) != 0:
        raise ValueError(f"the metric {name} has shape {np.shape(value)}; metrics are scalars")
    return float(value)
