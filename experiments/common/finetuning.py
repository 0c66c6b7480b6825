"""Fine-tuning of a pretrained net: its data, the run, error rates while training, curves."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from dbn_jax import data, dbn, figures, numerics, recognition
from experiments.common import data_settings, pretrained, runs

# Examples of each split that are watched after every epoch.
_NUM_WATCHED = 2000
_NUM_FIRST = 1000


class FinetuningSettings(runs.TrainingSettings, pretrained.Pretrained):
    """Settings of every fine-tuning of a whole net."""


@dataclasses.dataclass(frozen=True)
class Examples:
    """Turns rows of the data set into pixels and, of a net with label units, one-hot labels."""

    transform: data.Transform
    num_labels: int

    def __call__(self, key, rows):
        """(key, {"images", "labels"}) -> (v (..., V), labels (..., L) or None)."""
        v = self.transform(key, rows["images"])
        if not self.num_labels:
            return v, None
        return v, numerics.one_hot(rows["labels"], self.num_labels, v.dtype)


# (key, net, number of updates, some examples) -> a step for `training.train`, and its first state,
# whose `params` are the untied net.
Start = Callable[[jax.Array, dbn.Net, int, Any], tuple[Callable[..., Any], Any]]


def load_net(
    settings: FinetuningSettings, batch_size: int | None = None
) -> tuple[dbn.Net, data.Dataset, data.Transform]:
    """Loads a pretrained net and its data, and checks that they fit each other."""
    net, source = settings.load(pretrained.NETS)
    dataset, transform = source.load()
    pretrained.check_data(dataset, dbn.num_pixels(net), dbn.num_labels(net))
    if batch_size is not None:
        data_settings.check_batch_size("batch_size", batch_size, len(dataset.train.images))
    return net, dataset, transform


def finetune_net(
    settings: FinetuningSettings,
    workdir: str,
    phase: str,
    start: Start,
    *,
    batch_size: int,
    epochs: int,
    curves: dict[str, dict[str, str]],
    title: str,
    check: Callable[[dbn.Net], None] = lambda net: None,
) -> dict:
    """Fine-tunes the weights of a whole net in a workdir, or resumes there; returns the summary.

    Args:
      phase: name of the metrics and checkpoints.
      start: makes the update and the first state.
      curves: for each panel of the learning curves, the lines' names and their columns of metrics.
      title: of the curves.
      check: raises if the net cannot be trained like this; called before the workdir is opened.
    """
    net, dataset, transform = load_net(settings, batch_size)
    check(net)
    run = runs.open(settings, workdir)
    if run.is_done:
        return run.report()
    num_labels = dbn.num_labels(net)
    rows = dataset.train.arrays()
    examples = Examples(transform, num_labels)
    start_key, view_key, answer_key = jax.random.split(run.key, 3)
    some = data.apply(examples, view_key, data.spread(rows, _NUM_FIRST))
    step, state = start(start_key, net, epochs * (len(rows["labels"]) // batch_size), some)
    errors = watch_errors(dataset, transform)
    state = run.train(
        phase,
        step,
        state,
        rows,
        transform=examples,
        batch_size=batch_size,
        epochs=epochs,
        evaluate=(lambda state: errors(state.params)) if num_labels else None,
        held_out=dataset.held_out[1].arrays(),
    )
    net = state.params
    run.save_model(net)
    run.save_figures({"curves": learning_curves(run.metrics(phase), curves, title)})
    _, held_out = dataset.held_out
    results = {}
    if num_labels:
        results = recognition.error_rates(answer_key, net, held_out, transform)
    return run.finish(results)


def watch_errors(
    dataset: data.Dataset,
    transform: data.Transform,
    *,
    way: recognition.Way = recognition.WAYS["mean_field"],
    num_validation: int | None = _NUM_WATCHED,
) -> Callable[[object], dict[str, float]]:
    """Makes the function of a model that measures its error rates after every epoch.

    It returns `error_rate_train`, on some training images, and `error_rate` if there are validation
    images (some, or all if `num_validation` is None). It never looks at test images, and is
    deterministic.
    """
    watched = {"error_rate_train": dataset.train.spread(_NUM_WATCHED)}
    if dataset.validation is not None:
        count = len(dataset.validation.labels) if num_validation is None else num_validation
        watched["error_rate"] = dataset.validation.spread(count)

    def evaluate(model):
        key = jax.random.key(0)
        return {
            name: recognition.error_rate(
                recognition.log_posteriors(key, model, split.images, transform, way), split.labels
            )
            for name, split in watched.items()
        }

    return evaluate


def learning_curves(
    table: dict[str, np.ndarray], curves: dict[str, dict[str, str]], title: str
) -> Figure:
    """Draws columns of metrics (panel to line to column), and the error rates; those there are."""
    rates = {"training": "eval_error_rate_train", "held out": "eval_error_rate"}
    panels = {
        panel: {
            line: (table["epoch"], table[column])
            for line, column in lines.items()
            if column in table
        }
        for panel, lines in {**curves, "error rate": rates}.items()
    }
    panels = {panel: lines for panel, lines in panels.items() if lines}
    shares = [panel for panel in panels if panel == "error rate"]
    return figures.learning_curves(panels, title=title, x_label="epoch", shares=shares)
