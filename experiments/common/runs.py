"""A run of an experiment, from its command line to its summary.

A command declares its settings, and its `run` holds only what is particular to it:

    @declare
    class Settings(runs.TrainingSettings):
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

import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from absl import app, flags

from dbn_jax import figures, model_file, training
from experiments.common import exits
from experiments.common import settings as declarations
from experiments.common.settings import Declared, declare, setting

flags.disclaim_key_flags()
# Number of `Run.key` below the seed's spare key: far from those of the parts that it is split into.
_OUTSIDE = 2**32 - 1


@declare
class RunSettings(Declared):
    """Settings of every run."""

    seed: int = setting(0, "Seed of all random numbers.", at_least=0)


@declare
class TrainingSettings(RunSettings):
    """Settings of every run that trains, and so can be resumed."""

    checkpoint_seconds: float = setting(
        30.0, "Seconds between two checkpoints.", at_least=0, decides=False
    )


class Run:
    """A run in its workdir, from `open`.

    Attributes:
      settings: of the command.
      folder: the workdir.
    """

    def __init__(self, settings: Declared, folder: training.Workdir):
        """Use `open`."""
        self.settings = settings
        self.folder = folder

    @property
    def path(self) -> pathlib.Path:
        """Path of the workdir."""
        return self.folder.path

    @property
    def figures(self) -> pathlib.Path:
        """The folder of pictures."""
        return self.folder.figures

    @property
    def is_done(self) -> bool:
        """Whether the run has finished."""
        return self.folder.is_done

    @property
    def key(self) -> jax.Array:
        """A key for random numbers outside training; no update and no first state uses it."""
        return jax.random.fold_in(training.spare_key(self.settings.seed), _OUTSIDE)

    def report(self) -> dict[str, Any]:
        """Prints and returns what a finished run found."""
        summary = training.read_summary(self.path)
        _print(summary["results"])
        print(f"done already: see {self.path}")
        return summary

    def train(
        self,
        phase: str,
        step: Callable[..., Any],
        state: Any,
        data: Any,
        *,
        epochs: int,
        seed: int | None = None,
        callback: Callable[[int, Any], None] | None = None,
        batch_size: int | None = None,
        updates_per_epoch: int | None = None,
        **options: Any,
    ) -> Any:
        """Trains, or goes on where an earlier process stopped: `training.train` in the workdir.

        Args:
          phase: names the metrics, the checkpoints and the progress line.
          step: see `training.train`.
          state: the state before the first update.
          data: training data; None if the updates need none.
          epochs: passes over the data.
          seed: of this phase, if not that of the run.
          callback: ``callback(epoch, state)``, after every epoch.
          batch_size: examples per update.
          updates_per_epoch: if there are no data.
          **options: further arguments of `training.train`, such as `transform` and `evaluate`.
        """

        def watch(epoch, step, state):
            del step
            if callback is not None:
                callback(epoch, state)
            self.folder.note_time()

        with training.Checkpoints(self.path / "checkpoints" / phase) as saved:
            return training.train(
                step,
                state,
                data,
                settings=training.Settings(
                    seed=self.settings.seed if seed is None else seed,
                    batch_size=batch_size,
                    updates_per_epoch=updates_per_epoch,
                    num_epochs=epochs,
                    phase=phase,
                    checkpoint_seconds=self.settings.checkpoint_seconds,
                ),
                callback=watch,
                checkpoints=saved,
                metrics_path=self._metrics_path(phase),
                **options,
            )

    def metrics(self, phase: str) -> dict[str, np.ndarray]:
        """The columns of metrics of a phase of training."""
        return training.read_metrics(self._metrics_path(phase))

    def _metrics_path(self, phase):
        return self.path / f"metrics_{phase}.csv"

    def save_model(self, model: Any) -> None:
        """Writes model.npz."""
        model_file.save(self.path / "model.npz", model)

    def save_figures(self, pictures: Mapping[str, Any]) -> None:
        """Writes each picture to figures/<name>.png."""
        for name, picture in pictures.items():
            figures.save(picture, self.figures / f"{name}.png")

    def finish(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Prints the results, and writes the summary, which marks the run as finished."""
        summary = self.folder.write_summary(results, seed=getattr(self.settings, "seed", 0))
        _print(summary["results"])
        print(f"done in {summary['wall_seconds']:.0f} s: see {self.path}")
        return summary


def open(settings: Declared, workdir: str) -> Run:
    """Opens the workdir of a run, which is new, to be resumed, or finished.

    Raises:
      OSError, ValueError: as `training.open_workdir`.
    """
    module = type(settings).__module__
    if module == "__main__":
        module = sys.modules["__main__"].__spec__.name
    folder = training.open_workdir(
        workdir,
        declarations.as_flags(settings),
        program=module,
        settings=declarations.as_json(settings),
        may_change=declarations.undecisive(type(settings)),
    )
    return Run(settings, folder)


def main(run: Callable[[Any, str], Any], cls: type) -> None:
    """Runs a command: reads its settings from the flags, and reports failures in one sentence."""
    flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
    declarations.define_flags(cls)

    def start(argv):
        stopped = "stopped by Ctrl-C; the same command resumes from what is saved"
        with exits.sentences(argv, stopped=stopped):
            run(declarations.from_flags(cls), flags.FLAGS.workdir)

    app.run(start)


def _print(results: Mapping[str, Any]) -> None:
    """Prints the results that are numbers or text; tables and lists are for summary.json."""
    for name, value in results.items():
        if isinstance(value, float):
            value = f"{value:.2%}" if name.startswith("error_rate") else f"{value:.6g}"
        if isinstance(value, (int, str)):
            print(f"{name}: {value}", flush=True)
