"""Greedy learning of a deep belief net: a stack of RBMs that grows layer by layer.

Each RBM learns from what the layers below make of the data:

    stack = greedy.Stack(to_pixels)
    for size in (500, 500):
        stack = greedy.add_layer(stack, images, size, learner=learning.CD(), ...)
    net = greedy.add_top(stack, images, labels, 2000, learner=learning.LabelledPCD(), ...)

A layer sees the probabilities of the hidden units below, or states drawn from them anew at each
presentation; the top RBM may see labels beside the features. Keys are consumed; "..." are batch
axes; N examples, F features, L labels, H hidden units.

References: Hinton, Osindero, Teh, "A fast learning algorithm for deep belief nets" (2006), section
4; Hinton, "To recognize shapes, first learn to generate images" (2007).
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dbn_jax import data, dbn, label_units, numerics, random, rbm, training, units
from dbn_jax.learning import learners

# Examples that the first biases and the persistent chains start from.
_NUM_FIRST = 1000
# Metrics that would cost a tenth of the time if every update computed them; left out, they cost
# nothing.
_COSTLY = ("free_energy_data", "free_energy_fantasies", "gradient_norm")

# (key, rows) -> values of visible units.
View = Callable[..., jax.Array]
# (key, num_visible) -> a layer before it learns, such as
# lambda key, _: convolutional.init_params(key, (28, 28, 1), num_maps=40, filter_size=11).
Init = Callable[[jax.Array, int], rbm.RBM]


@dataclasses.dataclass(frozen=True)
class Stack:
    """The layers that have learnt, and what the next one sees of the data.

    Attributes:
      to_pixels: (key, images) -> values of the first layer's visible units.
      redrawn: whether each presentation draws the pixels anew; the layers above then see them
        through the layers below. Else they see what these make of the pixels once.
      layers: the RBMs, from the pixels up.
    """

    to_pixels: View
    redrawn: bool = False
    layers: tuple[rbm.RBM, ...] = ()

    def rows(self, images: np.ndarray) -> np.ndarray:
        """What `view` takes rows of, (N, …): the images, or the last layer's probabilities."""
        if self.redrawn or not self.layers:
            return images
        up = functools.partial(_up, self.to_pixels, self.layers)
        return data.in_blocks(up, jax.random.key(0), images)

    def view(self, *, samples: bool = False, num_labels: int = 0) -> View:
        """What the next layer sees of `rows`: the probabilities below, or states drawn from them.

        With label units it takes {"features": what `rows` returned, "labels": (N,)}.
        """
        view = self.to_pixels
        if self.layers:
            view = Activities(samples)
            if self.redrawn:
                view = Redrawn(self.to_pixels, self.layers, view)
        return BesideLabels(view, num_labels) if num_labels else view

    def add(self, layer: rbm.RBM) -> "Stack":
        """With one more layer."""
        return dataclasses.replace(self, layers=(*self.layers, layer))

    def net(self, top: rbm.RBM) -> dbn.DBN:
        """The net with this top RBM."""
        return dbn.stack((*self.layers, top))


@functools.partial(jax.jit, static_argnums=0)
def _up(to_pixels, layers, key, images):
    return recognise(layers, to_pixels(key, images))


def recognise(layers: tuple[rbm.RBM, ...], v: jax.Array) -> jax.Array:
    """The hidden probabilities of the last of some layers."""
    for layer in layers:
        v = layer.hidden.pool(rbm.hidden_mean(layer, v))
    return v


@dataclasses.dataclass(frozen=True)
class Activities:
    """What a layer sees of the layer below: its probabilities, or states drawn from them."""

    samples: bool

    def __call__(self, key, probabilities):
        """(key, (..., H)) -> (..., H)."""
        return random.bernoulli(key, probabilities) if self.samples else probabilities


@dataclasses.dataclass(frozen=True, eq=False)  # arrays have no hash
class Redrawn:
    """What a layer sees of pixels that each presentation draws anew."""

    to_pixels: View
    layers: tuple[rbm.RBM, ...]
    activities: Activities

    def __call__(self, key, images):
        """(key, (..., pixels)) -> (..., H)."""
        pixel_key, key = random.split(key)
        return self.activities(key, recognise(self.layers, self.to_pixels(pixel_key, images)))


@dataclasses.dataclass(frozen=True)
class BesideLabels:
    """What a top RBM with label units sees: features, and labels one-hot beside them."""

    features: View
    num_labels: int

    def __call__(self, key, rows):
        """(key, {"features": (..., F), "labels": (...)}) -> (..., F + L)."""
        x = self.features(key, rows["features"])
        labels = numerics.one_hot(rows["labels"], self.num_labels, x.dtype)
        return jnp.concatenate([x, labels], axis=-1)


def add_layer(
    stack: Stack,
    images: np.ndarray,
    layer: int | Init,
    *,
    settings: training.Settings,
    samples: bool = False,
    **options: Any,
) -> Stack:
    """Trains a layer of binary units on top of a stack, with a seed of its own; see `train`.

    The first layer may see pixels of another type (`visible`). For `samples` see `Stack.view`.
    """
    _check_binary(stack, options)
    if not isinstance(layer, int):
        layer = functools.partial(_make_binary, stack, layer)
    settings = _of_layer(settings, stack)
    view = stack.view(samples=samples)
    state = train(stack.rows(images), layer, view=view, settings=settings, **options)
    return stack.add(state.params)


