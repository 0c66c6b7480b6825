"""RBMs learnt by the training loop: one alone, or each from the activities of the one below."""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from dbn_jax import data, dbn, figures, health, learning, random, rbm, training, units
from dbn_jax.learning import labelled_pcd
from dbn_jax.likelihood import partition
from dbn_jax.training import batches, checkpoints, workdir
from dbn_jax.units import normalisable
from experiments.common import recognition, shared

# Examples that `evaluate` and the health checks look at.
_NUM_EXAMINED = 1000
# Rows that go up a layer together.
_BLOCK = 1000
# Units of each example that the pseudo-likelihood looks at.
_PSEUDO_UNITS = 10
# Metrics that would cost a tenth of the time if every update computed them; left out, they cost
# nothing. Free energies are looked at after every epoch.
_COSTLY = ("free_energy_data", "free_energy_fantasies", "gradient_norm")


@dataclasses.dataclass(frozen=True)
class Layer:
    """What is to be learnt.

    Attributes:
      name: of the phase, in the progress line and in file names.
      visible: type of the visible units.
      hidden: type of the hidden units.
      num_hidden: number of hidden units.
      transform: (key, rows) -> values of the visible units, as `dbn_jax.training.train` takes it.
      below: the layer below, if this one starts as that turned upside down (`dbn.upside_down`).
    """

    name: str
    visible: units.Units
    hidden: units.Units
    num_hidden: int
    transform: Callable[..., Any]
    below: rbm.RBM | None = None


@dataclasses.dataclass(frozen=True)
class Activities:
    """What an upper layer sees of the probabilities of the layer below.

    Attributes:
      samples: whether it sees states drawn anew at each presentation.
    """

    samples: bool

    def __call__(self, key, probabilities):
        """(key, (..., H)) -> (..., H); the key is consumed."""
        return random.bernoulli(key, probabilities) if self.samples else probabilities


@dataclasses.dataclass(frozen=True, eq=False)
class Recognised:
    """What an upper layer sees of pixels that are drawn anew at each presentation.

    Attributes:
      pixels: draws them.
      below: the layers below, which pass probabilities on.
      activities: what is seen of those of the last.
    """

    pixels: data.Transform
    below: tuple[rbm.RBM, ...]
    activities: Activities

    def __call__(self, key, rows):
        """(key, (..., pixels)) -> (..., H); the key is consumed."""
        pixel_key, key = jax.random.split(key)
        x = self.pixels(pixel_key, rows)
        for params in self.below:
            x = rbm.hidden_mean(params, x)
        return self.activities(key, x)


@dataclasses.dataclass(frozen=True)
class Joined:
    """What a top RBM with label units sees: features, and labels one-hot beside them.

    Attributes:
      features: what it sees of the layer below.
      num_labels: L.
    """

    features: Callable[..., jax.Array]
    num_labels: int

    def __call__(self, key, rows):
        """(key, {"features": (..., F), "labels": (...)}) -> (..., F + L); the key is consumed."""
        x = self.features(key, rows["features"])
        one_hot = jax.nn.one_hot(rows["labels"], self.num_labels, dtype=x.dtype)
        return jnp.concatenate([x, one_hot], axis=-1)


def check(
    learner: learning.Learner,
    visible: units.Units,
    hidden: units.Units,
    num_visible: int,
    num_hidden: int,
) -> None:
    """Raises what the first update would, of which nothing is computed.

    Binaries call it for every layer before they open a workdir: what is refused leaves no folder
    behind, and no layer has been learnt in vain.

    Args:
      learner: estimator of the gradient.
      visible: type of the visible units.
      hidden: type of the hidden units.
      num_visible: V.
      num_hidden: H.

    Raises:
      ValueError: sizes, types and learner do not fit each other.
    """

    def first_update(key):
        params = rbm.init_params(key, num_visible, num_hidden, visible=visible, hidden=hidden)
        batch = jnp.zeros((1, num_visible))
        return learner.estimate(key, params, learner.init(key, params), batch)

    jax.eval_shape(first_update, jax.random.key(0))


