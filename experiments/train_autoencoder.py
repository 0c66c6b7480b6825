"""Trains a deep autoencoder: a stack of RBMs, unrolled and fine-tuned; compares it with PCA.

    python -m experiments.train_autoencoder --workdir=runs/autoencoder

trains a 784-1000-500-250-30 net on 4,000 digits that ship with a package, in two minutes on 2
cores: first greedily, with 30 linear code units, then by backpropagation of the pixels'
cross-entropy through the unrolled net. On so few digits its error is 9.7, where that of logistic
PCA is 3.3. --nopretraining starts from random weights instead. On full MNIST,

    python -m experiments.train_autoencoder --workdir=runs/autoencoder --data_dir=<IDX folder> \
        --flagfile=experiments/flagfiles/autoencoder.flags

takes 74 minutes on one core beside other work; 120 epochs took 23 minutes on two quiet cores. It
should reach a squared error per test image of 2.29, where PCA has 13.87. The publication gives 3.00
for the autoencoder, 8.01 for logistic PCA, and 13.87 for PCA.

figures/reconstructions.png is the tutorial's figure: held-out images, and their reconstructions by
each method from as many numbers as the code has. Logistic PCA appears twice: with the best code of
each image (`dbn_jax.embedding.logistic_pca`), and with codes that are linear in the pixels. The
latter is an autoencoder without hidden layers, whose error agrees with the published one;
--nologistic_pca leaves out the former. The workdir also holds the model
(`dbn_jax.networks.Autoencoder`), metrics, checkpoints, learning curves and summary.json. The
autoencoder looks at the test set once, at the end.

Reference: Hinton and Salakhutdinov, "Reducing the dimensionality of data with neural networks"
(2006).
"""

import dataclasses
import functools

import jax
import optax

from dbn_jax import data, dbn, networks, train_state, training, units
from dbn_jax.learning import backprop, greedy
from experiments.common import data_settings, early_stopping, optimizers, pretraining, runs
from experiments.common.data_settings import DataSettings
from experiments.common.rbm_settings import RBMSettings
from experiments.common.settings import MAX_EPOCHS, Declared, group, only, setting
from experiments.pictures import autoencoder as pictures

_NUM_WATCHED = 2000  # images of a split that are watched after every epoch


class BackpropagationSettings(Declared, title="Fine-tuning"):
    """Settings of the fine-tuning of the unrolled net by AdamW."""

    learning_rate: float = setting(
        1e-3,
        "Learning rate of fine-tuning; it falls to a hundredth over the second half.",
        at_least=0,
    )
    weight_decay: float = setting(
        0.1,
        "Decoupled weight decay of fine-tuning; the autoencoder overfits without it.",
        at_least=0,
    )
    batch_size: int = setting(100, "Number of examples in each update of fine-tuning.", at_least=1)
    patience: int | None = early_stopping.patience("the squared error")
    epochs: int = setting(
        100,
        "Number of epochs of fine-tuning.",
        at_least=1,
        at_most=MAX_EPOCHS,
        grows=optimizers.FIXED,
    )


class Settings(runs.TrainingSettings):
    """Everything that decides the result."""

    data: DataSettings = group(DataSettings)
    learning: RBMSettings = group(
        RBMSettings, given=only("pretraining", True), grows=pretraining.BELOW, epochs=50
    )
    hidden_sizes: tuple[int, ...] = setting(
        (1000, 500, 250, 30),
        "Number of units of each hidden layer of the encoder; the last layer is the code.",
        at_least=1,
    )
    code_learning_rate: float = setting(
        0.001,
        "Learning rate of the RBM whose hidden units are the code.",
        at_least=0,
        given=only("pretraining", True),
    )
    pretraining: bool = setting(
        True, "Start from a trained stack of RBMs, not from random weights."
    )
    logistic_pca: bool = setting(
        True, "Compare with logistic PCA too, whose best codes take minutes on full MNIST."
    )
    finetune: BackpropagationSettings = group(BackpropagationSettings, prefix="finetune_")

    def __post_init__(self):
        super().__post_init__()
        if len(self.hidden_sizes) < 2:
            raise ValueError(
                f"--hidden_sizes={','.join(map(str, self.hidden_sizes))}: a deep autoencoder has "
                "at least one hidden layer below its code"
            )
        if flag := self.data.made_real:
            raise ValueError(
                f"{flag}: the autoencoder's cost is the cross-entropy of pixels in [0, 1]"
            )

    @property
    def code(self) -> RBMSettings:
        """Settings of the RBM whose hidden units are the code."""
        return dataclasses.replace(self.learning, learning_rate=self.code_learning_rate)


