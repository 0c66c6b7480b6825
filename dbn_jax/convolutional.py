"""Convolutional RBMs: weights that know that an image has two dimensions.

A convolutional RBM is an `rbm.RBM` whose weights are a `Convolution`: K filters of a few rows and
columns that all places share, so that hidden unit (place, k) has the input

    I = Σ_{i, j, c} filters[i, j, c, k] · v[place + (i, j), c].

Its hidden units lie in K maps of one bias each (`units.Maps`), or in maps that are pooled block by
block (`units.MaxPooled`); its visible units are the channels of an image. All of the package works
on it unchanged: `rbm.cd_step`, every learner but `Centred`, which needs a bias for each unit,
annealing, exact log Z of small ones, stacks (`dbn`, `learning.greedy`), fine-tuning.

    params = convolutional.init_params(key, (28, 28, 1), num_maps=40, filter_size=11, block=2)
    state = rbm.init_state(params, optimizer)
    state, metrics = rbm.cd_step(key, state, images, optimizer=optimizer)

`LocalConnections` are such filters without the sharing: every place has its own.

An image (rows, columns, channels) is given as the vector of its numbers, (..., V), channels
neighbours, as everywhere in the package; `as_images` gives it its shape back. Gradients are sums
over places, so that learning rates are smaller than those of dense layers, by about the number of
places of a map; behind `per_place` they are those of dense layers. Keys are consumed; "..." are
batch axes; V visible, H hidden units.

References: Lee, Grosse, Ranganath, Ng, "Convolutional deep belief networks for scalable
unsupervised learning of hierarchical representations" (2009); Desjardins, Bengio, "Empirical
evaluation of convolutional RBMs for vision" (2008).
"""

import abc
import dataclasses
import math
import numbers
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dbn_jax import convolve, linear, pytrees, rbm, units
from dbn_jax.typing import Array, Float, Key

