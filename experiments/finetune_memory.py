"""The associative memory of a finished net learns on, alone, so that it can dream of every class.

    python -m experiments.finetune_memory --workdir=runs/memory --pretrained=runs/updown

takes a net with label units, from `train_dbn` or `finetune_updown`, and leaves all below its top
RBM as it is. Contrastive divergence has only seen what a few Gibbs steps from the data lead to:
chains that go on for a thousand leave the digits. Here the top RBM learns from recognised images by
persistent chains that keep their labels (`dbn_jax.learning.labelled_pcd`), which go wherever the
model's long chains go, and unlearn it. For the digit model on full MNIST that takes 150 s on one
core; the share of samples that `generate`'s judge takes for their class should rise to about 98 %,
and the error change by less than 0.1 %. The test set is looked at once, at the end.

Reference: Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood
gradient" (2008); what differs from it is said in `dbn_jax.learning.labelled_pcd`.
"""

import dataclasses
import functools

import jax
import numpy as np
from absl import app, flags

from dbn_jax import data, dbn, figures, label_units, learning, model_file, rbm, training
from dbn_jax.learning import labelled_pcd
from dbn_jax.training import checkpoints, workdir
from experiments.common import models, pretraining, recognition, shared

_BLOCK = 1000


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides the result.

    Attributes:
      pretrained: workdir of the net to start from.
      data_dir: where its data are; None: where they were when it learnt.
      label_cost: see `labelled_pcd.LabelledPCD`.
      num_chains: likewise.
      gibbs_steps: likewise, in each update.
      learning_rate: of weights and biases; linear to a hundredth over the second half.
      weight_decay: cost of squared weights.
      batch_size: examples per update.
      epochs: passes through the data.
      seed: of everything random.
    """

    pretrained: str
    data_dir: str | None = None
    label_cost: float = 5.0
    num_chains: int = 100
    gibbs_steps: int = 1
    learning_rate: float = 0.1
    weight_decay: float = 1e-4
    batch_size: int = 100
    epochs: int = 10
    seed: int = 0


def run(settings: Settings, path: str, *, checkpoint_seconds: float = 30.0) -> dict:
    """Goes on learning the memory of a net in a workdir, or goes on there.

    Returns:
      The summary, as `workdir.Workdir.write_summary` returns it.

    Raises:
      ValueError: the net has no label units, or more of them than there are chains.
    """
    net, data_settings = models.load(settings.pretrained, models.NETS, settings.data_dir)
    num_labels = label_units.require(net.top)
    learner = labelled_pcd.LabelledPCD(
        settings.num_chains, settings.gibbs_steps, settings.label_cost
    )
    jax.eval_shape(lambda: learner.init(jax.random.key(0), net.top))  # refuses what does not fit
    dataset, transform = data_settings.load()
    models.check_data(dataset, dbn.num_pixels(net), dbn.num_labels(net))
    shared.check_batch_size("batch_size", settings.batch_size, len(dataset.train))
    held_out = dataset.validation or dataset.test
    run_dir = workdir.open_workdir(
        path,
        shared.flag_values(settings),
        program="experiments.finetune_memory",
        needed_bytes=pretraining.needed_bytes(net.top.weights.shape),
    )
    if run_dir.is_done:
        print(f"done already: see {run_dir.path}")
        return run_dir.summary()
    feature_key, start_key, answer_key = jax.random.split(shared.init_key(settings.seed), 3)
    rows = {
        "features": recognised_features(feature_key, net, dataset.train, transform),
        "labels": dataset.train.labels,
    }
    optimizer = shared.LearningSettings(
        learning_rate=settings.learning_rate,
        learning_rate_decay="linear",
        initial_momentum=0.0,
        final_momentum=0.0,
        weight_decay=settings.weight_decay,
        epochs=settings.epochs,
    ).make_optimizer(len(dataset.train) // settings.batch_size)
    chains = start_chains(start_key, net.top, learner, rows)
    errors = recognition.watch_errors(dataset, transform, settings.seed)

    def watch(epoch, step, state):
        del epoch, step, state
        run_dir.note_time()

    with checkpoints.Checkpoints(run_dir.checkpoints("memory")) as saved:
        state = training.train(
            functools.partial(_step, learner=learner, optimizer=optimizer),
            rbm.init_state(net.top, optimizer, chains=chains),
            rows,
            settings=training.Settings(
                seed=settings.seed,
                batch_size=settings.batch_size,
                num_epochs=settings.epochs,
                phase="memory",
                checkpoint_seconds=checkpoint_seconds,
            ),
            transform=_view(num_labels),
            evaluate=lambda state: errors(dataclasses.replace(dbn.untie(net), top=state.params)),
            callback=watch,
            checkpoints=saved,
            metrics_path=run_dir.metrics,
        )
    net = dataclasses.replace(dbn.untie(net), top=state.params)
    model_file.save(run_dir.path / "model.npz", net)
    results = recognition.error_rates(answer_key, net, held_out, transform)
    _draw_curves(run_dir)
    summary = run_dir.write_summary(results, seed=settings.seed)
    print(f"done in {summary['wall_seconds']:.0f} s: see {run_dir.path}")
    return summary


def recognised_features(
    key: jax.Array, net: dbn.Net, split: data.Split, transform: data.Transform
) -> np.ndarray:
    """The features' means given one drawing of each layer below them, in blocks.

    Args:
      key: consumed.
      net: the net.
      split: images, N of them.
      transform: makes pixels of the split's rows.

    Returns:
      (N, F); of a net of one layer, the pixels.
    """
    blocks = []
    for start in range(0, len(split), _BLOCK):
        view_key, draw_key = jax.random.split(jax.random.fold_in(key, start))
        rows = split.images[start : start + _BLOCK]
        v = shared.transformed(transform, view_key, rows)
        blocks.append(np.asarray(_feature_means(draw_key, net, v)))
    return np.concatenate(blocks)


@jax.jit
def _feature_means(key, net, v):
    if not net.recognition:
        return v
    below = dbn.sample_recognition(key, net, v)[-2]
    return rbm.hidden_mean(net.recognition[-1], below)


def start_chains(
    key: jax.Array, top: rbm.RBM, learner: labelled_pcd.LabelledPCD, rows: dict[str, np.ndarray]
) -> labelled_pcd.LabelledChains:
    """Chains that start from examples of their labels; the key is consumed."""
    init_key, draw_key, up_key = jax.random.split(key, 3)
    chains = learner.init(init_key, top)
    taken = recognition.rows_with_labels(rows["labels"], np.asarray(chains.labels).argmax(axis=-1))
    chosen = {name: values[taken] for name, values in rows.items()}
    x = _view(chains.labels.shape[-1])(draw_key, chosen)
    return chains._replace(hidden=rbm.sample_hidden(up_key, top, x))


def _view(num_labels):
    """What the memory sees: features drawn anew at each presentation, beside the label."""
    return pretraining.Joined(pretraining.Activities(samples=True), num_labels)


def _step(key, state, batch, *, learner, optimizer):
    state, metrics = learning.step(key, state, batch, learner=learner, optimizer=optimizer)
    return state, {"label_loss": metrics["label_loss"]}


def _draw_curves(run_dir):
    table = figures.read_metrics(run_dir.metrics)
    curves = {
        "label loss (nats)": {"training": (table["epoch"], table["label_loss"])},
        "error rate": recognition.error_curves(table),
    }
    picture = figures.learning_curves(curves, title="The memory learns on", x_label="epoch")
    figures.save(picture, run_dir.figures / "curves.png")


def define_flags() -> None:
    """Defines the flags of this binary; only the binary itself does, not who imports it."""
    default = Settings(pretrained="")
    shared.define_run_flags()
    models.define_pretrained_flags("the net")
    flags.DEFINE_float(
        "label_cost", default.label_cost, "Weight of telling labels apart.", lower_bound=0
    )
    flags.DEFINE_integer(
        "num_chains", default.num_chains, "Persistent chains, shared by the labels.", lower_bound=1
    )
    flags.DEFINE_integer(
        "gibbs_steps", default.gibbs_steps, "Of the chains, in each update.", lower_bound=1
    )
    flags.DEFINE_float(
        "learning_rate", default.learning_rate, "Of weights and biases.", lower_bound=0
    )
    flags.DEFINE_float(
        "weight_decay", default.weight_decay, "Cost of squared weights.", lower_bound=0
    )
    flags.DEFINE_integer("batch_size", default.batch_size, "Examples per update.", lower_bound=1)
    flags.DEFINE_integer("epochs", default.epochs, "Passes through the data.", lower_bound=1)


def main(argv: list[str]) -> None:
    """Makes settings of the flags, and runs."""
    shared.call(argv, run, lambda: shared.from_flags(Settings))


if __name__ == "__main__":
    define_flags()
    app.run(main)
