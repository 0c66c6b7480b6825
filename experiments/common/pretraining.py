"""Training of RBMs in a run: one alone, or the layers of a stack, one after the other."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from matplotlib.figure import Figure

from dbn_jax import data, figures, rbm, training, units
from dbn_jax.learning import greedy, health, monitor
from dbn_jax.units import normalisable
from experiments.common import memory
from experiments.common.rbm_settings import RBMSettings
from experiments.common.runs import Run
from experiments.common.settings import Growth, about

# Epochs of layers that have others on top.
BELOW = Growth(lambda settings: False, "what is above these layers has learnt from them")
_NUM_EXAMINED = 1000  # examples that the monitors and the health checks look at
_EXAMINED = 2**32 - 1  # number of their key


def check(
    settings: RBMSettings,
    num_visible: int,
    layer: int | greedy.Init | rbm.RBM,
    *,
    flags: str,
    prefix: str = "",
    visible: units.Units = units.Bernoulli(),
    hidden: units.Units = units.Bernoulli(),
) -> None:
    """Traces the first update without running it, so that bad settings are ValueErrors early.

    Commands call it for every layer before they open a workdir. What the errors begin with are
    `flags`, those of the layers, and those of the learner, which have the prefix.
    """

    def first_update(key):
        params = greedy.init_layer(key, layer, num_visible, visible=visible, hidden=hidden)
        chains = learner.init(key, params)
        batch = jnp.zeros((1, num_visible))
        return params, chains, learner.estimate(key, params, chains, batch)

    flags = f"{flags} {settings.learner_flags(prefix)}"
    with about(flags):
        learner = settings.make_learner()
        params, chains, _ = jax.eval_shape(first_update, jax.random.key(0))
    # Weights, their gradient, momentum and the next weights; hidden and visible states, and those
    # of a batch after the data and after a Gibbs step.
    needed = 4 * memory.of(jax.tree.leaves(params)) + 2 * memory.of(jax.tree.leaves(chains))
    needed += 2 * settings.batch_size * sum(params.weights.shape) * params.weights.dtype.itemsize
    memory.check(needed, f"{flags}: learning", "choose smaller layers, or fewer chains")


def check_layers(settings: RBMSettings, sizes: tuple[int, ...], flags: str) -> None:
    """`check` for layers of binary units; sizes from the pixels up."""
    for num_visible, num_hidden in itertools.pairwise(sizes):
        check(settings, num_visible, num_hidden, flags=flags)


def train_layer(
    run: Run,
    name: str,
    settings: RBMSettings,
    rows: Any,
    held_out: Any,
    layer: int | greedy.Init | rbm.RBM,
    *,
    view: greedy.View,
    seed: int,
    visible: units.Units = units.Bernoulli(),
    hidden: units.Units = units.Bernoulli(),
    below: rbm.RBM | None = None,
    size: int | None = None,
    early_stopping: training.EarlyStopping | None = None,
    callback: Callable[[int, rbm.State], None] = lambda epoch, state: None,
) -> rbm.State:
    """Trains an RBM in a run, or goes on where an earlier process stopped; see `greedy.train`.

    Args:
      name: of the phase.
      held_out: rows that the RBM is evaluated on.
      size: number of models trained side by side, if there are several; their final states
        are stacked.
      early_stopping: by a measure of `monitor.compare`, or by the log-likelihood, which is then
        measured, too.
      callback: (epoch, state), called after every epoch, with the first model of an ensemble.
    """
    num_rows = len(jax.tree.leaves(rows)[0])
    optimizer = settings.make_optimizer(num_rows // settings.batch_size)
    view_key = jax.random.fold_in(training.spare_key(seed), _EXAMINED)
    examined = [data.apply(view, view_key, data.spread(x, _NUM_EXAMINED)) for x in (rows, held_out)]
    two_valued = is_two_valued(visible, examined[1])
    by_annealing = early_stopping is not None and early_stopping.measure == "log_likelihood"
    for warning in health.check_data(visible, examined[0]).values():
        logging.warning("%s: %s", name, warning)
    warned = set()

    def watch(epoch, state):
        members = [training.ensemble.member(state, i) for i in range(size)] if size else [state]
        for each in members if epoch else ():
            normalisable.check(each.params)
            for kind, warning in health.check_hidden(each.params, examined[0]).items():
                if kind not in warned:  # once a kind: its numbers change from epoch to epoch
                    logging.warning("%s, epoch %d: %s", name, epoch, warning)
                warned.add(kind)
        callback(epoch, members[0])

    def evaluate(state):
        found = monitor.compare(state.params, *examined, two_valued=two_valued)
        if by_annealing:
            found |= monitor.log_likelihood(jax.random.key(0), state.params, *examined)
        return found

    options = {"seed": seed, "batch_size": settings.batch_size, "epochs": settings.epochs}
    options |= {"ensemble": size, "early_stopping": early_stopping}
    with run.training(name, callback=watch, held_out=held_out, **options) as workdir:
        return greedy.train(
            rows,
            layer,
            view=view,
            learner=settings.make_learner(),
            optimizer=optimizer,
            visible=visible,
            hidden=hidden,
            below=below,
            evaluate=evaluate,
            **workdir,
        )


def is_two_valued(visible: units.Units, v: jax.Array) -> bool:
    """Whether examples have a pseudo-likelihood: units of two values see no others."""
    pixels = visible.each if isinstance(visible, units.Maps) else visible
    kinds = units.Bernoulli, units.Spin
    return isinstance(pixels, kinds) and bool(np.isin(v, pixels.support).all())


def train_stack(
    run: Run,
    settings: RBMSettings,
    layers: tuple[int | rbm.RBM, ...],
    stack: greedy.Stack,
    images: np.ndarray,
    held_out: np.ndarray,
    *,
    samples: bool = False,
) -> greedy.Stack:
    """Trains layers of binary units on top of a stack, called layer_1, layer_2, …

    Args:
      layers: their sizes, or RBMs that they start from.
      held_out: images that the layers are evaluated on.
      samples: whether layers are trained on sampled states of the layer below, or on probabilities.
    """
    for layer in layers:
        number = len(stack.layers)
        state = train_layer(
            run,
            f"layer_{number + 1}",
            settings,
            stack.rows(images),
            stack.rows(held_out),
            layer,
            view=stack.view(samples=samples),
            seed=training.seed_of_phase(run.settings.seed, number),
        )
        stack = stack.add(state.params)
    return stack


def learning_curves(run: Run, name: str, title: str) -> Figure:
    """Draws an RBM's learning curves from its metrics."""
    table = run.metrics(name)

    def line(column):
        errors = f"{column}_standard_error"  # of an ensemble
        return tuple(table[key] for key in ("epoch", column, errors) if key in table)

    curves = {
        "reconstruction error": {"held out": line("eval_reconstruction_error")},
        "free energy (nats)": {
            "training": line("eval_free_energy_train"),
            "held out": line("eval_free_energy"),
        },
        "free-energy gap (nats)": {"held out − training": line("eval_free_energy_gap")},
    }
    if "eval_log_pseudo_likelihood" in table:
        curves["log pseudo-likelihood (nats)"] = {"held out": line("eval_log_pseudo_likelihood")}
    if "eval_log_likelihood" in table:
        curves["log-likelihood (nats)"] = {
            "training": line("eval_log_likelihood_train"),
            "held out": line("eval_log_likelihood"),
        }
    if "label_loss" in table:
        curves["label loss (nats)"] = {"training": line("label_loss")}
    return figures.learning_curves(curves, title=title, x_label="epoch")


def layer_curves(run: Run, count: int, first: int = 1) -> dict[str, Figure]:
    """The learning curves of layers `first` to `count`, by file name."""
    return {
        f"curves_layer_{i}": learning_curves(run, f"layer_{i}", f"Training of layer {i}")
        for i in range(first, count + 1)
    }
