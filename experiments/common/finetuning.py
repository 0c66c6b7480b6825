"""Fine-tuning of a whole net, in a workdir: what `finetune_updown` and `finetune_bound` share."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dbn_jax import data, dbn, figures, model_file, rbm, training
from dbn_jax.training import checkpoints, workdir
from experiments.common import models, pretraining, recognition, shared

_NUM_FIRST = 1000


@dataclasses.dataclass(frozen=True)
class Examples:
    """Makes pixels and one-hot labels of the data set's rows.

    Attributes:
      transform: makes pixels.
      num_labels: L; 0 for a net without label units.
    """

    transform: data.Transform
    num_labels: int

    def __call__(self, key, rows):
        """(key, {"images", "labels"}) -> (v (..., V), labels (..., L) or None)."""
        v = self.transform(key, rows["images"])
        if not self.num_labels:
            return v, None
        return v, jax.nn.one_hot(rows["labels"], self.num_labels, dtype=v.dtype)


# (key, net, number of updates, the first examples) -> a step for `training.train`, and its first
# state, whose `params` are the untied net. The key is consumed.
Start = Callable[[jax.Array, dbn.Net, int, Any], tuple[Callable[..., Any], rbm.State]]


def learn(
    settings: Any,
    path: str,
    *,
    phase: str,
    check: Callable[[dbn.Net], None] = lambda net: None,
    start: Start,
    curves: dict[str, dict[str, str]],
    title: str,
    checkpoint_seconds: float,
) -> dict:
    """Fine-tunes the net of `settings.pretrained`, or goes on where an earlier run stopped.

    Args:
      settings: those of the binary, with `pretrained`, `data_dir`, `batch_size`, `epochs`, `seed`.
      path: the workdir.
      phase: name of what is done; the binary's is finetune_<phase>.
      check: raises if the net cannot be learnt so, before the workdir is opened.
      start: how to learn.
      curves: of each panel of the learning curves: the lines' names, and their column of metrics.
      title: of the curves.
      checkpoint_seconds: time between checkpoints.

    Returns:
      The summary, as `workdir.Workdir.write_summary` returns it.
    """
    net, data_settings = models.load(settings.pretrained, models.NETS, settings.data_dir)
    dataset, transform = data_settings.load()
    check(net)
    models.check_data(dataset, dbn.num_pixels(net), dbn.num_labels(net))
    held_out = dataset.validation or dataset.test
    num_images, num_pixels = dataset.train.images.shape
    shared.check_batch_size("batch_size", settings.batch_size, num_images)
    sizes = (num_pixels, *(part.hidden.num_units for part in net.recognition))
    run_dir = workdir.open_workdir(
        path,
        shared.flag_values(settings),
        program=f"experiments.finetune_{phase}",
        needed_bytes=2 * pretraining.needed_bytes((*sizes, net.top.hidden.num_units)),
    )
    if run_dir.is_done:
        print(f"done already: see {run_dir.path}")
        return run_dir.summary()
    labelled = dbn.num_labels(net) > 0
    rows = {"images": dataset.train.images, "labels": dataset.train.labels}
    examples = Examples(transform, dbn.num_labels(net))
    first = {name: jnp.asarray(values[:_NUM_FIRST]) for name, values in rows.items()}
    start_key, view_key, answer_key = jax.random.split(shared.init_key(settings.seed), 3)
    step, state = start(
        start_key,
        net,
        settings.epochs * (num_images // settings.batch_size),
        shared.transformed(examples, view_key, first),
    )
    errors = recognition.watch_errors(dataset, transform, settings.seed)

    def watch(epoch, step, state):
        del epoch, step, state
        run_dir.note_time()

    with checkpoints.Checkpoints(run_dir.checkpoints(phase)) as saved:
        state = training.train(
            step,
            state,
            rows,
            settings=training.Settings(
                seed=settings.seed,
                batch_size=settings.batch_size,
                num_epochs=settings.epochs,
                phase=phase,
                checkpoint_seconds=checkpoint_seconds,
            ),
            transform=examples,
            evaluate=(lambda state: errors(state.params)) if labelled else None,
            callback=watch,
            checkpoints=saved,
            metrics_path=run_dir.metrics,
        )
    net = state.params
    model_file.save(run_dir.path / "model.npz", net)
    table = figures.read_metrics(run_dir.metrics)
    panels = {
        name: {line: (table["epoch"], table[column]) for line, column in lines.items()}
        for name, lines in curves.items()
    }
    results = {}
    if labelled:
        panels["error rate"] = recognition.error_curves(table)
        results = recognition.error_rates(answer_key, net, held_out, transform)
    picture = figures.learning_curves(panels, title=title, x_label="epoch")
    figures.save(picture, run_dir.figures / "curves.png")
    summary = run_dir.write_summary(results, seed=settings.seed)
    print(f"done in {summary['wall_seconds']:.0f} s: see {run_dir.path}")
    return summary
