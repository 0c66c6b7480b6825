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
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from dbn_jax import parallel, sources
from dbn_jax.training import batches, belonging, chunk, ensemble, stopping, streaming
from dbn_jax.training.checkpoints import Checkpoints
from dbn_jax.training.events import EventFile
from dbn_jax.training.metrics import MetricsFile
from dbn_jax.training.profiling import Profile
from dbn_jax.training.progress import Progress
from dbn_jax.training.signals import Signals

S = TypeVar("S")

# Numbers that no update has: of orders and transforms, of `spare_key`, and of `seed_of_phase`.
_OTHER_STREAMS = 2**32 - 1
_SPARE = 2**32 - 2
_PHASES = 2**32 - 3
_COLUMNS = ("step", "epoch", "seconds", "images_per_second")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How long and how to train; plain values, as flags give them."""

    seed: int
    num_epochs: int  # may grow when a run is resumed
    batch_size: int | None = None  # B: an epoch of N examples has N // B updates
    updates_per_epoch: int | None = None  # without data, instead of `batch_size`
    phase: str = "training"  # stands in the progress line
    checkpoint_seconds: float = 30.0
    ensemble: int | None = None  # so many models, member i as with the seed + i
    early_stopping: stopping.EarlyStopping | None = None
    chunk_seconds: float = 1.0  # after which the host regains control; no result depends on it
    show_progress: bool = True

    def __post_init__(self):
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}; it must be from 0 to 2³² − 1, as keys tell it")
        for name in ("num_epochs", "batch_size", "updates_per_epoch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        if self.ensemble is not None and self.ensemble < 2:
            raise ValueError(f"ensemble is {self.ensemble}; it must be at least 2, or None")
        if self.ensemble is not None and self.early_stopping is not None:
            raise ValueError(
                "the models of an ensemble would stop at different epochs; leave out ensemble or "
                "early_stopping"
            )
        for name in ("checkpoint_seconds", "chunk_seconds"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")

    @property
    def seeds(self) -> list[int]:
        """Those of the members of an ensemble; otherwise the seed."""
        return [(self.seed + i) % 2**32 for i in range(self.ensemble or 1)]


def spare_key(seed: int) -> jax.Array:
    """A key for what is random outside the loop, such as first weights: no update gets it."""
    return jax.random.fold_in(jax.random.key(seed), _SPARE)


def seed_of_phase(seed: int, number: int) -> int:
    """The seed of a part of a run, such as a layer: seed + number would be another run's too."""
    key = jax.random.fold_in(jax.random.key(seed), _PHASES)
    return int(jax.random.bits(jax.random.fold_in(key, number), dtype=np.uint32))


class Interrupted(Exception):
    """A signal stopped the run after `step` updates, which are saved; the same call goes on."""

    def __init__(self, step: int, signal_number: int, state: Any, saved: bool):
        self.step = step
        self.signal = signal_number
        self.state = state
        name = signal.Signals(signal_number).name
        what = "a checkpoint is saved, the same command continues" if saved else "nothing is saved"
        super().__init__(f"stopped by {name} after {step} updates; {what}")


class Diverged(Exception):
    """`step` updates made NaN or infinity of the training state; `state` is the one before it."""

    def __init__(self, step: int, state: Any, message: str):
        self.step = step
        self.state = state
        super().__init__(message)


