"""Fine-tuning of a pretrained net: its data, the run, error rates while training, curves."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from dbn_jax import data, dbn, figures, numerics, recognition
from experiments.common import data_settings, early_stopping, pretrained, runs, yardsticks

# Examples of each split that are watched after every epoch.
_NUM_WATCHED = 2000
_NUM_FIRST = 1000


class FinetuningSettings(runs.TrainingSettings, pretrained.Pretrained):
    """Settings of every fine-tuning of a whole net."""

    takes_own_models = True
    patience: int | None = early_stopping.patience("the error rate")


@dataclasses.dataclass(frozen=True)
class PixelsAndLabels:
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
    settings: FinetuningSettings, learning: Any = None
) -> tuple[dbn.Net, data.Dataset, data.Transform]:
    """Loads a pretrained net and its data, and checks that they fit each other.

    `learning` has the size of the batches and the number of epochs.
    """
    net, source = settings.load(pretrained.NETS)
    dataset, transform = source.load()
    pretrained.check_data(dataset, dbn.num_pixels(net), dbn.num_labels(net))
    if learning is not None:
        data_settings.check_updates(learning, len(dataset.train.images))
        check_patience(settings.patience, dataset)
        if settings.patience is not None and not dbn.num_labels(net):
            settings.refuse(("patience",), "with a net without label units, which makes no errors")
    return net, dataset, transform


def check_patience(patience: int | None, dataset: data.Dataset) -> None:
    """Raises a ValueError if the test set would decide when fine-tuning ends."""
    part, _ = dataset.held_out
    early_stopping.check(patience, part, when=", of a pretrained net when it is trained")


def finetune_net(
    settings: FinetuningSettings,
    workdir: str,
    phase: str,
    start: Start,
    *,
    learning: Any,
    curves: dict[str, dict[str, str]],
    title: str,
    check: Callable[[dbn.Net], None] = lambda net: None,
) -> dict:
    """Fine-tunes the weights of a whole net in a workdir, or resumes there; returns the summary.

    Args:
      phase: name of the metrics and checkpoints.
      start: makes the update and the first state.
      learning: has the size of the batches and the number of epochs.
      curves: for each panel of the learning curves, the lines' names and their columns of metrics.
      title: of the curves.
      check: raises if the net cannot be trained like this; called before the workdir is opened.
    """
    net, dataset, transform = load_net(settings, learning)
    check(net)
    run = runs.open(settings, workdir)
    if run.is_done:
        return run.report()
    num_labels = dbn.num_labels(net)
    rows = dataset.train.arrays()
    examples = PixelsAndLabels(transform, num_labels)
    start_key, view_key, answer_key = jax.random.split(run.key, 3)
    some = data.apply(examples, view_key, data.spread(rows, _NUM_FIRST))
    num_updates = learning.epochs * (len(rows["labels"]) // learning.batch_size)
    step, state = start(start_key, net, num_updates, some)
    errors = watch_errors(dataset, transform)
    state = run.train(
        phase,
        step,
        state,
        rows,
        transform=examples,
        batch_size=learning.batch_size,
        epochs=learning.epochs,
        evaluate=(lambda state: errors(state.params)) if num_labels else None,
        held_out=dataset.held_out[1].arrays(),
        early_stopping=early_stopping.rule(settings.patience, "error_rate"),
    )
    run.save_model(state.params)
    kept = run.kept(phase)
    columns = [column for lines in curves.values() for column in lines.values()]
    results = {column: kept[column] for column in columns if column in kept}
    rates, change = error_rates(answer_key, net, state.params, dataset, transform)
    run.save_figures({"curves": learning_curves(run.metrics(phase), curves, title, change)})
    return run.finish(results | rates)


def error_rates(
    key: jax.Array,
    before: dbn.Net,
    after: dbn.Net,
    dataset: data.Dataset,
    transform: data.Transform,
) -> tuple[dict[str, float], str | None]:
    """The error rates on held-out images after fine-tuning and before it, and both in words.

    Without label units there are none. Fine-tuning as a whole can recognise better while every
    quantity that it follows from update to update rises, so that the curves do not show it.
    """
    if not dbn.num_labels(after):
        return {}, None
    part, held_out = dataset.held_out
    after, before = (recognition.error_rates(key, x, held_out, transform) for x in (after, before))
    yardsticks.warn(after, dataset, held_out)
    words = ", ".join(
        f"{name.removeprefix('error_rate_').replace('_', ' ')} {before[name]:.2%} → {rate:.2%}"
        for name, rate in after.items()
    )
    return (
        after | {f"{rate}_before": value for rate, value in before.items()},
        f"wrong of {len(held_out.labels):,} {part} images, before → after: {words}",
    )


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
    table: dict[str, np.ndarray],
    curves: dict[str, dict[str, str]],
    title: str,
    subtitle: str | None = None,
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
    return figures.learning_curves(
        panels, title=title, subtitle=subtitle, x_label="epoch", shares=shares
    )
