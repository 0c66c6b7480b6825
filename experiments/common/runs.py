"""A run of an experiment, from its command line to its summary.

A command declares its settings, and its `run` holds only what is particular to it:

    class Settings(runs.TrainingSettings):
        '''What decides the result.'''

        epochs: int = setting(10, "Passes over the data.", at_least=1)

    def run(settings: Settings, workdir: str) -> dict:
        run = runs.open(settings, workdir)
        if run.is_done:
            return run.report()
        state = run.train("rbm", step, state, images, batch_size=100, epochs=settings.epochs)
        run.save_model(state.params)
        run.save_figures({"features": figures.receptive_fields(state.params.weights, ...)})
        return run.finish({"error": ...})

    if __name__ == "__main__":
        runs.main(run, Settings)

The workdir then holds flags.txt, metrics_rbm.csv, checkpoints/rbm, model.npz, figures/ and
summary.json. The same command resumes a run that was interrupted, at whatever moment.
"""

import contextlib
import dataclasses
import functools
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import jax
import numpy as np
from absl import logging

from dbn_jax import figures, files, model_file, parallel, precision, training
from dbn_jax.training import belonging
from experiments.common import command_line, pretrained
from experiments.common.settings import Declared, setting

# Number of `Run.key` below the seed's spare key: far from those of the parts that it is split into.
_OUTSIDE = 2**32 - 1
# Examples on a device below which the sum over the devices takes longer than the products: by the
# cycles of an update that libtpu estimates (`benchmark --tpu`).
_PAYS = 1000


class Folder(Declared, title="Run"):
    """The folder of a run, which is no setting of it."""

    workdir: str = setting(help="Folder of the run: a new one, or that of a run to be resumed.")
    devices: int | None = setting(
        None,
        "Number of devices that share the work.",
        unset="all that JAX finds, those of other hosts too",
        at_least=1,
    )
    compilation_cache: str | None = setting(
        None,
        "Folder where compiled programs are kept, for every run that needs them again.",
        unset="that of the variable JAX_COMPILATION_CACHE_DIR, or none",
        folder=True,
    )


class RunSettings(Declared, title="Run"):
    """Settings of every run."""

    seed: int = setting(0, "Seed of all random numbers.", at_least=0)


class ResumedSettings(RunSettings, title="Run"):
    """Settings of every run that can be resumed."""

    checkpoint_seconds: float = setting(
        30.0,
        "Seconds between two checkpoints, from which a stopped run is resumed.",
        at_least=0,
        decides=False,
    )
    profile_updates: int = setting(
        0,
        "Number of updates, after the first of each phase of training, that JAX's profiler traces "
        "into profile/.",
        at_least=0,
        at_most=1000,
        decides=False,
    )


class TrainingSettings(ResumedSettings, title="Run"):
    """Settings of every run that learns from data."""

    precision: str = setting(
        "default",
        "What learning rounds factors to before they are multiplied: by default what the device is "
        "fast at, bfloat16 on TPUs, TF32 on recent GPUs, and float32, which is all bits, on CPUs. "
        "Likelihoods, error rates and maps are computed in float32 everywhere.",
        choices=precision.NAMES,
    )
    # Whether --pretrained takes models that the command itself has made.
    takes_own_models: ClassVar[bool] = False


def open(settings: Declared, workdir: str) -> "Run":
    """Opens the workdir of a run, which is new, to be resumed, or finished."""
    if isinstance(settings, TrainingSettings):
        _check_precision(settings.precision)
    module = type(settings).__module__
    folder = training.open_workdir(
        workdir,
        settings.as_flags(),
        program=sys.modules["__main__"].__spec__.name if module == "__main__" else module,
        settings=dataclasses.asdict(settings),
        may_change=settings.undecisive(),
        may_grow={
            flag: fault and f"{fault}; {_remedy(settings, workdir)}"
            for flag, fault in settings.growing().items()
        },
    )
    return Run(settings, folder)


def _remedy(settings: Declared, workdir: str) -> str:
    """What to do where a run cannot become longer."""
    remedy = "choose another --workdir"
    if getattr(settings, "takes_own_models", False):
        remedy += f", and there --pretrained={workdir} to train its model further"
    return remedy