def add_top(
    stack: Stack,
    images: np.ndarray,
    labels: np.ndarray,
    num_hidden: int,
    *,
    settings: training.Settings,
    num_labels: int = 10,
    samples: bool = True,
    **options: Any,
) -> dbn.DBN:
    """Trains the top RBM of a net, which sees labels beside the features; see `add_layer`."""
    _check_binary(stack, options)
    numerics.check_labels(labels, num_labels)  # which the compiled updates cannot
    settings = _of_layer(settings, stack)
    rows = {"features": stack.rows(images), "labels": labels}
    top = train(
        rows,
        num_hidden,
        view=stack.view(samples=samples, num_labels=num_labels),
        visible=label_units.visible_units(rows["features"].shape[1], num_labels),
        settings=settings,
        **options,
    )
    return stack.net(top.params)


def _check_binary(stack, options):
    for side in ("visible", "hidden") if stack.layers else ("hidden",):
        kind = dbn.kind_of_units(options.get(side, units.Bernoulli()))
        if kind != "Bernoulli":
            raise ValueError(
                f"the {side} units are {kind}; layers of other than binary units are for "
                "greedy.train"
            )


def _make_binary(stack, layer, key, num_visible):
    params = layer(key, num_visible)
    _check_binary(stack, {"visible": params.visible, "hidden": params.hidden})
    return params


def _of_layer(settings, stack):
    number = len(stack.layers)
    seed = training.seed_of_phase(settings.seed, number)
    return dataclasses.replace(settings, seed=seed, phase=f"layer {number + 1}")


def train(
    rows: Any,
    layer: int | Init | rbm.RBM,
    *,
    view: View,
    learner: learners.Learner,
    optimizer: optax.GradientTransformation,
    settings: training.Settings,
    visible: units.Units = units.Bernoulli(),
    hidden: units.Units = units.Bernoulli(),
    below: rbm.RBM | None = None,
    **options: Any,
) -> rbm.State[rbm.RBM, Any]:
    """Trains one layer; the `params` of the final state are the RBM.

    Of an ensemble (`settings.ensemble`) the final states are stacked; see `training.ensemble`.

    Args:
      rows: what it learns from, as `Stack.rows` returns it.
      layer: the number of hidden units of a dense layer, whose types are `visible` and `hidden`; or
        what makes a layer of any kind; or an RBM that has learnt, perhaps from other data.
      view: see `Stack.view`.
      visible: `label_units.visible_units` for a top RBM with labels.
      below: the layer below, if its transposed weights are the first ones (`dbn.upside_down`).
      **options: further ones of `training.train`, such as checkpoints.
    """
    states = [
        init_state(
            training.spare_key(seed),
            rows,
            layer,
            view=view,
            learner=learner,
            optimizer=optimizer,
            visible=visible,
            hidden=hidden,
            below=below,
        )
        for seed in settings.seeds
    ]
    state = training.ensemble.stack(states) if settings.ensemble else states[0]
    update = functools.partial(step, learner=learner, optimizer=optimizer)
    return training.train(update, state, rows, settings=settings, transform=view, **options)


def init_layer(
    key: jax.Array,
    layer: int | Init | rbm.RBM,
    num_visible: int,
    *,
    visible: units.Units = units.Bernoulli(),
    hidden: units.Units = units.Bernoulli(),
) -> rbm.RBM:
    """A layer before it learns; see `train`."""
    if isinstance(layer, rbm.RBM):
        return layer
    if isinstance(layer, int):
        return rbm.init_params(key, num_visible, layer, visible=visible, hidden=hidden)
    return layer(key, num_visible)


def init_state(
    key: jax.Array,
    rows: Any,
    layer: int | Init | rbm.RBM,
    *,
    view: View,
    learner: learners.Learner,
    optimizer: optax.GradientTransformation,
    visible: units.Units = units.Bernoulli(),
    hidden: units.Units = units.Bernoulli(),
    below: rbm.RBM | None = None,
) -> rbm.State[rbm.RBM, Any]:
    """The state that a layer's training starts from; see `train`.

    The visible biases are those of the data's means. An RBM that has learnt, and one with the
    transposed weights of the layer below, are good models already: persistent chains start at
    examples, and the biases of the former stay.
    """
    init_key, chain_key, move_key, view_key = jax.random.split(key, 4)
    x = data.apply(view, view_key, data.spread(rows, _NUM_FIRST))
    params = init_layer(init_key, layer, x.shape[1], visible=visible, hidden=hidden)
    is_learnt = isinstance(layer, rbm.RBM)
    if not is_learnt:
        params = rbm.fit_visible(params, x)
    if below is not None:
        params = dbn.upside_down(params, below)
    state = _init_state(chain_key, params, learner=learner, optimizer=optimizer)
    if is_learnt or below is not None:
        chains = learner.start_at(move_key, params, state.chains, x)
        state = dataclasses.replace(state, chains=chains)
    return state


_init_state = jax.jit(learners.init_state, static_argnames=("learner", "optimizer"))


def step(key, state, batch, *, learner, optimizer):
    """`learning.step` with the metrics that cost nothing."""
    state, metrics = learners.step(key, state, batch, learner=learner, optimizer=optimizer)
    return state, {name: value for name, value in metrics.items() if name not in _COSTLY}
