"""Trains a model of sequences: an RBM for each frame, whose biases the past sets.

    python -m experiments.train_sequences --workdir=runs/balls

trains an RNN-RBM on films of bouncing balls, which are simulated, each shown once.
figures/film.webp then shows a film that the model has not seen, its prediction of every next frame,
and its dream after ten real frames. That takes two minutes on 2 cores. Other data are read from a
folder:

    python -m experiments.train_sequences --workdir=runs/jsb --data_dir=<folder> \
        --flagfile=experiments/flagfiles/sequences_jsb.flags

for piano rolls (figures/ has what the model plays, as pictures, MIDI and WAV) and motion capture
(stick figures). The table has baselines beside the model: the last frame again, linear
autoregression, independent notes. An RBM that knows no time is --model=rbm.
`experiments.evaluate --split=test` measures a finished run on the test sequences, and
`experiments.generate` draws and plays more of its dreams.

References: Taylor, Hinton, Roweis, "Modeling human motion using binary latent variables" (2006);
Sutskever, Hinton, Taylor, "The recurrent temporal restricted Boltzmann machine" (2008);
Boulanger-Lewandowski, Bengio, Vincent, "Modeling temporal dependencies in high-dimensional
sequences" (2012).
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dbn_jax import data, rbm, temporal, training
from dbn_jax.temporal import cells
from experiments.common import (
    early_stopping,
    memory,
    optimizers,
    runs,
    sequence_data,
    sequence_results,
)
from experiments.common.data_settings import UNITS
from experiments.common.sequence_data import SequenceData
from experiments.common.settings import MAX_EPOCHS, Declared, Growth, group, only, setting
from experiments.pictures import sequences as pictures

MODELS = {
    "rnn_rbm": "RNN-RBM",
    "rtrbm": "RTRBM",
    "trbm": "TRBM",
    "crbm": "conditional RBM",
    "rbm": "RBM without time",
}
_VISIBLE = ("bernoulli", "gaussian", "gaussian_learnt")
_NUM_WATCHED = 20  # sequences, after every epoch
_CLIP = 1.0  # norm of a gradient
_REGRESSION_SHARE = 0.01  # of the learning rate, for what a regression has found


class ModelSettings(Declared, title="Model"):
    """The model and its sizes."""

    model: str = setting(
        "rnn_rbm",
        "Model: RNN-RBM, recurrent temporal RBM, temporal RBM, conditional RBM, or an RBM that "
        "knows no time.",
        choices=tuple(MODELS),
    )
    num_hidden: int = setting(100, "Number of hidden units.", at_least=1, at_most=100_000)
    cell: str = setting(
        "gru", "Recurrent cell.", choices=tuple(cells.CELLS), given=only("model", "rnn_rbm")
    )
    recurrent_size: int = setting(
        300,
        "Number of units of the recurrent cell.",
        at_least=1,
        at_most=100_000,
        given=only("model", "rnn_rbm"),
    )
    order: int = setting(
        3,
        "Number of past frames that change the biases.",
        at_least=1,
        at_most=1000,
        given=only("model", "crbm"),
    )
    upper_hidden: int = setting(
        0,
        "Number of hidden units of a second conditional RBM, which learns what the hidden units of "
        "the first do; 0 for none.",
        at_least=0,
        at_most=100_000,
        given=only("model", "crbm"),
    )
    ridge: float = setting(
        10.0,
        "Ridge of the linear autoregression that a conditional RBM of real numbers starts from.",
        at_least=0,
        given=only("model", "crbm"),
    )
    styles: bool = setting(
        False,
        "Put the style of a sequence, such as walk or run, beside the past.",
        given=only("model", "crbm"),
    )
    visible: str | None = setting(
        None,
        "Type of the visible units.",
        unset="bernoulli, but gaussian for real numbers",
        choices=_VISIBLE,
    )


class LearningSettings(Declared, title="Learning"):
    """How the model is trained."""

    gibbs_steps: int = setting(
        1, "Number of Gibbs steps of contrastive divergence.", at_least=1, at_most=10_000
    )
    sample_visible: bool | None = setting(
        None,
        "Learn from samples of the visible units after the last Gibbs step, not from their means, "
        "which are less noisy, but know no variance.",
        unset="false, but true where σ is learnt",
    )
    learning_rate: float = setting(
        0.002, "Learning rate of Adam; it falls to a hundredth over the second half.", at_least=0
    )
    weight_decay: float = setting(0.0, "Weight decay, as AdamW has it.", at_least=0)
    input_dropout: float = setting(
        0.0, "Share of values that are hidden from the memory.", at_least=0, below=1
    )
    memory_dropout: float = setting(
        0.0, "Share of the memory that is hidden from the biases.", at_least=0, below=1
    )
    window: int = setting(
        100, "Largest number of frames that are learnt in one piece.", at_least=2, at_most=100_000
    )
    warm_up: int = setting(
        0,
        "Number of frames of a piece within a sequence that fill the memory and are not learnt; a "
        "conditional RBM has its order instead.",
        at_least=0,
    )
    batch_size: int = setting(10, "Number of pieces in a batch.", at_least=1)
    patience: int | None = early_stopping.patience("log p, or the error of predicted grey frames,")
    epochs: int = setting(
        36, "Number of epochs.", at_least=1, at_most=MAX_EPOCHS, grows=optimizers.FIXED
    )


class Settings(runs.TrainingSettings):
    """Everything that decides the result."""

    data: SequenceData = group(SequenceData)
    model: ModelSettings = group(ModelSettings)
    learning: LearningSettings = group(
        LearningSettings,
        grows=Growth(
            lambda beside: not beside.model.upper_hidden,
            "the second model has learnt from the first",
        ),
    )
    measures: sequence_results.Measures = group(sequence_results.Measures)


def run(settings: Settings, workdir: str) -> dict:
    """Trains the model in a workdir, or resumes there, measures it and draws."""
    _check_idle(settings)
    dataset = settings.data.load()
    visible = _visible(settings, dataset)
    part, frames = sequence_data.held_out(dataset)
    _check_data(settings, dataset, part)
    learning = settings.learning
    feed = sequence_data.feed(
        settings.data,
        dataset,
        window=learning.window,
        warm_up=_warm_up(settings),
        with_styles=settings.model.styles,
        batch_size=learning.batch_size,
    )
    num_updates = _num_updates(learning.epochs, feed)
    early_stopping.check(learning.patience, part)
    stop = sequence_results.stops(learning.patience, dataset, settings.measures)
    train = settings.data.training_sequences(dataset, settings.seed)
    _check_order(settings, train)
    _check_memory(settings, dataset, feed, UNITS[visible])
    sequence_results.check(settings.measures, dataset, part, train, settings.model.num_hidden)
    spare_key = training.spare_key(settings.seed)
    init_key, upper_key, measure_key, picture_key = jax.random.split(spare_key, 4)
    model = start(init_key, settings.model, dataset, train, UNITS[visible])
    regression = _starts_from_regression(settings.model, dataset)
    optimizer = _optimizer(learning.learning_rate, learning.weight_decay, num_updates, regression)
    loss = _loss(learning, sample_visible=_sample_visible(learning.sample_visible, visible))
    run = runs.open(settings, workdir)
    if run.is_done:
        return run.report()
    predictable = [i for i, x in enumerate(frames) if dataset.kind == "binary" or len(x) > 1]
    watched = data.spread(np.array(predictable), _NUM_WATCHED)
    measures = settings.measures
    state = run.train(
        "sequences",
        functools.partial(_step, make=feed.make, optimizer=optimizer, loss=loss),
        rbm.init_state(model, optimizer),
        feed.rows,
        epochs=learning.epochs,
        evaluate=lambda state: sequence_results.watch(
            state.params, dataset, part, watched, measures
        ),
        held_out=[frames[i] for i in watched],
        early_stopping=stop,
        **feed.sizes,
    )
    model = state.params
    if settings.model.upper_hidden:
        model = _stacked(upper_key, run, settings, model, feed)
    run.save_model(model)
    name = MODELS[settings.model.model]
    results, table = sequence_results.measure(
        measure_key, model, dataset, part, train, settings.measures, name
    )
    run.save_table(table)
    pictures.draw(picture_key, run, model, dataset, part, name, results)
    run.save_figures({"curves": pictures.curves(run.metrics("sequences"), name)})
    return run.finish({"split": part, **results})


def start(
    key: jax.Array,
    settings: ModelSettings,
    dataset: data.SequenceSet,
    train: tuple[np.ndarray, ...],
    visible: Any,
) -> temporal.TemporalRBM:
    """Makes the model before training; its visible biases have the means of the data."""
    styles = sequence_data.styles(dataset, "train") if settings.styles else None
    model = _init(key, settings, len(dataset.columns), styles, visible)
    frames = jnp.asarray(np.concatenate(train).astype(np.float32))
    model = dataclasses.replace(model, rbm=rbm.fit_visible(model.rbm, frames))
    if not _starts_from_regression(settings, dataset):
        return model
    return temporal.fit_autoregression(model, train, ridge=settings.ridge, styles=styles)


def _init(key, settings, num_visible, styles, visible):
    sizes, options = (num_visible, settings.num_hidden), {"visible": visible}
    match settings.model:
        case "rnn_rbm":
            cell_key, key = jax.random.split(key)
            made = cells.make(cell_key, settings.cell, num_visible, settings.recurrent_size)
            return temporal.init_rnn_rbm(key, *sizes, *made, **options)
        case "rtrbm" | "trbm":
            sampled = settings.model == "trbm"
            return temporal.init_rtrbm(key, *sizes, sampled=sampled, **options)
        case _:
            return temporal.init_conditional(
                key,
                *sizes,
                order=settings.order if settings.model == "crbm" else 0,
                style_size=0 if styles is None else styles.shape[1],
                **options,
            )


def _stacked(key, run, settings, below, feed):
    """Trains a second model on the features of the first, with the same settings."""
    learning, order = settings.learning, settings.model.order
    sizes = below.rbm.hidden.num_units, settings.model.upper_hidden
    above = temporal.init_conditional(key, *sizes, order=order)
    num_updates = _num_updates(learning.epochs, feed)
    optimizer = _optimizer(learning.learning_rate, learning.weight_decay, num_updates, False)
    lift = functools.partial(temporal.lift, model=below, warm_up=order)
    state = run.train(
        "upper",
        functools.partial(
            _step,
            make=functools.partial(_lifted, make=feed.make, lift=lift),
            optimizer=optimizer,
            loss=_loss(learning, sample_visible=False),
        ),
        rbm.init_state(above, optimizer),
        feed.rows,
        seed=training.seed_of_phase(settings.seed, 1),
        epochs=learning.epochs,
        **feed.sizes,
    )
    return temporal.Stack((below, state.params))


def _lifted(key, rows, *, make, lift):
    make_key, lift_key = jax.random.split(key)
    return lift(lift_key, batch=make(make_key, rows))


def _loss(learning, *, sample_visible):
    return functools.partial(
        temporal.cd_loss,
        num_gibbs_steps=learning.gibbs_steps,
        sample_visible=sample_visible,
        input_dropout=learning.input_dropout,
        memory_dropout=learning.memory_dropout,
    )


def _starts_from_regression(settings, dataset):
    return settings.model == "crbm" and dataset.kind == "real"


def _check_idle(settings):
    """Refuses settings of other groups that do nothing beside the model or the data."""
    match settings.model.model:
        case "crbm":
            settings.refuse(
                ("warm_up",), "with --model=crbm, whose --order tells how many it takes"
            )
        case "rbm":
            names = ("warm_up", "input_dropout", "memory_dropout")
            settings.refuse(names, "with --model=rbm, which has no memory")
    if settings.data.dataset == "balls":
        names = ("window", "warm_up")
        settings.refuse(names, "with --dataset=balls, whose films are learnt whole")
        sequence_results.refuse_annealing(settings, "balls")


def _visible(settings, dataset):
    is_real = dataset.kind == "real"
    visible = settings.model.visible or ("gaussian" if is_real else "bernoulli")
    if is_real == (visible == "bernoulli"):
        kinds = {
            "binary": "notes that are on or off",
            "grey": "grey levels",
            "real": "real numbers",
        }
        raise ValueError(
            f"--visible={visible}, but the frames of {dataset.name} are {kinds[dataset.kind]}; "
            f"choose {'gaussian or gaussian_learnt' if is_real else 'bernoulli'}"
        )
    return visible


def _sample_visible(given, visible):
    if given is False and visible == "gaussian_learnt":
        raise ValueError(
            "--nosample_visible: a learnt σ needs samples, since means do not vary; leave it out"
        )
    return visible == "gaussian_learnt" if given is None else given


def _warm_up(settings):
    """Frames of a piece that only fill the memory: those that a conditional RBM looks back on."""
    learning, model = settings.learning, settings.model
    warm_up = {"crbm": model.order, "rbm": 0}.get(model.model, learning.warm_up)
    needed = 2 * warm_up if model.upper_hidden else warm_up
    if settings.data.dataset != "balls" and needed >= learning.window:
        raise ValueError(
            f"--window={learning.window} leaves no frame to learn after {needed} that fill the "
            "memory; choose a longer window"
        )
    return warm_up


def _check_data(settings, dataset, part):
    """Refuses settings that do not go with the data."""
    if dataset.kind != "real":
        why = f"with --dataset={dataset.name}, whose frames are not real numbers"
        settings.refuse(("ridge",), why)
    if settings.model.styles and sequence_data.styles(dataset, part) is None:
        raise ValueError(f"--styles: the sequences of {dataset.name} have no styles; leave it out")


def _num_updates(epochs, feed):
    if (num_updates := epochs * feed.updates_per_epoch) >= 2**31:
        raise ValueError(
            f"--epochs={epochs} of {feed.updates_per_epoch:,} updates each is {num_updates:,} "
            "updates, which are counted in 32 bits; choose fewer epochs"
        )
    return num_updates


def _check_order(settings, train):
    order, longest = settings.model.order, max(map(len, train))
    if settings.model.model == "crbm" and order >= longest:
        raise ValueError(
            f"--order={order}, but the longest training sequence has {longest} frames; choose an "
            "order below"
        )


def _check_memory(settings, dataset, feed, visible):
    """Refuses what this machine cannot hold, without making it."""
    styles = sequence_data.styles(dataset, "train") if settings.model.styles else None

    def first(key):
        model = _init(key, settings.model, len(dataset.columns), styles, visible)
        return model, model.start() if styles is None else model.start(jnp.asarray(styles[0]))

    model, memories = jax.eval_shape(first, jax.random.key(0))
    # Weights, their gradient and its two moments; of a frame its memory, states and biases, twice.
    frame = memory.of(jax.tree.leaves(memories)) + 16 * sum(model.rbm.weights.shape)
    size = {"rnn_rbm": ("recurrent_size",), "crbm": ("order",)}.get(settings.model.model, ())
    given = settings.as_flags()
    names = "model", "num_hidden", *size, "batch_size"
    memory.check(
        4 * memory.of(jax.tree.leaves(model))
        + settings.learning.batch_size * feed.num_frames * frame,
        " ".join(f"--{name}={given[name]}" for name in names) + ": learning",
        "choose a smaller model or batch",
    )


@functools.cache  # equal settings give the same object, and compile once
def _optimizer(learning_rate, weight_decay, num_updates, regression):
    """Adam; `regression` is for models that start from a linear autoregression."""
    rate = optimizers.decaying(learning_rate, num_updates)
    decayed = functools.partial(_mask, regression=regression)
    adam = optax.adamw(rate, weight_decay=weight_decay, mask=decayed)
    slow = optax.identity()
    if regression:
        slow = optax.masked(optax.scale(_REGRESSION_SHARE), _is_regression)
    return optax.chain(optax.clip_by_global_norm(_CLIP), adam, slow)


def _mask(params, *, regression):
    """Weights, but those of a regression, which has its ridge."""
    own = _is_regression(params)
    return jax.tree.map(lambda x, its: x.ndim > 1 and not (regression and its), params, own)


def _is_regression(params):
    return jax.tree_util.tree_map_with_path(
        lambda path, _: "to_visible" in jax.tree_util.keystr(path[:1]), params
    )


def _step(key, state, rows, *, make, optimizer, loss):
    batch_key, loss_key = jax.random.split(key)
    return temporal.step(loss_key, state, make(batch_key, rows), optimizer=optimizer, loss=loss)


if __name__ == "__main__":
    runs.main(run, Settings)