@dataclasses.dataclass(frozen=True)
class Run:
    """A run in its workdir, from `open`."""

    settings: Declared
    workdir: training.Workdir
    # Of phases with early stopping: which epoch was kept.
    _stops: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    @property
    def path(self) -> files.Path:
        """Path of the workdir."""
        return self.workdir.path

    @property
    def is_done(self) -> bool:
        """Whether the run has finished."""
        return self.workdir.is_done

    @property
    def key(self) -> jax.Array:
        """A key for random numbers outside training; no update and no first state uses it."""
        return jax.random.fold_in(training.spare_key(self.settings.seed), _OUTSIDE)

    def report(self) -> dict[str, Any]:
        """Prints and returns what a finished run found."""
        summary = training.read_summary(self.path)
        training.check_files(self.path, summary)
        for name, digest in summary.get("started_from", {}).items():
            if self._started_from.get(name) not in (None, digest):
                raise ValueError(
                    f"--{name}={getattr(self.settings, name)} is another model than the one from "
                    f"which the run in {self.path} started; choose another --workdir"
                )
        if self._table.exists():
            print(files.read_text(self._table), end="")
        _print(summary["results"])
        print(f"done already: see {self.path}")
        return summary

    @contextlib.contextmanager
    def training(
        self,
        phase: str,
        *,
        epochs: int,
        seed: int | None = None,
        held_out: Any = None,
        callback: Callable[[int, Any], None] = lambda epoch, state: None,
        early_stopping: training.EarlyStopping | None = None,
        **sizes: int | None,
    ) -> Iterator[dict[str, Any]]:
        """Makes the arguments with which `training.train` trains in the workdir, or resumes there.

        Args:
          phase: names the metrics, the checkpoints and the progress line.
          epochs: number of them.
          seed: of this phase, if not that of the run.
          held_out: arrays that the evaluation looks at, any tree: a run that goes on sees the same.
          callback: called after every epoch, and before the first as epoch 0.
          early_stopping: when training ends sooner; the summary tells which epoch was kept.
          **sizes: `batch_size`, or without data `updates_per_epoch`; and of several models
            `ensemble`, their number.
        """

        def watch(epoch, step, state):
            del step
            callback(epoch, state)
            self.workdir.note_time()

        settings = training.Settings(
            seed=self.settings.seed if seed is None else seed,
            num_epochs=epochs,
            phase=phase,
            checkpoint_seconds=self.settings.checkpoint_seconds,
            early_stopping=early_stopping,
            **sizes,
        )
        if sizes.get("batch_size"):
            _tell_of_small_batches(phase, sizes["batch_size"], parallel.num_shares())
        checkpoints = training.Checkpoints(self.path / "checkpoints" / phase)
        learning = precision.learning(getattr(self.settings, "precision", "default"))
        with checkpoints as saved, learning:
            yield {
                "settings": settings,
                "callback": watch,
                "checkpoints": saved,
                "made_with": self._made_with() | belonging.of_arrays("held-out data", held_out),
                "metrics_path": self._metrics(phase),
                "profile": training.Profile(
                    self.path / "profile" / phase, self.settings.profile_updates
                ),
            }
        parallel.wait_for_all(phase)  # for the files of the first process
        if early_stopping is not None:
            self._note_stop(phase, early_stopping.measure)

    def train(
        self,
        phase: str,
        step: Callable[..., Any],
        state: Any,
        data: Any,
        *,
        transform: Callable[..., Any] | None = None,
        evaluate: Callable[[Any], Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> Any:
        """`training.train` in the workdir; the options are those of `Run.training`."""
        with self.training(phase, **options) as workdir:
            return training.train(
                step, state, data, transform=transform, evaluate=evaluate, **workdir
            )

    def metrics(self, phase: str) -> dict[str, np.ndarray]:
        """The columns of metrics of a phase of training."""
        return training.read_metrics(self._metrics(phase))

    def kept(self, phase: str) -> dict[str, float]:
        """The metrics of the epoch whose state `train` returned: the last, or the best."""
        table = self.metrics(phase)
        epoch = table["best_epoch" if phase in self._stops else "epoch"][-1]
        if epoch not in table["epoch"]:
            raise ValueError(
                f"{self._metrics(phase)} has lost the row of epoch {epoch:.0f}, which was the best "
                "one; put it back, or choose another --workdir"
            )
        row = list(table["epoch"]).index(epoch)
        return {name: column[row] for name, column in table.items()}

    def save_model(self, model: Any, name: str = "model") -> None:
        """Writes <name>.npz."""
        model_file.save(self.path / f"{name}.npz", model)

    def save_figures(self, pictures: Mapping[str, Any]) -> None:
        """Writes each picture to figures/<name>.png."""
        for name, picture in pictures.items():
            figures.save(picture, self.workdir.figures / f"{name}.png")

    def save_table(self, text: str) -> None:
        """Writes table.txt, and prints it."""
        files.write_text(self._table, text)
        print(text, end="")

    def finish(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Prints the results, and writes the summary, which marks the run as finished."""
        more = {}
        if started_from := {name: x for name, x in self._started_from.items() if x is not None}:
            more["started_from"] = started_from
        if self._stops:
            more["early_stopping"] = self._stops
        if isinstance(self.settings, TrainingSettings):
            more["learning_precision"] = precision.found(self.settings.precision)
        seed = getattr(self.settings, "seed", 0)
        summary = self.workdir.write_summary(results, seed=seed, **more)
        _print(summary["results"])
        print(f"done in {summary['wall_seconds']:.0f} s: see {self.path}")
        return summary

    def save_arrays(self, name: str, **arrays: np.ndarray) -> None:
        """Writes <name>.npz."""
        with files.replacing(self.path / f"{name}.npz") as file:
            np.savez(file, **arrays)

    @functools.cached_property
    def _started_from(self) -> dict[str, str | None]:
        """The SHA-256 of the models that the run starts from, by the flags that name them."""
        names = (*pretrained.STARTS, "model")
        starts = {name: getattr(self.settings, name, None) for name in names}
        places = {name: files.path(x) for name, x in starts.items() if isinstance(x, str)}
        models = {name: x if x.is_file() else x / "model.npz" for name, x in places.items()}
        return {name: files.sha256(x) if x.is_file() else None for name, x in models.items()}

    def _note_stop(self, phase, measure):
        """Says which epoch was kept of those that were run."""
        self._stops[phase] = {"measure": measure}
        kept, last = int(self.kept(phase)["epoch"]), int(self.metrics(phase)["epoch"][-1])
        self._stops[phase] |= {"kept_epoch": kept, "last_epoch": last}
        print(f"{phase}: training ended with epoch {last}; epoch {kept} is kept, by {measure}")
        if kept == 0:
            logging.warning(
                "%s: no epoch was better than the start, by %s; choose a larger --patience, or "
                "another learning rate",
                phase,
                measure,
            )

    def _made_with(self):
        return {f"{name} model": x and x[:16] for name, x in self._started_from.items()}

    @property
    def _table(self):
        return self.path / "table.txt"

    def _metrics(self, phase):
        return self.path / f"metrics_{phase}.csv"


def main(run: Callable[[Any, str], Any], settings: type[Declared]) -> None:
    """Runs a command: reads its settings from the flags, and reports failures in one sentence."""

    def on_devices(folder, values):
        _keep_programs(folder.compilation_cache)
        parallel.start()
        members = getattr(values, "ensemble", None) or 1
        with parallel.devices(folder.devices, members=members), _quiet_but_for_the_first():
            precision.full(run)(values, folder.workdir)
        parallel.stop()

    command_line.main(
        on_devices,
        Folder,
        settings,
        stopped="stopped by Ctrl-C; the same command resumes from what is saved",
    )


def _keep_programs(folder: str | None) -> None:
    """Has JAX keep what it compiles, quick or not: it would keep what takes more than a second."""
    if not folder:
        return
    place = files.absolute(folder)
    with files.named(f"cannot keep compiled programs in {place}"):
        place.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", os.fspath(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _check_precision(wanted: str) -> None:
    if wanted != "default" and (found := precision.found(wanted)) != wanted:
        raise ValueError(
            f"--precision={wanted}, but on this device ({jax.default_backend()}) factors are "
            f"{found}; leave the flag out, or choose float32"
        )


def _tell_of_small_batches(phase: str, batch_size: int, count: int) -> None:
    """Says so where one device would be quicker than all of them."""
    if count > 1 and batch_size < _PAYS * count:
        logging.warning(
            "%s: %d devices share batches of %d, which one device may train as quickly "
            "(--devices=1); they pay from --batch_size=%d on, or with an --ensemble of %d",
            phase,
            count,
            batch_size,
            _PAYS * count,
            count,
        )


@contextlib.contextmanager
def _quiet_but_for_the_first():
    """A context in which of several processes only the first speaks; failures are told by all."""
    if parallel.is_first():
        yield
        return
    logging.set_verbosity(logging.ERROR)
    with pathlib.Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def _print(results: Mapping[str, Any]) -> None:
    """Prints the results that are numbers or text; tables and lists are for summary.json."""
    for name, value in results.items():
        if isinstance(value, float):
            value = f"{value:.2%}" if name.startswith("error_rate") else f"{value:.6g}"
        if isinstance(value, (int, str)):
            print(f"{name}: {value}", flush=True)
