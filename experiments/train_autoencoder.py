"""A deep autoencoder: a stack of RBMs is learnt, unrolled and fine-tuned, and compared with PCA.

    python -m experiments.train_autoencoder --workdir=runs/autoencoder

learns a 784-1000-500-250-30 net from 4,000 digits that ship with a package, in two minutes on 2
cores: greedily, the 30 code units being linear, then by backpropagation of the pixels'
cross-entropy through the unrolled net. So few digits give it an error of 9.7, and logistic PCA one
of 3.3. --nopretraining starts from random weights instead. On full MNIST:

    python -m experiments.train_autoencoder --workdir=runs/autoencoder --data_dir=<IDX folder> \
        --flagfile=experiments/flagfiles/autoencoder.flags

takes 74 minutes on one core beside other work; with 120 epochs it took 23 on two quiet ones. It
should reach a squared error per test image of 2.29, beside 13.87 for PCA; the
publication has 3.00, 8.01 for logistic PCA, and 13.87.

figures/reconstructions.png is the tutorial's figure: images that were held out, and what each
method makes of them with as many numbers as the code has. Logistic PCA stands there twice: with the
best code of each image (`dbn_jax.embedding.logistic_pca`), and with codes that are linear in the
pixels, an autoencoder without hidden layers, whose error agrees with the published one. The workdir
further holds the model (`dbn_jax.networks.Autoencoder`), metrics, checkpoints, learning curves and
summary.json. The test set is looked at by the autoencoder once, at the end.

Reference: Hinton and Salakhutdinov, "Reducing the dimensionality of data with neural networks"
(2006).
"""

import dataclasses
import functools
import pathlib

import optax
from absl import app, flags

from dbn_jax import data, dbn, model_file, networks, rbm, training
from dbn_jax.learning import backprop
from dbn_jax.training import checkpoints, workdir
from experiments.common import pretraining, shared
from experiments.pictures import autoencoder as autoencoder_pictures