def run(settings: Settings, workdir: str) -> dict:
    """Trains the autoencoder in a workdir, or resumes there, and compares it with PCA."""
    dataset, transform = settings.data.load()
    _check(settings, dataset)
    run = runs.open(settings, workdir)
    if run.is_done:
        return run.report()
    num_pixels = dataset.train.images.shape[1]
    deep_key, shallow_key = jax.random.split(training.spare_key(settings.seed))
    watch_key, picture_key = jax.random.split(run.key)
    if settings.pretraining:
        start = networks.unroll(_pretrain(run, dataset, transform))
    else:
        start = networks.init_autoencoder(deep_key, (num_pixels, *settings.hidden_sizes))
    model = _finetune(run, watch_key, "autoencoder", start, dataset, transform)
    run.save_model(model)
    shallow = networks.init_autoencoder(shallow_key, (num_pixels, settings.hidden_sizes[-1]))
    shallow = _finetune(run, watch_key, "linear_codes", shallow, dataset, transform)
    results, drawn = pictures.draw(
        picture_key,
        dataset,
        transform,
        model,
        shallow,
        run.metrics("autoencoder"),
        with_logistic_pca=settings.logistic_pca,
    )
    if settings.pretraining:
        drawn |= pretraining.layer_curves(run, len(settings.hidden_sizes))
    run.save_figures(drawn)
    return run.finish(results)


def _check(settings: Settings, dataset: data.Dataset) -> None:
    """Raises the errors that training of any layer, or the comparison, would raise."""
    num_images, num_pixels = dataset.train.images.shape
    sizes = (num_pixels, *settings.hidden_sizes)
    if sizes[-1] > min(num_images, num_pixels):
        raise ValueError(
            f"--hidden_sizes={','.join(map(str, settings.hidden_sizes))}: {num_images} images of "
            f"{num_pixels} pixels have no {sizes[-1]} principal components to compare the code "
            f"with; choose a code of at most {min(num_images, num_pixels)} units"
        )
    data_settings.check_updates(settings.finetune, num_images, "finetune_")
    part, _ = dataset.held_out
    early_stopping.check(settings.finetune.patience, part, flag="finetune_patience")
    if settings.pretraining:
        flags = f"--hidden_sizes={','.join(map(str, settings.hidden_sizes))}"
        data_settings.check_updates(settings.learning, num_images)
        pretraining.check_layers(settings.learning, sizes[:-1], flags)
        pretraining.check(settings.code, *sizes[-2:], flags=flags, hidden=units.Gaussian())


def _pretrain(run: runs.Run, dataset: data.Dataset, transform: data.Transform) -> dbn.DBN:
    """Trains the stack, of binary units with Gaussian units for the code."""
    settings = run.settings
    train, (_, held_out) = dataset.train, dataset.held_out
    stack = greedy.Stack(transform, redrawn=settings.data.redrawn(dataset))
    stack = pretraining.train_stack(
        run, settings.learning, settings.hidden_sizes[:-1], stack, train.images, held_out.images
    )
    number = len(stack.layers)
    top = pretraining.train_layer(
        run,
        f"layer_{number + 1}",
        settings.code,
        stack.rows(train.images),
        stack.rows(held_out.images),
        settings.hidden_sizes[-1],
        view=stack.view(),
        hidden=units.Gaussian(),
        seed=training.seed_of_phase(settings.seed, number),
    )
    return stack.net(top.params)


def _finetune(
    run: runs.Run,
    watch_key: jax.Array,
    phase: str,
    start: networks.Autoencoder,
    dataset: data.Dataset,
    transform: data.Transform,
) -> networks.Autoencoder:
    """Trains an autoencoder by backpropagation, from given weights."""
    settings = run.settings.finetune
    graphdef, params = backprop.split(start)
    num_updates = settings.epochs * (len(dataset.train.labels) // settings.batch_size)
    optimizer = _optimizer(settings.learning_rate, settings.weight_decay, num_updates)
    watched = {"error_train": dataset.train}
    if dataset.validation is not None:
        watched["error"] = dataset.validation
    watched = {
        name: pictures.pixels(watch_key, transform, split.spread(_NUM_WATCHED).images)
        for name, split in watched.items()
    }

    def evaluate(state):
        model = backprop.merge(graphdef, state.params)
        return {name: networks.reconstruction_error(model, v) for name, v in watched.items()}

    state = run.train(
        phase,
        functools.partial(
            backprop.step,
            graphdef=graphdef,
            loss=backprop.reconstruction_loss,
            optimizer=optimizer,
        ),
        train_state.init_state(params, optimizer),
        dataset.train.images,
        transform=transform,
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        # A seed of its own, so that its batches are not those of the first layer.
        seed=training.seed_of_phase(run.settings.seed, len(run.settings.hidden_sizes)),
        evaluate=evaluate,
        held_out=dataset.held_out[1].arrays(),
        early_stopping=early_stopping.rule(settings.patience, "error"),
    )
    return backprop.merge(graphdef, state.params)


@functools.cache  # equal settings give the same object, and compile once
def _optimizer(learning_rate, weight_decay, num_updates):
    return optax.adamw(
        optimizers.decaying(learning_rate, num_updates),
        weight_decay=weight_decay,
        mask=backprop.kernel_mask,
    )


if __name__ == "__main__":
    runs.main(run, Settings)
