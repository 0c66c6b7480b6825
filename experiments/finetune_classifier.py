"""Discriminative fine-tuning: a net's recognition weights and a softmax layer learn by backprop.

    python -m experiments.train_dbn --workdir=runs/digits
    python -m experiments.finetune_classifier --workdir=runs/classifier --pretrained=runs/digits

The net may have label units or none, and the data are its own. --pretrained=none starts from random
weights instead, with --hidden_sizes and the data flags: the comparison that motivates pretraining.
Learning looks at training images after every epoch, and at validation images if there are any; the
test set is looked at once, at the end. --early_stopping takes the state that got the fewest
validation images wrong, and then the error on these is too good by that choice.

Then figures/ holds the errors, the curves, and the features before and after. summary.json says
how much fine-tuning changed each layer: its weights, relative to what they were, and the
correlation of each unit's activity before and after. The tutorial's claim is that it modifies them
only slightly.

Unless told otherwise it learns by virtual adversarial training
(`dbn_jax.learning.virtual_adversarial`). On full MNIST, `flagfiles/classifier.flags` from a net of
`flagfiles/digit_model_greedy.flags` has 0.90 % of the test images wrong after twenty minutes, and
1.07 % by dropout instead, in half the time. The tutorial's figure for gentle backprop after
unsupervised learning is 1.15 %. `flagfiles/classifier_2006.flags` is the published protocol; it has
not been run.

References: Hinton, "To recognize shapes, first learn to generate images" (2007); Hinton and
Salakhutdinov, "Reducing the dimensionality of data with neural networks" (2006); Miyato et al.,
"Distributional smoothing with virtual adversarial training" (2016); Srivastava et al., "Dropout: a
simple way to prevent neural networks from overfitting" (2014).
"""

import dataclasses
import functools

import numpy as np
import optax
from absl import app, flags

from dbn_jax import data, figures, model_file, networks, rbm, training
from dbn_jax.learning import backprop
from dbn_jax.training import checkpoints, workdir
from experiments.common import models, pretraining, recognition, shared
from experiments.pictures import classifier as classifier_pictures

_HIDDEN_SIZES = (500, 500, 2000)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides the result.

    Attributes:
      pretrained: workdir of the net to start from; "none" starts from random weights.
      data_dir: where the net's data are; None: where they were when it learnt.
      data: what is learnt from, for "none" alone: a net has its own.
      hidden_sizes: units of each hidden layer; None takes those of the net, which they must equal.
      optimizer: one of `OPTIMIZERS`.
      learning_rate: of all weights and biases; linear to a hundredth over the second half.
      momentum: of gradient descent; of Adam, the decay of the gradient's mean.
      weight_decay: cost of squared weights; Adam decays weights apart from the gradient (AdamW).
      input_dropout: share of pixels that drop out.
      hidden_dropout: share of hidden units that drop out.
      label_smoothing: share of each target that all classes divide among them.
      adversarial_radius: how far an image is moved, the worst way, over which its answer shall stay
        the same (virtual adversarial training); 0: not at all. It makes an update take 2.5 times as
        long.
      top_only_epochs: in the first so many epochs only the softmax layer changes.
      batch_size: examples per update.
      epochs: passes through the data.
      early_stopping: whether the result is the state of the best epoch on the validation images.
      seed: of everything random.
    """

    pretrained: str
    data_dir: str | None = None
    data: shared.DataSettings | None = None
    hidden_sizes: tuple[int, ...] | None = None
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    input_dropout: float = 0.0
    hidden_dropout: float = 0.0
    label_smoothing: float = 0.0
    adversarial_radius: float = 2.0
    top_only_epochs: int = 0
    batch_size: int = 100
    epochs: int = 60
    early_stopping: bool = False
    seed: int = 0

    def __post_init__(self):
        if (self.pretrained == models.NONE) != (self.data is not None):
            raise ValueError(
                f"--pretrained={self.pretrained}: a start from random weights needs data settings, "
                "and a net brings its own"
            )
        for name in ("input_dropout", "hidden_dropout", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"--{name}={getattr(self, name)}: it must be in [0, 1)")
        if self.top_only_epochs > self.epochs:
            raise ValueError(
                f"--top_only_epochs={self.top_only_epochs} is more than --epochs={self.epochs}"
            )


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Makes pixels of the data set's rows, and keeps their labels."""

    transform: data.Transform

    def __call__(self, key, rows):
        """(key, {"images", "labels"}) -> (v (..., V), labels (...)); the key is consumed."""
        return self.transform(key, rows["images"]), rows["labels"]