def train(
    step: Callable[..., Any],
    state: S,
    data: Any = None,
    *,
    settings: Settings,
    transform: Callable[..., Any] | None = None,
    evaluate: Callable[[Any], Mapping[str, Any]] | None = None,
    callback: Callable[[int, int, Any], None] | None = None,
    checkpoints: Checkpoints | None = None,
    made_with: Mapping[str, Any] = types.MappingProxyType({}),
    metrics_path: str | os.PathLike | None = None,
    profile: Profile | None = None,
) -> S:
    """Trains, from the beginning or from the newest checkpoint, and returns the final state.

    With `settings.early_stopping` it may end sooner, and returns the best state.

    The compiled program is kept: another call with equal functions (`functools.partial` objects of
    equal parts count as equal) and the same shapes compiles nothing.

    At the end of each epoch, and before the first update as epoch 0, `evaluate` is called, then
    the row of `metrics_path` is written, then `callback` is called, then a checkpoint may follow:
    what a checkpoint counts as done is not done again.

    Args:
      step: pure; metrics is a flat dict of scalars. What all updates see beside the batch may be
        arrays among the keywords of a `functools.partial`.
      state: finite. It is not donated, and stays valid. Of an ensemble (`settings.ensemble`), the
        states of all members, stacked along a first axis. One `vmap` trains them all; each ends
        where it would end alone, with its own seed, up to rounding, which long runs amplify.
      data: array, or pytree of arrays, with a common leading axis N, such as uint8 images. They are
        copied to the device whole; arrays that lie on devices are used where they are, and devices
        that share their rows share those of each batch. With a `np.memmap` among them, and from a
        data source, rows are read as they are needed, so that the data may be larger than memory;
        see `dbn_jax.sources`. None: batches are None, and `settings.updates_per_epoch` says what an
        epoch is.
      transform: ``transform(key, raw_batch) -> batch``, compiled into the update: scaling bytes to
        [0, 1], sampling a binarisation.
      evaluate: ``evaluate(state) -> dict`` of scalars, which get the prefix ``eval_``; called for
        each member of an ensemble.
      callback: ``callback(epoch, step, state)``, for pictures and snapshots.
      checkpoints: where to save and resume; None does neither. The caller closes it. They know
        what they belong to: data, first state, step and transform with what is bound to them, seed
        and sizes, JAX's settings of random numbers. A difference is refused by name (ValueError).
      made_with: names and values, as JSON, of what else the checkpoints belong to.
      metrics_path: of a CSV file with a row per epoch: step, epoch, seconds (in this function,
        over all resumptions), images_per_second (empty without data), the means of the step's
        metrics over the epoch, the evaluation; with early stopping best_epoch, the best one so far.
        Of an ensemble, means over the members, and their ``…_standard_error``. TensorBoard finds
        the same in the folder `tensorboard` beside it.
      profile: which updates to trace, and where; no result depends on it.

    Raises:
      TypeError: something in the data is no array of numbers.
      ValueError: arrays on the host hold NaN or infinity, or sizes do not fit each other; a row
        cannot be read.
      Interrupted: SIGTERM or Ctrl-C arrived; a checkpoint is saved. A second Ctrl-C raises
        KeyboardInterrupt at once. Signals are handled in the main thread only.
      Diverged: an update made NaN or infinity; the last good checkpoint is kept.
    """
    is_ensemble = settings.ensemble is not None
    mesh = parallel.mesh_of((state, data))
    state = chunk.prepare_state(state, mesh, is_ensemble=is_ensemble)
    keys = jnp.stack([jax.random.key(seed) for seed in settings.seeds])
    key, order_key, transform_key = _keys(keys if is_ensemble else keys[0])
    given = data, order_key, settings.batch_size, settings.updates_per_epoch
    given = *given, mesh
    if sources.is_read(data):
        if is_ensemble:
            raise ValueError(
                f"an ensemble of {settings.ensemble} models, each with batches of its own, needs "
                "its data in memory; read them there, or train one model"
            )
        source = streaming.Streamed(*given, num_epochs=settings.num_epochs)
    else:
        source = batches.Batches(*given)
    stepper = chunk.Stepper(step, transform, state, source, keys=(key, transform_key))
    _check_names(stepper.sums)
    belongs_to: dict[str, Any] = {}
    if checkpoints is not None:
        sizes = ("batch_size", "num_examples", "updates_per_epoch")
        belongs_to = {
            **made_with,
            "seed": settings.seed,
            "ensemble": settings.ensemble,
            **{name: getattr(source, name) for name in sizes},
            **belonging.random_settings(),
            **belonging.of_function("step", step),
            **belonging.of_function("transform", transform),
            **belonging.of_arrays("training data", data),
            **belonging.of_arrays("first state", state),
        }
    profile = profile or Profile("profile", num_updates=0)
    run = _Run(settings, stepper, source, evaluate, callback, checkpoints, belongs_to, profile)
    return run.go(metrics_path)


@jax.jit
def _keys(key):
    """The keys of updates, of orders and of transforms; of an ensemble, those of each member."""
    if key.ndim:
        return jax.vmap(_keys)(key)
    return key, *jax.random.split(jax.random.fold_in(key, _OTHER_STREAMS))