def check_below(settings: shared.LearningSettings, sizes: tuple[int, ...]) -> None:
    """`check` for the layers that `learn_below` learns; sizes from the pixels up."""
    binary = shared.UNITS["bernoulli"]
    for num_visible, num_hidden in itertools.pairwise(sizes):
        check(settings.make_learner(), binary, binary, num_visible, num_hidden)


def learn(
    settings: shared.LearningSettings,
    learner: learning.Learner,
    layer: Layer,
    examples: Any,
    held_out: Any,
    *,
    seed: int,
    run: workdir.Workdir,
    checkpoint_seconds: float,
    callback: Callable[[int, rbm.State], None] | None = None,
) -> rbm.State:
    """Learns an RBM, or goes on where an earlier run stopped.

    Args:
      settings: how it learns.
      learner: estimator of the gradient.
      layer: what is learnt.
      examples: rows that it learns from, such as (N, pixels) bytes, or a pytree of arrays.
      held_out: rows that it is evaluated on.
      seed: of everything random.
      run: where metrics and checkpoints go.
      checkpoint_seconds: time between checkpoints.
      callback: (epoch, state), called at the start and after every epoch.

    Returns:
      The final state.
    """
    init_key, chain_key, view_key = jax.random.split(jax.random.key(seed), 3)
    shown = shared.transformed(layer.transform, view_key, _first(examples))
    held_out = shared.transformed(layer.transform, view_key, _first(held_out))
    two_valued = isinstance(layer.visible, (units.Bernoulli, units.Spin)) and bool(
        np.isin(held_out, layer.visible.support).all()
    )
    for warning in health.check_data(layer.visible, shown).values():
        logging.warning("%s: %s", layer.name, warning)
    params = rbm.init_params(
        init_key,
        shown.shape[1],
        layer.num_hidden,
        visible=layer.visible,
        hidden=layer.hidden,
    )
    params = rbm.fit_visible(params, shown)
    if layer.below is not None:
        params = dbn.upside_down(params, layer.below)
    optimizer = settings.make_optimizer(batches.num_examples(examples) // settings.batch_size)
    state = _init_state(chain_key, params, learner=learner, optimizer=optimizer)
    if layer.below is not None:
        # The model is a good one already: chains far from it would only drive it away.
        state = dataclasses.replace(state, chains=at_data(chain_key, params, state.chains, shown))
    warned = set()

    def watch(epoch, step, state):
        del step
        if epoch:
            normalisable.check(state.params)
            for kind, warning in health.check_hidden(state.params, shown).items():
                # Once a kind: the numbers in it change from epoch to epoch.
                if kind not in warned:
                    logging.warning("%s, epoch %d: %s", layer.name, epoch, warning)
                warned.add(kind)
        if callback is not None:
            callback(epoch, state)
        run.note_time()

    with checkpoints.Checkpoints(run.checkpoints(layer.name)) as saved:
        return training.train(
            functools.partial(_step, learner=learner, optimizer=optimizer),
            state,
            examples,
            settings=training.Settings(
                seed=seed,
                batch_size=settings.batch_size,
                num_epochs=settings.epochs,
                phase=layer.name,
                checkpoint_seconds=checkpoint_seconds,
            ),
            transform=layer.transform,
            evaluate=lambda state: evaluate(state.params, shown, held_out, two_valued=two_valued),
            callback=watch,
            checkpoints=saved,
            metrics_path=metrics_path(run, layer.name),
        )


@dataclasses.dataclass(frozen=True)
class Below:
    """The layers below the top one, learnt, and what they make of the data.

    Attributes:
      layers: the RBMs, from the pixels up.
      examples: what `view` takes rows of: probabilities of the last layer's hidden units, (N, F);
        or images, while there is no layer, or where each presentation draws their pixels anew.
      held_out: likewise of held-out images.
      pixels: makes pixels of images.
      redrawn: whether each presentation draws them anew.
    """

    layers: tuple[rbm.RBM, ...]
    examples: np.ndarray
    held_out: np.ndarray
    pixels: data.Transform
    redrawn: bool

    def view(self, samples: bool) -> Callable[..., Any]:
        """What makes values of the next layer's visible units: drawn states, or probabilities."""
        if not self.layers:
            return self.pixels
        activities = Activities(samples)
        return Recognised(self.pixels, self.layers, activities) if self.redrawn else activities

    def add(self, params: rbm.RBM) -> "Below":
        """With one more layer."""
        layers = *self.layers, params
        if self.redrawn:
            return dataclasses.replace(self, layers=layers)
        pixels = None if self.layers else self.pixels
        examples, held_out = (_up(params, rows, pixels) for rows in (self.examples, self.held_out))
        return dataclasses.replace(self, layers=layers, examples=examples, held_out=held_out)


def learn_below(
    settings: shared.LearningSettings,
    sizes: tuple[int, ...],
    images: np.ndarray,
    held_out: np.ndarray,
    pixels: data.Transform,
    *,
    redrawn: bool,
    samples: bool,
    seed: int,
    run: workdir.Workdir,
    checkpoint_seconds: float,
) -> Below:
    """Learns the layers below the top of a stack, of binary units, one after the other.

    Args:
      settings: how they learn.
      sizes: units of each hidden layer; may be empty.
      images: rows that the first layer learns from.
      held_out: rows that it is evaluated on.
      pixels: makes pixels of them.
      redrawn: whether each presentation draws them anew; upper layers then see them through the
        layers below. Else they learn from what these make of the pixels once.
      samples: whether upper layers learn from drawn states of the layer below, or from
        probabilities.
      seed: of everything random.
      run: where metrics and checkpoints go; the layers are called layer_1, layer_2, ….
      checkpoint_seconds: time between checkpoints.
    """
    binary = shared.UNITS["bernoulli"]
    below = Below((), images, held_out, pixels, redrawn)
    for i, size in enumerate(sizes):
        state = learn(
            settings,
            settings.make_learner(),
            Layer(f"layer_{i + 1}", binary, binary, size, below.view(samples)),
            below.examples,
            below.held_out,
            seed=seed + i,
            run=run,
            checkpoint_seconds=checkpoint_seconds,
        )
        below = below.add(state.params)
    return below


def _up(params: rbm.RBM, rows: np.ndarray, transform: data.Transform | None) -> np.ndarray:
    """The hidden probabilities of all rows, in blocks, so that no more than one is on the way."""
    blocks = []
    for i, start in enumerate(range(0, len(rows), _BLOCK)):
        block = rows[start : start + _BLOCK]
        if transform is not None:
            block = shared.transformed(transform, jax.random.key(i), block)
        blocks.append(np.asarray(rbm.hidden_mean(params, block)))
    return np.concatenate(blocks)


def _first(rows):
    return jax.tree.map(lambda x: x[:_NUM_EXAMINED], rows)


_init_state = jax.jit(learning.init_state, static_argnames=("learner", "optimizer"))


def _step(key, state, batch, *, learner, optimizer):
    state, metrics = learning.step(key, state, batch, learner=learner, optimizer=optimizer)
    return state, {name: value for name, value in metrics.items() if name not in _COSTLY}


@functools.partial(jax.jit, static_argnames="two_valued")
def evaluate(
    params: rbm.RBM, train: jax.Array, held_out: jax.Array, *, two_valued: bool
) -> rbm.Metrics:
    """Compares training examples with held-out ones.

    Args:
      params: the RBM.
      train: (N, V) training examples.
      held_out: (N, V) held-out ones.
      two_valued: whether they are of two values, so that there is a pseudo-likelihood.

    Returns:
      `reconstruction_error` of the held-out examples (mean field; squared, summed over the pixels,
      averaged over the examples), `free_energy` of both (nats, mean), and `free_energy_gap`,
      held out minus training: it grows when the model overfits (Hinton's guide, section 6); and
      `log_pseudo_likelihood` of two-valued held-out examples (nats, mean), from a few units of
      each, the same ones every time.
    """
    error = jnp.sum((held_out - rbm.reconstruct(params, held_out)) ** 2, axis=-1)
    held_out_energy = jnp.mean(rbm.free_energy(params, held_out))
    train_energy = jnp.mean(rbm.free_energy(params, train))
    metrics = {
        "reconstruction_error": jnp.mean(error),
        "free_energy": held_out_energy,
        "free_energy_train": train_energy,
        "free_energy_gap": held_out_energy - train_energy,
    }
    if two_valued:
        count = min(_PSEUDO_UNITS, held_out.shape[-1])
        log_p = partition.log_pseudo_likelihood(
            jax.random.key(0), params, held_out, num_units=count
        )
        metrics["log_pseudo_likelihood"] = jnp.mean(log_p)
    return metrics


def metrics_path(run: workdir.Workdir, name: str):
    """Returns the path of a layer's metrics."""
    return run.path / f"metrics_{name}.csv"


def needed_bytes(sizes: tuple[int, ...]) -> int:
    """Returns the disk space that learning layers of these sizes takes, pictures included."""
    num_weights = sum(a * b for a, b in itertools.pairwise(sizes))
    # Parameters and momentum, in two checkpoints and one being written; the model; 50 MB of rest.
    return 4 * num_weights * (2 * 3 + 1) + 50_000_000


def unwrapped(chains: Any) -> Any:
    """Returns the chains of the learner within all wrappers."""
    while isinstance(chains, (learning.Offsets, learning.Activity)):
        chains = chains.inner
    return chains


def persistent_hidden(chains: Any) -> jax.Array | None:
    """Returns the hidden states of a learner's persistent chains, (chains, H); None without."""
    chains = unwrapped(chains)
    if isinstance(chains, (learning.FastChains, labelled_pcd.LabelledChains)):
        return chains.hidden
    return chains if chains is None or chains.ndim == 2 else chains[-1]


def at_data(key: jax.Array, params: rbm.RBM, chains: Any, x: jax.Array) -> Any:
    """Moves a learner's persistent chains to examples, those that keep a label to ones of theirs.

    Args:
      key: consumed.
      params: the RBM.
      chains: of any learner, wrapped or not.
      x: (N, V) examples; if there are more chains, some start at the same ones.
    """
    if isinstance(chains, (learning.Offsets, learning.Activity)):
        return chains._replace(inner=at_data(key, params, chains.inner, x))
    hidden = persistent_hidden(chains)
    if hidden is None:
        return chains
    if isinstance(chains, labelled_pcd.LabelledChains):
        count = chains.labels.shape[-1]
        labels, wanted = (np.asarray(a).argmax(axis=-1) for a in (x[:, -count:], chains.labels))
        taken = recognition.rows_with_labels(labels, wanted)
    else:
        taken = np.arange(len(hidden)) % len(x)
    hidden = rbm.sample_hidden(key, params, x[taken])
    if isinstance(chains, tuple):
        return chains._replace(hidden=hidden)
    return hidden if chains.ndim == 2 else chains.at[-1].set(hidden)


def draw_curves(run: workdir.Workdir, name: str, title: str) -> None:
    """Draws a layer's learning curves from its metrics."""
    table = figures.read_metrics(metrics_path(run, name))
    epoch = table["epoch"]
    curves = {
        "reconstruction error": {"held out": (epoch, table["eval_reconstruction_error"])},
        "free energy (nats)": {
            "training": (epoch, table["eval_free_energy_train"]),
            "held out": (epoch, table["eval_free_energy"]),
        },
        "free-energy gap (nats)": {"held out − training": (epoch, table["eval_free_energy_gap"])},
    }
    if "eval_log_pseudo_likelihood" in table:
        log_p = table["eval_log_pseudo_likelihood"]
        curves["log pseudo-likelihood (nats)"] = {"held out": (epoch, log_p)}
    figures.save(
        figures.learning_curves(curves, title=title, x_label="epoch"),
        run.figures / f"curves_{name}.png",
    )