def run(settings: Settings, path: str, *, checkpoint_seconds: float = 30.0) -> dict:
    """Fine-tunes a classifier in a workdir, or goes on there.

    Returns:
      The summary, as `workdir.Workdir.write_summary` returns it.

    Raises:
      FileNotFoundError: there is no finished run.
      ValueError: net, data and settings do not fit each other.
    """
    start, dataset, transform = _start(settings)
    if settings.early_stopping and dataset.validation is None:
        raise ValueError(
            "--early_stopping needs validation images, and there are none: hold some out with "
            + ("--num_validation" if settings.data else "--num_validation when the net learns")
        )
    shared.check_batch_size("batch_size", settings.batch_size, len(dataset.train))
    graphdef, params = backprop.split(start)
    run_dir = workdir.open_workdir(
        path,
        shared.flag_values(settings),
        program="experiments.finetune_classifier",
        needed_bytes=2 * pretraining.needed_bytes(_sizes(start)),
    )
    if run_dir.is_done:
        print(f"done already: see {run_dir.path}")
        return run_dir.summary()
    updates_per_epoch = len(dataset.train) // settings.batch_size
    optimizer = _optimizer(
        settings.optimizer,
        settings.learning_rate,
        settings.momentum,
        settings.weight_decay,
        settings.epochs * updates_per_epoch,
        settings.top_only_epochs * updates_per_epoch,
    )
    errors = recognition.watch_errors(
        dataset,
        transform,
        settings.seed,
        classify=classifier_pictures.classify,
        num_validation=None,
    )

    def watch(epoch, step, state):
        del step
        if settings.early_stopping and _best_epoch(run_dir) == epoch:
            model_file.save(_best(run_dir), backprop.merge(graphdef, state.params))
        run_dir.note_time()

    with checkpoints.Checkpoints(run_dir.checkpoints("classifier")) as saved:
        state = training.train(
            functools.partial(
                backprop.step,
                graphdef=graphdef,
                loss=functools.partial(
                    backprop.classification_loss,
                    input_dropout=settings.input_dropout,
                    hidden_dropout=settings.hidden_dropout,
                    label_smoothing=settings.label_smoothing,
                    adversarial_radius=settings.adversarial_radius,
                ),
                optimizer=optimizer,
            ),
            rbm.init_state(params, optimizer),
            {"images": dataset.train.images, "labels": dataset.train.labels},
            settings=training.Settings(
                seed=settings.seed,
                batch_size=settings.batch_size,
                num_epochs=settings.epochs,
                phase="classifier",
                checkpoint_seconds=checkpoint_seconds,
            ),
            transform=Labelled(transform),
            evaluate=lambda state: errors(backprop.merge(graphdef, state.params)),
            callback=watch,
            checkpoints=saved,
            metrics_path=run_dir.metrics,
        )
    model, epoch = backprop.merge(graphdef, state.params), settings.epochs
    if settings.early_stopping:
        model = model_file.load(_best(run_dir))
        epoch = _best_epoch(run_dir)
    model_file.save(run_dir.path / "model.npz", model)
    results = {"epoch": epoch} | classifier_pictures.draw(
        run_dir, dataset, transform, start, model, seed=settings.seed
    )
    summary = run_dir.write_summary(results, seed=settings.seed)
    print(f"done in {summary['wall_seconds']:.0f} s: see {run_dir.path}")
    return summary


def _best(run_dir):
    return run_dir.path / "best.npz"


def _best_epoch(run_dir):
    table = figures.read_metrics(run_dir.metrics)
    return int(table["epoch"][np.argmin(table["eval_error_rate"])])


def _start(settings: Settings) -> tuple[networks.Classifier, data.Dataset, data.Transform]:
    """The classifier before its first update, and the data."""
    if settings.pretrained == models.NONE:
        dataset, transform = settings.data.load()
        hidden = settings.hidden_sizes or _HIDDEN_SIZES
        sizes = (dataset.train.images.shape[1], *hidden, dataset.num_classes)
        return networks.init_classifier(shared.init_key(settings.seed), sizes), dataset, transform
    net, data_settings = models.load(settings.pretrained, models.NETS, settings.data_dir)
    dataset, transform = data_settings.load()
    model = networks.classifier_of(net, dataset.num_classes)
    num_pixels, *hidden, _ = _sizes(model)
    models.check_data(dataset, num_pixels)
    if settings.hidden_sizes not in (None, tuple(hidden)):
        raise ValueError(
            f"--hidden_sizes={','.join(map(str, settings.hidden_sizes))}, but the net of "
            f"--pretrained={settings.pretrained} has layers of {', '.join(map(str, hidden))} "
            "units; leave the flag out, or learn another net"
        )
    return model, dataset, transform