@dataclasses.dataclass
class _Run:
    """One call of `train`: where it stands, and what it does when."""

    settings: Settings
    stepper: chunk.Stepper
    source: batches.Batches
    evaluate: Any
    callback: Any
    checkpoints: Checkpoints | None
    belongs_to: Mapping[str, Any]
    profile: Profile
    metrics_file: MetricsFile | None = None
    step: int = 0
    saved_step: int | None = None
    best: stopping.Best | None = None
    # Less the seconds of earlier processes, once they are known.
    start: float = dataclasses.field(default_factory=time.monotonic)

    @property
    def updates_per_epoch(self) -> int:
        return self.source.updates_per_epoch

    @property
    def total(self) -> int:
        return self.settings.num_epochs * self.updates_per_epoch

    @property
    def is_over(self) -> bool:
        epoch = self.step // self.updates_per_epoch
        stops = self.best is not None and self.best.is_long_ago(epoch)
        return stops or self.step == self.total

    @property
    def result(self) -> Any:
        return self.stepper.state if self.best is None else self.best.tree["state"]

    def go(self, metrics_path):
        if self.settings.early_stopping is not None:
            self.best = stopping.Best(self.settings.early_stopping, self.stepper.state)
        resumed = self.restore()
        if resumed and self.is_over:
            return self.result
        if not resumed:  # a resumed run traces the updates that are left
            self.profile.check(self.settings.phase, self.total)
        if metrics_path is not None:
            self.metrics_file = MetricsFile(
                metrics_path,
                keep_epochs=self.step // self.updates_per_epoch if resumed else None,
                events=EventFile(
                    metrics_path,
                    self.settings.phase,
                    first_step=self.step + 1 if resumed else 0,
                ),
            )
        self.stepper.compile(self.step)
        received, rows = None, self.metrics_file or contextlib.nullcontext()
        with Signals() as signals, self.progress() as progress, rows, self.profile:
            if not resumed:
                self.end_epoch(images_per_second=None)
            last_save = time.monotonic()
            length, epoch_updates, epoch_seconds = 1, 0, 0.0
            while not self.is_over:
                is_due = time.monotonic() - last_save >= self.settings.checkpoint_seconds
                length, is_due, received = _agreed(length, is_due, signals.received)
                if received is not None:
                    break
                if is_due:
                    self.save()
                    last_save = time.monotonic()
                count = min(length, self.source.remaining(self.step))
                count = self.profile.begin(count)
                seconds = self.advance(count)
                self.profile.end()
                # At most eight times longer: a short measurement says little.
                wanted = count * self.settings.chunk_seconds / max(seconds, 1e-9)
                length = max(1, int(min(wanted, 8 * count)))
                epoch_updates, epoch_seconds = epoch_updates + count, epoch_seconds + seconds
                metrics = self.means()
                if self.step % self.updates_per_epoch == 0:
                    rate = (
                        epoch_updates
                        * self.source.batch_size
                        * len(self.settings.seeds)
                        / max(epoch_seconds, 1e-9)
                    )
                    metrics |= self.end_epoch(images_per_second=rate or None)
                    epoch_updates, epoch_seconds = 0, 0.0
                progress.advance(count, seconds, metrics)
            self.save()
            if self.checkpoints is not None:
                self.checkpoints.wait()
            if received is not None:
                saved = self.checkpoints is not None
                raise Interrupted(self.step, received, self.stepper.state, saved)
        return self.result

    def progress(self):
        return Progress(
            self.settings.phase,
            done=self.step,
            total=self.total,
            updates_per_epoch=self.updates_per_epoch,
            batch_size=self.source.batch_size * len(self.settings.seeds),
            silent=not (self.settings.show_progress and parallel.is_first()),
        )

    def advance(self, count: int) -> float:
        """Makes updates, and returns the seconds that they took."""
        began = time.monotonic()
        if not self.stepper.advance(self.step, count):
            raise self.diverged(count)
        self.step += count
        return time.monotonic() - began

    def diverged(self, count: int) -> Diverged:
        step, good, where = self.stepper.first_bad_update(self.step, count)
        kept = ""
        if self.saved_step is not None:
            kept = f" The checkpoint of {self.saved_step} updates, still finite, is kept."
        epoch = (step - 1) // self.updates_per_epoch + 1
        remedy = (
            "Lower the learning rate, clip the gradient, or scale the input (bytes to [0, 1]; real "
            "values to zero mean and unit variance)"
        )
        if fault := batches.non_finite(self.source.data, jax.Array):
            remedy = f"The data did it: {fault}"
        return Diverged(
            step,
            good,
            f"update {step} (in epoch {epoch}) made NaN or infinity in {where}. {remedy}.{kept}",
        )

    def means(self) -> dict[str, float]:
        """The step's metrics, averaged over the epoch's updates so far."""
        count = (self.step - 1) % self.updates_per_epoch + 1
        return self.summary({name: value / count for name, value in self.stepper.sums.items()})

    def summary(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        """Scalars of the metrics; of an ensemble, those that sum its members up."""
        if self.settings.ensemble is not None:
            return ensemble.summary(metrics)
        return {name: _as_float(name, value) for name, value in metrics.items()}

    def end_epoch(self, *, images_per_second: float | None) -> dict[str, float]:
        """Evaluates, writes the row, calls back; also before the first update."""
        epoch, state = self.step // self.updates_per_epoch, self.stepper.state
        measured, evaluation = {}, {}
        if self.evaluate is not None:
            size = self.settings.ensemble
            found = ensemble.evaluate(self.evaluate, state, size) if size else self.evaluate(state)
            found = jax.device_get(dict(found))
            measured = self.summary(found)
            evaluation = {f"eval_{name}": x for name, x in measured.items()}
        if self.best is not None:
            self.best.see(epoch, state, measured)
            evaluation[stopping.COLUMN] = self.best.epoch
        if self.metrics_file is not None and (epoch > 0 or evaluation):
            seconds = time.monotonic() - self.start
            columns = (self.step, epoch, seconds, images_per_second)
            means = self.means() if epoch > 0 else dict.fromkeys(self.means())
            row = dict(zip(_COLUMNS, columns, strict=True))
            self.metrics_file.append({**row, **means, **evaluation})
        self.stepper.reset_sums()
        if self.callback is not None:
            self.callback(epoch, self.step, state)
        return evaluation

    def tree(self) -> dict[str, Any]:
        """What a checkpoint holds: the state, and what the loop needs to go on as if unbroken."""
        seconds = np.asarray(time.monotonic() - self.start)
        loop = {"seconds": seconds, "metric_sums": self.stepper.sums}
        best = {} if self.best is None else {"best": self.best.tree}
        return {"state": self.stepper.state, "loop": loop, **best}

    def save(self) -> None:
        if self.checkpoints is not None and self.step != self.saved_step:
            if self.metrics_file is not None:
                self.metrics_file.flush()  # a run that goes on from here keeps the rows before it
            self.checkpoints.save(self.step, self.tree(), self.belongs_to)
            self.saved_step = self.step

    def restore(self) -> bool:
        """Goes on from the newest checkpoint, and returns whether there is one."""
        if self.checkpoints is None:
            return False
        found = self.checkpoints.restore(self.tree(), self.belongs_to)
        if found is None:
            return False
        self.step, tree = found
        loop = tree["loop"]
        if self.step > self.total:
            raise ValueError(
                f"the checkpoint in {self.checkpoints.directory} is of {self.step} updates; "
                f"num_epochs {self.settings.num_epochs} asks for {self.total} only. Ask for at "
                f"least {-(-self.step // self.updates_per_epoch)} epochs, or use another directory"
            )
        self.saved_step = self.step
        self.start -= float(loop["seconds"])
        self.stepper.restore(tree["state"], loop["metric_sums"])
        if self.best is not None:
            self.best.tree = tree["best"]
        return True


def _agreed(length: int, is_due: bool, received: int | None) -> tuple[int, bool, int | None]:
    """Length of the next chunk, whether a checkpoint is due, and a signal that stops the run.

    Of several hosts, whose clocks differ, the first decides, and a signal to any of them counts:
    JAX wants all to run the same programs in the same order.
    """
    told = parallel.of_all([length, is_due, received or 0])
    return int(told[0, 0]), bool(told[0, 1]), int(told[:, 2].max()) or None


def _check_names(metrics: Mapping[str, Any]) -> None:
    for name in metrics:
        if name in (*_COLUMNS, stopping.COLUMN) or name.startswith("eval_"):
            raise ValueError(
                f"the metric {name} has the name of one of the loop's own columns "
                f"({', '.join(_COLUMNS)}, {stopping.COLUMN}, eval_…); give it another"
            )


def _as_float(name: str, value: Any) -> float:
    if np.ndim(value) != 0:
        raise ValueError(f"the metric {name} has shape {np.shape(value)}; metrics are scalars")
    return float(value)
