"""Up-down fine-tuning, contrastive wake-sleep, of a net that `train_dbn` learnt.

    python -m experiments.train_dbn --workdir=runs/digits
    python -m experiments.finetune_updown --workdir=runs/updown --pretrained=runs/digits

The data are those of the pretrained net. The top RBM makes 3 Gibbs iterations in each update of the
first third of the epochs, 6 in the second, 10 in the last, as published. A net with label units
recognises training images after every epoch, and validation images if there are any; the test set
is looked at once, at the end. The updates of an epoch of full MNIST take 10, 14 and 20 s on
2 cores. --label_cost makes it a hybrid of generative and discriminative learning, which is not in
the publication.

References: Hinton, Osindero, Teh, "A fast learning algorithm for deep belief nets" (2006), section
5 and appendix B; Larochelle and Bengio, "Classification using discriminative restricted Boltzmann
machines" (2008), section 5.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax
from absl import app, flags

from dbn_jax import (
    checkpoints,
    data,
    dbn,
    figures,
    training,
    updown,
    weights,
    workdir,
)
from experiments import layer, models, recognition, shared


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides the result.

    Attributes:
      pretrained: workdir of the net to start from.
      gibbs_steps: of the top RBM, in equal shares of the epochs.
      learning_rate: of all weights and biases; linear to a hundredth over the second half.
      momentum: of gradient descent.
      weight_decay: cost of squared weights.
      label_cost: see `updown.gradient`.
      batch_size: examples per update.
      epochs: passes through the data.
      seed: of everything random.
    """

    pretrained: str
    gibbs_steps: tuple[int, ...] = (3, 6, 10)
    learning_rate: float = 0.1
    momentum: float = 0.5
    weight_decay: float = 0.0
    label_cost: float = 0.0
    batch_size: int = 100
    epochs: int = 60
    seed: int = 0

    def __post_init__(self):
        if min(self.gibbs_steps) < 1:
            raise ValueError(f"gibbs_steps is {self.gibbs_steps}; each must be at least 1")


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


def run(settings: Settings, path: str, *, checkpoint_seconds: float = 30.0) -> dict:
    """Fine-tunes the net in a workdir, or goes on there.

    Returns:
      The summary, as `workdir.Workdir.write_summary` returns it.
    """
    net, data_settings = models.load(settings.pretrained, models.NETS)
    dataset, transform = data_settings.load()
    held_out = dataset.validation or dataset.test
    sizes = (dataset.train.images.shape[1], *(part.hidden.num_units for part in net.recognition))
    run_dir = workdir.open_workdir(
        path,
        shared.flag_values(settings),
        program="experiments.finetune_updown",
        needed_bytes=2 * layer.needed_bytes((*sizes, net.top.hidden.num_units)),
    )
    if run_dir.is_done:
        print(f"done already: see {run_dir.path}")
        return run_dir.summary()
    updates_per_epoch = len(dataset.train) // settings.batch_size
    total = settings.epochs * updates_per_epoch
    optimizer = _optimizer(settings.learning_rate, settings.momentum, settings.weight_decay, total)
    labelled = dbn.num_labels(net) > 0
    errors = recognition.watch_errors(dataset, transform, settings.seed)

    def watch(epoch, step, state):
        del epoch, step, state
        run_dir.note_time()

    with checkpoints.Checkpoints(run_dir.checkpoints("updown")) as saved:
        state = training.train(
            functools.partial(
                _step,
                optimizer=optimizer,
                gibbs_steps=settings.gibbs_steps,
                total=total,
                label_cost=settings.label_cost,
            ),
            updown.init_state(net, optimizer),
            {"images": dataset.train.images, "labels": dataset.train.labels},
            settings=training.Settings(
                seed=settings.seed,
                batch_size=settings.batch_size,
                num_epochs=settings.epochs,
                phase="updown",
                checkpoint_seconds=checkpoint_seconds,
            ),
            transform=Examples(transform, dbn.num_labels(net)),
            evaluate=(lambda state: errors(state.params)) if labelled else None,
            callback=watch,
            checkpoints=saved,
            metrics_path=run_dir.metrics,
        )
    net = state.params
    weights.save(run_dir.path / "model.npz", net)
    table = figures.read_metrics(run_dir.metrics)
    results = {}
    curves = {
        "wake loss (nats)": {"training": (table["epoch"], table["wake_loss"])},
        "sleep loss (nats)": {"dreams": (table["epoch"], table["sleep_loss"])},
    }
    if labelled:
        curves["error rate"] = recognition.error_curves(table)
        key = jax.random.key(settings.seed)
        results = recognition.error_rates(key, net, held_out, transform)
    picture = figures.learning_curves(curves, title="Up-down fine-tuning", x_label="epoch")
    figures.save(picture, run_dir.figures / "curves.png")
    summary = run_dir.write_summary(results, seed=settings.seed)
    print(f"done in {summary['wall_seconds']:.0f} s: see {run_dir.path}")
    return summary


def _step(key, state, batch, *, optimizer, gibbs_steps, total, label_cost):
    v, labels = batch
    # The stage is a function of the update alone, so that a resumed run is in the right one.
    stage = jnp.minimum(state.step * len(gibbs_steps) // total, len(gibbs_steps) - 1)
    state, metrics = updown.step(
        key,
        state,
        v,
        labels,
        optimizer=optimizer,
        num_gibbs_steps=jnp.asarray(gibbs_steps, jnp.int32)[stage],
        label_cost=label_cost,
    )
    kept = ("reconstruction_error", "wake_loss", "sleep_loss", "hidden_activity", "label_loss")
    return state, {name: metrics[name] for name in kept if name in metrics}


@functools.cache  # equal settings give the same object, and compile once
def _optimizer(learning_rate, momentum, weight_decay, num_updates):
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=updown.weight_mask),
        optax.sgd(shared.decaying(learning_rate, num_updates), momentum=momentum),
    )


def define_flags() -> None:
    """Defines the flags of this binary; only the binary itself does, not who imports it."""
    default = Settings(pretrained="")
    shared.define_run_flags()
    flags.DEFINE_string("pretrained", None, "Workdir of the net to start from.", required=True)
    flags.DEFINE_list(
        "gibbs_steps", ["3", "6", "10"], "Iterations of the top RBM, in equal shares of the epochs."
    )
    flags.DEFINE_float(
        "learning_rate", default.learning_rate, "Of weights and biases.", lower_bound=0
    )
    flags.DEFINE_float("momentum", default.momentum, "Of gradient descent.", lower_bound=0)
    flags.DEFINE_float("weight_decay", default.weight_decay, "Cost of squared weights.")
    flags.DEFINE_float(
        "label_cost",
        default.label_cost,
        "Weight of the top RBM's discriminative learning of labels; 0 is the published algorithm.",
        lower_bound=0,
    )
    flags.DEFINE_integer("batch_size", default.batch_size, "Examples per update.", lower_bound=1)
    flags.DEFINE_integer("epochs", default.epochs, "Passes through the data.", lower_bound=1)


def main(argv: list[str]) -> None:
    """Makes settings of the flags, and runs."""

    def settings():
        gibbs_steps = shared.whole_numbers("gibbs_steps", flags.FLAGS.gibbs_steps)
        return shared.from_flags(Settings, gibbs_steps=gibbs_steps)

    shared.call(argv, run, settings)


if __name__ == "__main__":
    define_flags()
    app.run(main)