_EPOCHS = 50  # of each RBM, unless flags say otherwise


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides the result.

    Attributes:
      data: what is learnt from.
      learning: how the RBMs learn.
      hidden_sizes: units of each hidden layer of the encoder, the code's last.
      code_learning_rate: learning rate of the RBM whose hidden units are the code.
      pretraining: False starts from random weights.
      finetune_learning_rate: of Adam; linear to a hundredth over the second half.
      finetune_weight_decay: of the weight matrices, apart from the gradient (AdamW).
      finetune_batch_size: examples per update of fine-tuning.
      finetune_epochs: passes through the data in fine-tuning.
      seed: of everything random.
    """

    data: shared.DataSettings = dataclasses.field(default_factory=shared.DataSettings)
    learning: shared.LearningSettings = dataclasses.field(default_factory=shared.LearningSettings)
    hidden_sizes: tuple[int, ...] = (1000, 500, 250, 30)
    code_learning_rate: float = 0.001
    pretraining: bool = True
    finetune_learning_rate: float = 1e-3
    finetune_weight_decay: float = 0.1
    finetune_batch_size: int = 100
    finetune_epochs: int = 100
    seed: int = 0

    def __post_init__(self):
        if len(self.hidden_sizes) < 2:
            raise ValueError(
                f"--hidden_sizes={','.join(map(str, self.hidden_sizes))}: a deep autoencoder has "
                "at least one hidden layer below its code"
            )
        if self.data.standardise:
            raise ValueError(
                "--standardise: the autoencoder's cost is the cross-entropy of pixels in [0, 1]"
            )


def run(settings: Settings, path: str, *, checkpoint_seconds: float = 30.0) -> dict:
    """Learns the autoencoder in a workdir, or goes on there, and compares it with PCA.

    Returns:
      The summary, as `workdir.Workdir.write_summary` returns it.

    Raises:
      ValueError: data and settings do not fit each other, or the workdir holds another run.
    """
    dataset, transform = settings.data.load()
    num_images, num_pixels = dataset.train.images.shape
    sizes = (num_pixels, *settings.hidden_sizes)
    if sizes[-1] > min(num_images, num_pixels):
        raise ValueError(
            f"--hidden_sizes={','.join(map(str, settings.hidden_sizes))}: {num_images} images of "
            f"{num_pixels} pixels have no {sizes[-1]} principal components to compare the code "
            f"with; choose a code of at most {min(num_images, num_pixels)} units"
        )
    shared.check_batch_size("batch_size", settings.learning.batch_size, num_images)
    shared.check_batch_size("finetune_batch_size", settings.finetune_batch_size, num_images)
    if settings.pretraining:
        pretraining.check_below(settings.learning, sizes[:-1])
        binary, code = shared.UNITS["bernoulli"], shared.UNITS["gaussian"]
        pretraining.check(settings.learning.make_learner(), binary, code, *sizes[-2:])
    run_dir = workdir.open_workdir(
        path,
        shared.flag_values(settings),
        program="experiments.train_autoencoder",
        needed_bytes=3 * pretraining.needed_bytes(sizes),
    )
    if run_dir.is_done:
        print(f"done already: see {run_dir.figures}")
        return run_dir.summary()
    if settings.pretraining:
        stack = _pretrain(settings, run_dir, dataset, transform, checkpoint_seconds)
        start = networks.unroll(stack)
    else:
        start = networks.init_autoencoder(shared.init_key(settings.seed), sizes)
    learn = functools.partial(
        _learn, settings, run_dir, dataset, transform, checkpoint_seconds=checkpoint_seconds
    )
    model = learn(start, run_dir.metrics, phase="autoencoder")
    model_file.save(run_dir.path / "model.npz", model)
    shallow = networks.init_autoencoder(shared.init_key(settings.seed), (num_pixels, sizes[-1]))
    shallow = learn(
        shallow, pretraining.metrics_path(run_dir, "linear_codes"), phase="linear_codes"
    )
    results = autoencoder_pictures.draw(run_dir, dataset, transform, model, shallow)
    summary = run_dir.write_summary(results, seed=settings.seed)
    print(f"done in {summary['wall_seconds']:.0f} s: see {run_dir.figures}")
    return summary


def _pretrain(settings, run_dir, dataset, transform, checkpoint_seconds) -> dbn.DBN:
    """Learns the stack: binary units, and Gaussian ones for the code."""
    held_out = dataset.validation or dataset.test
    resumable = {"run": run_dir, "checkpoint_seconds": checkpoint_seconds}
    below = pretraining.learn_below(
        settings.learning,
        settings.hidden_sizes[:-1],
        dataset.train.images,
        held_out.images,
        transform,
        redrawn=settings.data.redrawn,
        samples=False,
        seed=settings.seed,
        **resumable,
    )
    name = f"layer_{len(settings.hidden_sizes)}"
    binary, code = shared.UNITS["bernoulli"], shared.UNITS["gaussian"]
    learning = dataclasses.replace(settings.learning, learning_rate=settings.code_learning_rate)
    top = pretraining.learn(
        learning,
        learning.make_learner(),
        pretraining.Layer(name, binary, code, settings.hidden_sizes[-1], below.view(samples=False)),
        below.examples,
        below.held_out,
        seed=settings.seed + len(below.layers),
        **resumable,
    )
    for i in range(len(settings.hidden_sizes)):
        name = f"layer_{i + 1}"
        pretraining.draw_curves(run_dir, name, f"Learning of {name.replace('_', ' ')}")
    return dbn.stack((*below.layers, top.params))


def _learn(
    settings: Settings,
    run_dir: workdir.Workdir,
    dataset: data.Dataset,
    transform: data.Transform,
    start: networks.Autoencoder,
    metrics_path: pathlib.Path,
    *,
    phase: str,
    checkpoint_seconds: float,
) -> networks.Autoencoder:
    """Learns by backpropagation from a start."""
    graphdef, params = backprop.split(start)
    num_updates = settings.finetune_epochs * (len(dataset.train) // settings.finetune_batch_size)
    optimizer = _optimizer(
        settings.finetune_learning_rate, settings.finetune_weight_decay, num_updates
    )
    watched = {"error_train": dataset.train}
    if dataset.validation is not None:
        watched["error"] = dataset.validation
    watched = {
        name: autoencoder_pictures.pixels(
            transform, split.images[: autoencoder_pictures.NUM_WATCHED]
        )
        for name, split in watched.items()
    }

    def evaluate(state):
        model = backprop.merge(graphdef, state.params)
        return {name: networks.reconstruction_error(model, v) for name, v in watched.items()}

    def watch(epoch, step, state):
        del epoch, step, state
        run_dir.note_time()

    with checkpoints.Checkpoints(run_dir.checkpoints(phase)) as saved:
        state = training.train(
            functools.partial(
                backprop.step,
                graphdef=graphdef,
                loss=backprop.reconstruction_loss,
                optimizer=optimizer,
            ),
            rbm.init_state(params, optimizer),
            dataset.train.images,
            settings=training.Settings(
                # Another stream than that of the first layer.
                seed=settings.seed + len(settings.hidden_sizes),
                batch_size=settings.finetune_batch_size,
                num_epochs=settings.finetune_epochs,
                phase=phase,
                checkpoint_seconds=checkpoint_seconds,
            ),
            transform=transform,
            evaluate=evaluate,
            callback=watch,
            checkpoints=saved,
            metrics_path=metrics_path,
        )
    return backprop.merge(graphdef, state.params)


@functools.cache  # equal settings give the same object, and compile once
def _optimizer(learning_rate, weight_decay, num_updates):
    return optax.adamw(
        shared.decaying(learning_rate, num_updates),
        weight_decay=weight_decay,
        mask=backprop.kernel_mask,
    )


def define_flags() -> None:
    """Defines the flags of this binary; only the binary itself does, not who imports it."""
    default = Settings()
    shared.define_run_flags()
    shared.define_data_flags()
    shared.define_learning_flags(epochs=_EPOCHS)
    flags.DEFINE_list(
        "hidden_sizes",
        [str(size) for size in default.hidden_sizes],
        "Units of each hidden layer of the encoder; the last are the code.",
    )
    flags.DEFINE_float(
        "code_learning_rate",
        default.code_learning_rate,
        "Learning rate of the RBM whose hidden units are the code.",
        lower_bound=0,
    )
    flags.DEFINE_bool(
        "pretraining", default.pretraining, "Start from a stack of RBMs, not from random weights."
    )
    flags.DEFINE_float(
        "finetune_learning_rate", default.finetune_learning_rate, "Of Adam.", lower_bound=0
    )
    flags.DEFINE_float(
        "finetune_weight_decay",
        default.finetune_weight_decay,
        "Of weight matrices, apart from Adam's gradient; the autoencoder overfits without it.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "finetune_batch_size",
        default.finetune_batch_size,
        "Examples per update of fine-tuning.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "finetune_epochs", default.finetune_epochs, "Epochs of fine-tuning.", lower_bound=1
    )


def settings_of_flags() -> Settings:
    """Makes settings of the flags."""
    return shared.from_flags(
        Settings,
        data=shared.data_settings(),
        learning=shared.learning_settings(),
        hidden_sizes=shared.whole_numbers("hidden_sizes", flags.FLAGS.hidden_sizes),
    )


def main(argv: list[str]) -> None:
    """Makes settings of the flags, and runs."""
    shared.call(argv, run, settings_of_flags)


if __name__ == "__main__":
    define_flags()
    app.run(main)