def _sizes(model):
    shapes = [pretraining.kernel[...].shape for pretraining in model.layers()]
    return shapes[0][0], *(outputs for _, outputs in shapes)


OPTIMIZERS = ("sgd", "adam")


@functools.cache  # equal settings give the same object, and compile once
def _optimizer(name, learning_rate, momentum, weight_decay, num_updates, held):
    decay = optax.add_decayed_weights(weight_decay, mask=backprop.kernel_mask)
    rate = optax.scale_by_learning_rate(shared.decaying(learning_rate, num_updates))
    match name:
        case "sgd":
            parts = decay, optax.trace(momentum), rate
        case "adam":
            parts = optax.scale_by_adam(b1=momentum), decay, rate
        case _:
            raise ValueError(f"optimizer {name!r} is none of {', '.join(OPTIMIZERS)}")
    return optax.chain(*parts, backprop.top_first(held))


def define_flags() -> None:
    """Defines the flags of this binary; only the binary itself does, not who imports it."""
    default = Settings(pretrained="")
    shared.define_run_flags()
    flags.DEFINE_string(
        "pretrained", None, "Workdir of the net to start from; none: random weights.", required=True
    )
    shared.define_data_flags()
    flags.DEFINE_list(
        "hidden_sizes",
        None,
        "Units of each hidden layer; of the net unless given, and 500,500,2000 for random weights.",
    )
    flags.DEFINE_enum("optimizer", default.optimizer, OPTIMIZERS, "Rule of gradient descent.")
    flags.DEFINE_float(
        "learning_rate", default.learning_rate, "Of weights and biases.", lower_bound=0
    )
    flags.DEFINE_float(
        "momentum",
        default.momentum,
        "Decay of the gradient's running mean.",
        lower_bound=0,
        upper_bound=1,
    )
    flags.DEFINE_float(
        "weight_decay", default.weight_decay, "Cost of squared weights.", lower_bound=0
    )
    flags.DEFINE_float("input_dropout", default.input_dropout, "Share of pixels that drop out.")
    flags.DEFINE_float(
        "hidden_dropout", default.hidden_dropout, "Share of hidden units that drop out."
    )
    flags.DEFINE_float(
        "label_smoothing", default.label_smoothing, "Share of targets that all classes divide."
    )
    flags.DEFINE_float(
        "adversarial_radius",
        default.adversarial_radius,
        "Length of the moves of an image under which its answer shall stay the same; 0: none.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "top_only_epochs",
        default.top_only_epochs,
        "First epochs, in which only the softmax layer changes.",
        lower_bound=0,
    )
    flags.DEFINE_integer("batch_size", default.batch_size, "Examples per update.", lower_bound=1)
    flags.DEFINE_integer("epochs", default.epochs, "Passes through the data.", lower_bound=1)
    flags.DEFINE_bool(
        "early_stopping",
        default.early_stopping,
        "The result is the epoch with the fewest errors on validation images. All epochs are made.",
    )


def settings_of_flags() -> Settings:
    """Makes settings of the flags."""
    values = flags.FLAGS
    hidden, chosen = values.hidden_sizes, None
    if hidden is not None:
        hidden = shared.whole_numbers("hidden_sizes", hidden)
    if values.pretrained == models.NONE:
        chosen = shared.data_settings()
    else:
        names = {field.name for field in dataclasses.fields(shared.DataSettings)} - {"data_dir"}
        given = [f"--{name}" for name in sorted(names) if values[name].present]
        if given:
            raise ValueError(
                f"{', '.join(given)}: the data are those that --pretrained={values.pretrained} "
                f"learnt from; these flags go with --pretrained={models.NONE} alone"
            )
    data_dir = None if chosen else values.data_dir
    return shared.from_flags(Settings, data_dir=data_dir, data=chosen, hidden_sizes=hidden)


def main(argv: list[str]) -> None:
    """Makes settings of the flags, and runs."""
    shared.call(argv, run, settings_of_flags)


if __name__ == "__main__":
    define_flags()
    app.run(main)