# Zeros around an image, before and after it, by the size of a filter: "valid" filters lie within
# the image; "same" gives maps as large as it; "full" has all filters that touch it.
_BORDERS = {
    "valid": lambda size: (0, 0),
    "same": lambda size: ((size - 1) // 2, size // 2),
    "full": lambda size: (size - 1, size - 1),
}


class Local(linear.LinearMap):
    """Weights between an image and maps of hidden units that see a few rows and columns each.

    Attributes:
      filters: the arrays that are learnt.
      image_shape: rows, columns, channels.
      border: "valid", "same" or "full".
    """

    filters: Array
    image_shape: tuple[int, int, int]
    border: str

    def __post_init__(self):
        _check_geometry(self.image_shape, self.filter_shape[:2], self.border)
        wanted = self._wanted_shape()
        if self.filters.shape[-len(wanted) :] != wanted:
            raise ValueError(
                f"filters of shape {self.filters.shape} do not fit images of shape "
                f"{self.image_shape}: these take filters of shape {wanted}"
            )

    @abc.abstractmethod
    def _wanted_shape(self) -> tuple[int, ...]:
        """The shape of the filters of one model."""

    @property
    @abc.abstractmethod
    def filter_shape(self) -> tuple[int, int, int, int]:
        """Rows, columns, channels, maps."""

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """Rows, columns, maps of the hidden units."""
        rows, columns = _map_size(self.image_shape, self.filter_shape[:2], self.border)
        return rows, columns, self.filter_shape[-1]

    @property
    def padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Zeros before and after an image, of its rows and of its columns."""
        rows, columns, *_ = self.filter_shape
        return _BORDERS[self.border](rows), _BORDERS[self.border](columns)

    def _shape(self, models):
        return *models, math.prod(self.image_shape), math.prod(self.map_shape)


@pytrees.dataclass
class Convolution(Local):
    """Filters that all places share.

    Attributes:
      filters: (rows, columns, channels, K).
      image_shape: rows, columns, channels of the image.
      border: "valid", "same" or "full".
    """

    filters: Float[Array, "*models rows columns channels K"]
    image_shape: tuple[int, int, int] = pytrees.static(default=())
    border: str = pytrees.static(default="valid")

    def _wanted_shape(self):
        return *self.filter_shape[:2], self.image_shape[-1], self.filters.shape[-1]

    @property
    def filter_shape(self):
        *_, rows, columns, channels, num_maps = 1, *self.filters.shape  # refused if three
        return rows, columns, channels, num_maps

    @property
    def shape(self):
        return self._shape(self.filters.shape[:-4])

    def up(self, x):
        images = as_images(x, self.image_shape)
        return convolve.convolve(images, self.filters, self.padding).reshape(*x.shape[:-1], -1)


@pytrees.dataclass
class LocalConnections(Local):
    """Local receptive fields: every place has filters of its own.

    Attributes:
      filters: (places, rows · columns · channels, K), places in the order of the maps' units.
      image_shape: rows, columns, channels of the image.
      filter_size: rows, columns of a filter.
      border: "valid", "same" or "full".
    """

    filters: Float[Array, "*models places numbers K"]
    image_shape: tuple[int, int, int] = pytrees.static(default=())
    filter_size: tuple[int, int] = pytrees.static(default=())
    border: str = pytrees.static(default="valid")

    def _wanted_shape(self):
        rows, columns, num_maps = self.map_shape
        return rows * columns, math.prod(self.filter_shape[:-1]), num_maps

    @property
    def filter_shape(self):
        return *self.filter_size, self.image_shape[-1], self.filters.shape[-1]

    @property
    def shape(self):
        return self._shape(self.filters.shape[:-3])

    def up(self, x):
        images = as_images(x, self.image_shape)
        windows = convolve.windows(images, self.filter_size, self.padding)
        windows = windows.reshape(len(windows), -1, windows.shape[-1])
        return jnp.einsum("npi,pik->npk", windows, self.filters).reshape(*x.shape[:-1], -1)


def init_params(
    key: Key[Array, ""],
    image_shape: tuple[int, int, int],
    num_maps: int,
    filter_size: int,
    *,
    block: int = 1,
    shared: bool = True,
    border: str = "valid",
    visible: units.Units = units.Bernoulli(),
    hidden: units.Units = units.Bernoulli(),
    weight_scale: float = 0.01,
    dtype=jnp.float32,
) -> rbm.RBM:
    """Makes a convolutional RBM with filters from N(0, weight_scale²) and zero biases.

    Args:
      image_shape: rows, columns, channels; those of a layer above are `pooled_shape`.
      filter_size: rows and columns of a filter.
      block: of pooled hidden units, C of blocks of C×C; 1: none are pooled. Those are binary.
      shared: whether all places share the filters; False: `LocalConnections`.
      border: "valid": filters lie within the image; "same": maps are as large as the image;
        "full": all filters that touch the image.
      visible: the type of a pixel's channels; the parameters are those of a channel, everywhere.
      hidden: the type of the hidden units, if they are not pooled.

    >>> params = init_params(jax.random.key(0), (28, 28, 1), num_maps=40, filter_size=11, block=2)
    >>> params.weights.shape, params.weights.map_shape, params.visible.bias.shape
    ((784, 12960), (18, 18, 40), (1,))
    """
    rbm.check_types(visible, hidden)
    if min(num_maps, filter_size, block) < 1:
        raise ValueError(
            f"num_maps is {num_maps}, filter_size {filter_size} and block {block}; "
            "each is at least 1"
        )
    if block > 1 and not isinstance(hidden, units.Bernoulli):
        raise ValueError(f"hidden is {hidden}, but pooled units are binary: leave block at 1")
    _check_geometry(image_shape, (filter_size,) * 2, border)
    image_rows, image_columns, channels = image_shape
    image_shape = image_rows, image_columns, channels  # which may have been a list
    each = (filter_size, filter_size, channels)
    if shared:
        filters = jax.random.normal(key, (*each, num_maps), dtype)
        weights = Convolution(filters, image_shape, border)
    else:
        places = math.prod(_map_size(image_shape, (filter_size,) * 2, border))
        filters = jax.random.normal(key, (places, math.prod(each), num_maps), dtype)
        weights = LocalConnections(filters, image_shape, (filter_size, filter_size), border)
    weights = jax.tree.map(lambda x: jnp.asarray(weight_scale, dtype) * x, weights)
    rows, columns, _ = weights.map_shape
    if block > 1:
        maps = units.MaxPooled(shape=(rows, columns), block=block)
    else:
        maps = units.Maps(hidden, rows * columns)
    pixels = units.Maps(visible, math.prod(image_shape[:2]))
    num_visible, num_hidden = weights.shape
    return rbm.RBM(weights, pixels.init(num_visible, dtype), maps.init(num_hidden, dtype))


def pooled_shape(params: rbm.RBM) -> tuple[int, int, int]:
    """Rows, columns and maps of what the layer above sees: its `image_shape`."""
    (rows, columns, num_maps), size = local(params).map_shape, block(params)
    return rows // size, columns // size, num_maps


def block(params: rbm.RBM) -> int:
    """C of hidden units that are pooled in blocks of C×C; 1 if they are not."""
    return params.hidden.block if isinstance(params.hidden, units.MaxPooled) else 1


def local(params: rbm.RBM) -> Local:
    """The weights of a convolutional RBM; ValueError if it is none."""
    if not isinstance(params.weights, Local):
        raise ValueError(
            "the weights are a matrix, or others that know of no images: take an RBM of "
            "`convolutional.init_params`"
        )
    return params.weights


def on_images(layers: Sequence[rbm.RBM], image_shape: tuple[int, int, int]) -> tuple[rbm.RBM, ...]:
    """The same filters on images of another size: layers of a stack, from the pixels up.

    Layers without sharing are a ValueError there: their filters are those of the places they saw.
    """
    moved = []
    for layer in layers:
        same = local(layer).image_shape == tuple(image_shape)
        moved.append(layer if same else _on_image(layer, tuple(image_shape)))
        image_shape = pooled_shape(moved[-1])
    return tuple(moved)


def per_place() -> optax.GradientTransformation:
    """Makes means over places of gradients, which are sums over the places that share a parameter.

    In a chain before all else, so that weight decay is what it is elsewhere:

        optimizer = optax.chain(convolutional.per_place(), optax.add_decayed_weights(2e-4, …), …)
    """
    return optax.stateless(_per_place)


def _per_place(gradient: Any, params: Any) -> Any:
    def mean(side, of):
        places = of.num_units // of.bias.shape[-1]
        return jax.tree.map(lambda x: x / places, side)

    shared = isinstance(params.weights, Convolution)
    return rbm.RBM(
        mean(gradient.weights, params.hidden) if shared else gradient.weights,
        mean(gradient.visible, params.visible),
        mean(gradient.hidden, params.hidden),
    )


def as_images(x: Any, shape: tuple[int, int, int]) -> Any:
    """Vectors as images, all batch axes in one: (..., V) -> (N, rows, columns, channels)."""
    return x.reshape(-1, *shape)


def _on_image(layer, image_shape):
    if not isinstance(layer.weights, Convolution):
        raise ValueError(
            f"the weights of a layer are {type(layer.weights).__name__}: only filters that all "
            "places share (Convolution) are the same on images of another size"
        )
    channels = layer.weights.filter_shape[-2]
    if image_shape[-1] != channels:
        raise ValueError(
            f"the filters are of {channels} channels, but the images have {image_shape[-1]}: they "
            "cannot be moved there"
        )
    weights = dataclasses.replace(layer.weights, image_shape=image_shape)
    maps = weights.map_shape[:2]
    visible = dataclasses.replace(layer.visible, num_places=math.prod(image_shape[:2]))
    if isinstance(layer.hidden, units.MaxPooled):
        hidden = dataclasses.replace(layer.hidden, shape=maps)
    else:
        hidden = dataclasses.replace(layer.hidden, num_places=math.prod(maps))
    return rbm.RBM(weights, visible, hidden)


def _map_size(image_shape, filter_size, border):
    pairs = zip(image_shape[:2], filter_size, strict=True)
    rows, columns = (n + sum(_BORDERS[border](size)) - size + 1 for n, size in pairs)
    return rows, columns


def _check_geometry(image_shape, filter_size, border):
    whole = all(isinstance(size, numbers.Integral) for size in image_shape)
    if not whole or len(image_shape) != 3 or min(image_shape) < 1:
        raise ValueError(f"image_shape is {image_shape}; expected rows, columns, channels")
    if border not in _BORDERS:
        raise ValueError(f"border is {border!r}; it is one of {', '.join(_BORDERS)}")
    rows, columns = filter_size
    if min(filter_size) < 1 or min(_map_size(image_shape, filter_size, border)) < 1:
        raise ValueError(
            f"filters of {rows}×{columns} do not fit into images of {image_shape[0]}×"
            f"{image_shape[1]}: choose smaller ones, or another border"
        )
